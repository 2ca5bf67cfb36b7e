"""Replication: images copied to and from other registries by a project's rules.

event, schedule, hand ─ run (a row) ─ job ─ `copying`: what of an image goes where ─ `pushing` or `pulling`: how
"""
