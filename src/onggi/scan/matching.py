"""Packages against advisories: the findings of an image."""

from collections.abc import Callable, Iterable
from functools import cmp_to_key

import msgspec
from cvss import CVSS2, CVSS3, CVSS4
from cvss.exceptions import CVSSError

from onggi.scan.advisories import Advisory, Range, Rating, Severity, advised_name, ecosystem_of
from onggi.scan.inventory import Inventory, Package, PackageKind, package_url
from onggi.scan.versions import compare

Lookup = Callable[[str, str], Iterable[Advisory]]
"""(ecosystem, package name) → what is known of it."""
Rate = Callable[[str], Rating | None]
"""A problem's name → how bad it is, where a source of its own says that."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One problem that one installed package has."""

    id: str
    package: str
    version: str
    package_url: str
    location: str = ""
    fixed_version: str = ""
    """"" where no fixed version is known."""
    severity: Severity = Severity.UNKNOWN
    score: float = 0.0
    vector: str = ""
    aliases: list[str] = []
    summary: str = ""
    link: str = ""


def _in_range(kind: PackageKind, version: str, each: Range) -> bool:
    if each.introduced not in ("", "0") and compare(kind, version, each.introduced) < 0:
        return False
    if each.fixed:
        return compare(kind, version, each.fixed) < 0
    return not each.last_affected or compare(kind, version, each.last_affected) <= 0


def affects(advisory: Advisory, kind: PackageKind, version: str) -> bool:
    """True when `version` has the problem."""
    return version in advisory.versions or any(_in_range(kind, version, each) for each in advisory.ranges)


def fixed_version(advisory: Advisory, kind: PackageKind, version: str) -> str:
    """The first version after `version` that no longer has the problem; "" when none is known."""
    return _earliest(kind, [each.fixed for each in advisory.ranges
                            if each.fixed and compare(kind, each.fixed, version) > 0])  # fmt: skip


def _earliest(kind: PackageKind, versions: list[str]) -> str:
    def order(one: str, other: str) -> int:
        return compare(kind, one, other)

    return min(versions, key=cmp_to_key(order), default="")


def rate(vectors: Iterable[str]) -> tuple[float, str]:
    """The score of the newest kind of CVSS vector among `vectors`, and that vector; 0.0 and "" without any."""
    best: tuple[int, float, str] = (0, 0.0, "")
    for vector in vectors:
        try:
            if vector.startswith("CVSS:4"):
                rated = (4, float(CVSS4(vector).base_score), vector)
            elif vector.startswith("CVSS:3"):
                rated = (3, float(CVSS3(vector).base_score), vector)
            else:
                rated = (2, float(CVSS2(vector).base_score), vector)
        except CVSSError:
            continue  # a vector that says nothing leaves the advisory's own word
        best = max(best, rated)
    return best[1], best[2]


def severity_of(score: float) -> Severity:
    """CVSS 3.1, section 5: qualitative severity."""
    for least, severity in (
        (9.0, Severity.CRITICAL),
        (7.0, Severity.HIGH),
        (4.0, Severity.MEDIUM),
        (0.1, Severity.LOW),
    ):
        if score >= least:
            return severity
    return Severity.UNKNOWN


def _finding(package: Package, inventory: Inventory, advisory: Advisory, rating: Rating | None) -> Finding:
    score, vector = rate(advisory.vectors or (rating.vectors if rating is not None else []))
    # The distribution's word goes first: it knows how its package is built.
    severity = advisory.severity if advisory.severity is not Severity.UNKNOWN else severity_of(score)
    return Finding(
        id=advisory.id, package=package.name, version=package.version,
        package_url=package_url(package, inventory.distribution), location=package.location,
        fixed_version=fixed_version(advisory, package.kind, advised_name(package)[1]), severity=severity, score=score,
        vector=vector, aliases=advisory.aliases, link=advisory.link,
        summary=advisory.summary or (rating.summary if rating is not None else ""),
    )  # fmt: skip


def match(inventory: Inventory, lookup: Lookup, rating: Rate) -> list[Finding]:
    """Every problem once for each package that has it, the worst first. Two sources of one problem are one finding."""
    found: dict[tuple[str, str, str], Finding] = {}
    for package in inventory.packages:
        ecosystem = ecosystem_of(package, inventory.distribution)
        if not ecosystem:
            continue
        name, version = advised_name(package)
        for advisory in lookup(ecosystem, name):
            if not affects(advisory, package.kind, version):
                continue
            finding = _finding(package, inventory, advisory, rating(advisory.id))
            key = (finding.id, package.name, package.version)
            found[key] = _merged(found[key], finding, package.kind) if key in found else finding
    return sorted(found.values(), key=lambda each: (each.severity.rank, -each.score, each.id, each.package))


def _merged(one: Finding, other: Finding, kind: PackageKind) -> Finding:
    """What two sources say of one problem: the earlier fix, the better known severity, all other names."""
    fixes = [each for each in (one.fixed_version, other.fixed_version) if each]
    better = min((one, other), key=lambda each: (not each.score, each.severity.rank))
    return msgspec.structs.replace(
        better, fixed_version=_earliest(kind, fixes),
        aliases=sorted({*one.aliases, *other.aliases} - {one.id}), summary=one.summary or other.summary,
        link=one.link or other.link,
    )  # fmt: skip
