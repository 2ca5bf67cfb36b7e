"""Advisories of Debian's security tracker. (security-tracker.debian.org/tracker/data/json)

{"openssl": {"CVE-2024-0001": {"description": …, "releases": {"bookworm": {
    "status": "resolved" | "open" | "undetermined", "fixed_version": …, "urgency": …}}}}}
"""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from onggi.scan.advisories import MOST_CHARACTERS, Advisory, Range, Severity, debian_ecosystem
from onggi.scan.osv import InvalidAdvisories

_URGENCIES = {
    "high": Severity.HIGH, "medium": Severity.MEDIUM, "low": Severity.LOW, "unimportant": Severity.NEGLIGIBLE,
}  # fmt: skip


class _Release(msgspec.Struct):
    status: str
    fixed_version: str = ""
    urgency: str = ""


class _Problem(msgspec.Struct):
    description: str = ""
    releases: dict[str, _Release] = {}


_decoder = msgspec.json.Decoder(dict[str, dict[str, _Problem]])


def read(file: BinaryIO) -> Iterator[Advisory]:
    """Raises InvalidAdvisories."""
    try:
        packages = _decoder.decode(file.read())
    except msgspec.MsgspecError as error:
        raise InvalidAdvisories(f"this is not the JSON of Debian's security tracker: {error}") from error
    for package, problems in packages.items():
        for name, problem in problems.items():
            for codename, release in problem.releases.items():
                # Undetermined: nobody knows yet whether it is there. 0: it never was.
                if release.status == "undetermined" or release.fixed_version == "0":
                    continue
                yield Advisory(
                    id=name, ecosystem=debian_ecosystem(codename), package=package,
                    ranges=[Range("0", release.fixed_version if release.status == "resolved" else "")],
                    severity=_URGENCIES.get(release.urgency.strip("*"), Severity.UNKNOWN),
                    summary=problem.description[:MOST_CHARACTERS],
                    link=f"https://security-tracker.debian.org/tracker/{name}",
                )  # fmt: skip
