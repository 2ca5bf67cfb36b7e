"""What is inside an image, and what is known to be wrong with it: bill of materials, advisories, findings.

    layers ─ worker (confined) ─ inventory ─┬─ documents: CycloneDX, SPDX
                                            ├─ matching ── findings ── SARIF, JSON
    OSV, Debian tracker, Alpine secdb ─ advisories ┘

A library: it keeps nothing. Who uses it stores inventories and advisories (`onggi.registry.scans`).
"""
