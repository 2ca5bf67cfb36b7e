"""Query filters of the volume endpoints."""

LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})
