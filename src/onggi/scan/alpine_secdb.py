"""Advisories of Alpine's secdb. (secdb.alpinelinux.org: v3.19/main.json)

    {"distroversion": "v3.19", "packages": [{"pkg": {"name": "openssl", "secfixes": {"3.1.4-r1": ["CVE-… XSA-…"]}}}]}

A fix in version "0" says that the package never had the problem.
"""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from onggi.scan.advisories import Advisory, Range
from onggi.scan.osv import InvalidAdvisories


class _Package(msgspec.Struct):
    name: str
    secfixes: dict[str, list[str] | None] = {}


class _Entry(msgspec.Struct):
    pkg: _Package


class _Database(msgspec.Struct):
    distroversion: str
    packages: list[_Entry]


_decoder = msgspec.json.Decoder(_Database)


def read(file: BinaryIO) -> Iterator[Advisory]:
    """Raises InvalidAdvisories."""
    try:
        database = _decoder.decode(file.read())
    except msgspec.MsgspecError as error:
        raise InvalidAdvisories(f"this is not a file of Alpine's secdb: {error}") from error
    ecosystem = f"Alpine:{database.distroversion}"
    for entry in database.packages:
        for fixed, names in entry.pkg.secfixes.items():
            for name in names or []:
                problem, *aliases = name.split() or [""]
                if fixed == "0" or not problem:
                    continue
                yield Advisory(id=problem, ecosystem=ecosystem, package=entry.pkg.name, aliases=aliases,
                               ranges=[Range("0", fixed)],
                               link=f"https://security.alpinelinux.org/vuln/{problem}")  # fmt: skip
