"""The registry client: HTTP to places that may be hostile, tokens, and the distribution protocol."""
