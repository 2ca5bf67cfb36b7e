"""The registry client: HTTP to places that may be hostile, tokens, and the distribution protocol.

The engine pulls and pushes by it, the registry fetches and replicates. (decision 7)
"""
