"""Signatures of images: cosign's and Notation's, read, verified and made; and the policy that asks for them.

    keys        public and private keys, certificates
    cosign      sigstore bundles (referrers) and simple signing (the `.sig` tag)
    notation    JWS envelopes with a chain of certificates
    policy      who must have signed what

A library without I/O: who uses it brings the documents. Everything read here comes from whoever could push it: nothing is
believed but what a trusted key has signed. Long imports (`cryptography`) are made by the functions that need them.
"""
