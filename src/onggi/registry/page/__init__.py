"""The web page: what browsers see of the registry.

    browser ─ route ─ session → subject ─ handler ─ `asking` the API as that subject ─ template

The page has no rights, no SQL and no rules of its own: all it shows and does is asked of `/api/v1`, in this process. So what
a person may do by it is what they may do by the API, and nothing happens twice.
"""
