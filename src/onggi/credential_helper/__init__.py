"""`docker-credential-onggi`: credentials for registries, encrypted at rest, for `onggi` and for the stock docker command.

`"credsStore": "onggi"` in config.json turns it on. See docs/reference/credentials.md.
"""
