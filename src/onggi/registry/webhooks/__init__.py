"""Webhooks: what happens in a project, told to its owners' programs, signed, again until it is taken.

event ─ job "webhook" (in the same transaction) ─ delivery ─ target
"""
