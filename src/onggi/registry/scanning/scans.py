"""Scans: what is in an image and what is wrong with it. Owns `scans`, `scan_packages` and `ignores`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec

from onggi.errors import InvalidParameter, NotFound
from onggi.registry import clock
from onggi.registry.database import Connection
from onggi.registry.scanning import advisory_store
from onggi.scan import inventory as inventories
from onggi.scan.advisories import Severity
from onggi.scan.ignoring import Ignore, Sorted, sort
from onggi.scan.inventory import Inventory
from onggi.scan.matching import Finding, match

_findings = msgspec.json.Decoder(list[Finding])
_moments = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.Encoder().encode


class ScanState(StrEnum):
    DONE = "done"
    FAILED = "failed"
    NONE = "not an image"
    """Signatures, charts and other artifacts have no packages."""


class NotScanned(NotFound):
    def __init__(self, digest: str) -> None:
        super().__init__(f"{digest} has not been scanned yet")


class NoBill(InvalidParameter):
    """A scan found nothing that a bill of materials could be made of."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(f"{digest} has no bill of materials: {why}")


class IgnoreUnknown(NotFound):
    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem[:100]!a} is not set aside in this project")


@dataclass(frozen=True, slots=True)
class Scan:
    digest: str
    state: ScanState
    at: str
    inventory: Inventory
    findings: list[Finding]
    error: str
    first_seen: dict[str, str]
    """`known_as` of each finding → since when the registry knows of it."""

    def known_since(self, finding: Finding) -> datetime:
        return clock.moment(self.first_seen.get(known_as(finding), self.at))


def known_as(finding: Finding) -> str:
    return f"{finding.id} {finding.package} {finding.version}"


def find(connection: Connection, repository_id: int, digest: str) -> Scan:
    """Raises NotScanned."""
    row = connection.execute(
        "SELECT * FROM scans WHERE repository_id = ? AND digest = ?", (repository_id, digest)
    ).fetchone()
    if row is None:
        raise NotScanned(digest)
    return Scan(digest, ScanState(row["state"]), row["scanned_at"], inventories.decode(row["inventory"]),
                _findings.decode(row["findings"]), row["error"], _moments.decode(row["known_since"]))  # fmt: skip


def findings_of(connection: Connection, inventory: Inventory) -> list[Finding]:
    """The inventory against all advisories there are."""
    return match(
        inventory,
        lambda ecosystem, package: advisory_store.lookup(connection, ecosystem, package),
        cache(lambda problem: advisory_store.rating(connection, problem)),
    )


def put(
    connection: Connection, repository_id: int, digest: str, state: ScanState, inventory: Inventory,
    findings: list[Finding], error: str = "",
) -> None:  # fmt: skip
    """Note what a scan gave, in place of what the last one did. Nothing happens if the image has gone meanwhile."""
    there = connection.execute(
        "SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ?", (repository_id, digest)
    ).fetchone()
    if there is None:
        return
    now = clock.stamp()
    earlier = connection.execute(
        "SELECT known_since FROM scans WHERE repository_id = ? AND digest = ?", (repository_id, digest)
    ).fetchone()
    known = _moments.decode(earlier["known_since"]) if earlier is not None else {}
    since = {name: known.get(name, now) for name in map(known_as, findings)}
    connection.execute(
        "INSERT INTO scans (repository_id, digest, state, scanned_at, inventory, findings, error, known_since)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, digest) DO UPDATE SET state = excluded.state,"
        " scanned_at = excluded.scanned_at, inventory = excluded.inventory, findings = excluded.findings,"
        " error = excluded.error, known_since = excluded.known_since",
        (repository_id, digest, state, now, inventories.encode(inventory), _encode(findings), error[:1000],
         _encode(since).decode()),
    )  # fmt: skip
    connection.execute("DELETE FROM scan_packages WHERE repository_id = ? AND digest = ?", (repository_id, digest))
    for name, version in sorted({(package.name, package.version) for package in inventory.packages}):
        connection.execute(
            "INSERT INTO scan_packages (repository_id, digest, name, version) VALUES (?, ?, ?, ?)",
            (repository_id, digest, name, version),
        )


def all_done(connection: Connection) -> list[Any]:
    """Repository and digest of each scan that has an inventory."""
    return connection.execute(
        "SELECT s.repository_id, s.digest, r.name FROM scans s JOIN repositories r ON r.id = s.repository_id"
        " JOIN manifests m ON m.repository_id = s.repository_id AND m.digest = s.digest"
        " WHERE s.state = 'done' AND m.deleted_at = ''"
    ).fetchall()


def has_package(connection: Connection, repository_id: int, text: str) -> bool:
    """A filter of `search`: `package:openssl`, `package:openssl@3.0.11`."""
    name, at, version = text.partition("@") if not text.startswith("@") else (text, "", "")
    return (
        connection.execute(
            "SELECT 1 FROM scan_packages p JOIN manifests m ON m.repository_id = p.repository_id AND m.digest = p.digest"
            " WHERE p.repository_id = ? AND m.deleted_at = '' AND p.name = ?"
            " AND (? = '' OR SUBSTR(p.version, 1, ?) = ?) LIMIT 1",
            (repository_id, name, at, len(version), version),
        ).fetchone()
        is not None
    )


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each severity; each problem counts once for each package."""
    counted = Counter(finding.severity for finding in findings)
    return {severity.value: counted[severity] for severity in Severity}


# What is set aside


def ignores(connection: Connection, project_id: int) -> list[Any]:
    return connection.execute(
        "SELECT * FROM ignores WHERE project_id = ? ORDER BY problem, package", (project_id,)
    ).fetchall()


def rules(connection: Connection, project_id: int) -> list[Ignore]:
    return [
        Ignore(id=row["problem"], reason=row["reason"], package=row["package"],
               until=clock.moment(row["until"]) if row["until"] else None)
        for row in ignores(connection, project_id)
    ]  # fmt: skip


def ignore(connection: Connection, project_id: int, rule: Ignore, by: str) -> None:
    connection.execute(
        "INSERT INTO ignores (project_id, problem, package, reason, until, by, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project_id, problem, package) DO UPDATE SET reason = excluded.reason, until = excluded.until,"
        " by = excluded.by, at = excluded.at",
        (
            project_id,
            rule.id,
            rule.package,
            rule.reason,
            clock.stamp(rule.until) if rule.until else "",
            by,
            clock.stamp(),
        ),
    )


def stop_ignoring(connection: Connection, project_id: int, problem: str, package: str) -> None:
    """Raises IgnoreUnknown."""
    done = connection.execute(
        "DELETE FROM ignores WHERE project_id = ? AND problem = ? AND package = ?", (project_id, problem, package)
    )
    if not done.rowcount:
        raise IgnoreUnknown(problem)


def summary(connection: Connection, rules: Sequence[Ignore], repository_id: int, digest: str) -> dict[str, Any]:
    """State, and how many of each severity are open; {} for what was not scanned, or is no image."""
    row = connection.execute(
        "SELECT state, findings FROM scans WHERE repository_id = ? AND digest = ?", (repository_id, digest)
    ).fetchone()
    if row is None or row["state"] == ScanState.NONE:
        return {}
    return {"state": row["state"], "counts": counts(sort(_findings.decode(row["findings"]), rules, clock.now()).open)}


def sorted_findings(connection: Connection, project_id: int, scan: Scan) -> Sorted:
    """The scan's findings, those that the project lives with apart."""
    return sort(scan.findings, rules(connection, project_id), clock.now())
