"""`onggi registry advisories` and `report`: on the registry's machine, also while it serves, and without any network."""

import argparse
import asyncio
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

import onggi
from onggi.errors import InvalidParameter
from onggi.registry import clock, jobs, manifests, options, repositories, stores
from onggi.registry.database import Connection
from onggi.registry.scanning import advisory_store, scans
from onggi.registry.scanning.api import report
from onggi.registry.scanning.work import REMATCH
from onggi.scan import alpine_secdb, debian_tracker, osv
from onggi.scan.advisories import Advisory, Rating
from onggi.scan.documents import cyclonedx, sarif, spdx
from onggi.scan.osv import InvalidAdvisories

FORMS: dict[str, Callable[[BinaryIO], Iterator[Advisory | Rating]]] = {
    "alpine": alpine_secdb.read, "debian": debian_tracker.read, "osv": osv.read,
}  # fmt: skip
MOST_BYTES = 2 << 30
_TIMEOUT_S = 60


@contextmanager
def _opened(location: str) -> Iterator[BinaryIO]:
    """A file, or what a URL gives, in a file."""
    if not location.startswith(("http://", "https://")):
        with Path(location).open("rb") as file:
            yield file
        return
    with urllib.request.urlopen(location, timeout=_TIMEOUT_S) as reply, tempfile.TemporaryFile() as file:  # noqa: S310
        size = 0
        while piece := reply.read(1 << 20):
            size += len(piece)
            if size > MOST_BYTES:
                raise InvalidAdvisories(f"{location} gives more than {MOST_BYTES >> 30} GiB")
            file.write(piece)
        file.seek(0)
        yield file


def _read(file: BinaryIO, form: str) -> tuple[str, Iterator[Advisory | Rating]]:
    """The form, told by trying, and the entries."""
    if form != "auto":
        return form, FORMS[form](file)
    for name in ("alpine", "debian"):
        entries = FORMS[name](file)
        try:
            first = next(entries, None)
        except InvalidAdvisories:
            file.seek(0)
            continue
        if first is not None:
            file.seek(0)
            return name, FORMS[name](file)
        file.seek(0)
    return "osv", osv.read(file)


def import_advisories(given: argparse.Namespace) -> int:
    async def carry_out() -> None:
        async with stores.existing_database(given) as database:
            for location in given.source:
                name = given.name or Path(location).name
                with _opened(location) as file:
                    form, entries = _read(file, given.form)
                    count = await advisory_store.replace(database, name, form, location, entries)
                print(f"{name}: {count} entries ({form})")
            await database.write(lambda connection: jobs.enqueue(connection, REMATCH, {}, subject="all"))

    if given.name and len(given.source) > 1:
        raise InvalidParameter("--name is for one source: import them one by one")
    asyncio.run(carry_out())
    return 0


def list_advisories(given: argparse.Namespace) -> int:
    async def carry_out() -> None:
        async with stores.existing_database(given) as database:
            for row in await database.read(advisory_store.sources):
                print(
                    f"{row['name']}\t{row['form']}\t{row['advisories']} entries\t{row['imported_at']}\t{row['location']}"
                )

    asyncio.run(carry_out())
    return 0


def remove_advisories(given: argparse.Namespace) -> int:
    def remove(connection: Connection) -> None:
        advisory_store.remove(connection, given.name)
        jobs.enqueue(connection, REMATCH, {}, subject="all")

    async def carry_out() -> None:
        async with stores.existing_database(given) as database:
            await database.write(remove)

    asyncio.run(carry_out())
    return 0


def show_report(given: argparse.Namespace) -> int:
    repository, _, reference = given.image.partition("@") if "@" in given.image else given.image.partition(":")

    def read(connection: Connection) -> str:
        stored = manifests.find(connection, repository, reference or "latest")
        scan = scans.find(connection, repositories.find(connection, repository)["id"], stored.digest)
        sorted_, shown = report(connection, repository, scan)
        name, at, version = f"{repository}@{stored.digest}", clock.moment(scan.at), onggi.__version__
        if given.format == "table":
            return _table(shown)
        document = {
            "json": lambda: shown,
            "sarif": lambda: sarif(sorted_.open, sorted_.ignored, name, version),
            "cyclonedx": lambda: cyclonedx(scan.inventory, repository, stored.digest, at, version, scan.findings),
            "spdx": lambda: spdx(scan.inventory, repository, stored.digest, at, version),
        }[given.format]()
        return msgspec.json.format(msgspec.json.encode(document)).decode()

    async def carry_out() -> str:
        async with stores.existing_database(given) as database:
            return await database.scan(read)

    print(asyncio.run(carry_out()))
    return 0


def _table(shown: dict[str, object]) -> str:
    rows = [("SEVERITY", "PROBLEM", "PACKAGE", "VERSION", "FIXED IN")]
    findings = shown["findings"]
    assert isinstance(findings, list)
    rows += [(f.severity.value, f.id, f.package, f.version, f.fixed_version or "-") for f in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if shown["error"]:
        lines.append(f"the scan failed: {shown['error']}")
    return "\n".join(lines).encode(sys.stdout.encoding or "utf-8", "replace").decode()


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    advisories = commands.add_parser("advisories", help="what is known to be wrong with packages")
    verbs = advisories.add_subparsers(dest="verb", required=True, metavar="VERB")
    take = verbs.add_parser("import", help="take advisories from files or URLs, in place of the source's earlier ones")
    take.add_argument("source", nargs="+", metavar="FILE|URL")
    take.add_argument(
        "--form", choices=["auto", *FORMS], default="auto", help="what they are in (default: told by trying)"
    )
    take.add_argument("--name", default="", help="the source's name (default: the file's)")
    take.set_defaults(run=import_advisories)
    listing = verbs.add_parser("list", help="show the sources")
    listing.set_defaults(run=list_advisories)
    remove = verbs.add_parser("remove", help="forget a source")
    remove.add_argument("name")
    remove.set_defaults(run=remove_advisories)
    show = commands.add_parser("report", help="show what a scan found")
    show.add_argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
    show.add_argument("--format", choices=["table", "json", "sarif", "cyclonedx", "spdx"], default="table")
    show.set_defaults(run=show_report)
    for verb in (take, listing, remove, show):
        options.add_root(verb)
        options.add_database(verb)
