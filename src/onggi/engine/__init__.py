"""Use cases; each module reads like a page of the manual."""
