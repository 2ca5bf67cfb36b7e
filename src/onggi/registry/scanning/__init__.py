"""Scanning in the registry: what `onggi.scan` finds is kept here, and told.

push ─ event ─ job "scan" ─ work ─ scan.reading (a confined process) ─ scans (inventory, findings)
onggi registry advisories import ─ advisory_store ─ job "rematch" ─ work ─ scans
"""
