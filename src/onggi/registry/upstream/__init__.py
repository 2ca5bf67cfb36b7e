"""Caches: projects whose images are another registry's, fetched when they are first pulled.

v2 handlers ─ Cache ─┬ manifests: by tag looked at again after a while, by digest for good
                     ├ blobs: `Incoming`, one for all who wait, read while it is written
                     └ eviction: what was not pulled for longest goes first
"""
