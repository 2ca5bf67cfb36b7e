"""What a team has looked at and lives with: a problem, why, and until when."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from onggi.scan.matching import Finding


class Ignore(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    id: str
    """The problem's name, or one of its aliases."""
    reason: str
    package: str = ""
    """"": whatever package has it."""
    until: datetime | None = None
    """None: for good."""

    def covers(self, finding: Finding, now: datetime) -> bool:
        if self.until is not None and now >= self.until:
            return False
        return self.id in (finding.id, *finding.aliases) and self.package in ("", finding.package)


class Sorted(msgspec.Struct, frozen=True):
    """Findings that count, and those that were set aside, with the reason."""

    open: list[Finding]
    ignored: list[tuple[Finding, Ignore]]


def sort(findings: Iterable[Finding], ignores: Iterable[Ignore], now: datetime) -> Sorted:
    rules = list(ignores)
    open_, ignored = [], []
    for finding in findings:
        rule = next((rule for rule in rules if rule.covers(finding, now)), None)
        if rule is None:
            open_.append(finding)
        else:
            ignored.append((finding, rule))
    return Sorted(open_, ignored)
