"""Signing in at an OpenID Connect provider: the authorization code flow with PKCE.

    attempts     what one log-in remembers between here and the provider, in a cookie
    fetching     what the provider's hosts answer, within bounds
    provider     its metadata and keys, code → token
    id_token     is the token the provider's, for us, of this log-in, of now
    identities   issuer and subject → user; the first log-in makes one
    api          /oidc/login and /oidc/callback, and who is linked to whom
    options      the command line

OpenID Connect Core 1.0 and Discovery 1.0; RFC 6749, 7636 (PKCE), 9207 (`iss` in the answer), 9700 (security).
"""
