"""Findings of a real Debian image against a truth that comes from elsewhere: the changelogs of its packages.

The image is Debian 12 without its security updates. For every package of which there is a newer version the truth is:
CVEs that the newer package's changelog names and the installed one's does not. Advisories in the tracker's form are made
of the newer changelogs whole, old entries too (the tracker itself is on a host of its own); so the scan has to order
versions, find source packages and leave out what was fixed before. No more, no less.
"""

import asyncio
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from onggi.scan import debian_tracker
from onggi.scan.advisories import Advisory
from onggi.scan.inventory import Inventory
from onggi.scan.matching import match
from onggi.scan.reading import read_inventory

MIRROR = "http://deb.debian.org"
PACKAGES = (
    "libssl3",
    "libgnutls30",
    "libtasn1-6",
    "perl-base",
    "libc6",
    "libpam0g",
    "libsystemd0",
    "libxml2",
    "libexpat1",
)
"""Each from a source of its own with fixes since the release."""
_ENTRY = re.compile(r"^(\S+) \((\S+?)\) [^;\n]+; urgency=", re.MULTILINE)
_CVE = re.compile(r"CVE-\d{4}-\d{4,7}")


def _entries(changelog: str) -> list[tuple[str, set[str]]]:
    """Version and CVEs of each entry, newest first."""
    starts = [*_ENTRY.finditer(changelog)]
    ends = [match.start() for match in starts[1:]] + [len(changelog)]
    return [
        (start[2], set(_CVE.findall(changelog[start.end() : end]))) for start, end in zip(starts, ends, strict=True)
    ]


def _apt(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    options = [
        f"-oDir::{name}={root / where}"
        for name, where in (("State", "state"), ("Cache", "cache"), ("Etc::sourcelist", "sources.list"),
                            ("Etc::sourceparts", "none"), ("State::status", "status"), ("Etc::preferencesparts", "none"))
    ]  # fmt: skip
    return subprocess.run(
        ["apt-get", *options, "-oAcquire::Check-Valid-Until=false", "-oAPT::Sandbox::User=root", *words],
        cwd=root, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


def _download(root: Path, suites: list[str]) -> dict[str, Path]:
    """The newest of each package in `suites`, by name."""
    for directory in ("state/lists/partial", "cache/archives/partial", "none"):
        (root / directory).mkdir(parents=True)
    (root / "status").touch()
    key = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
    (root / "sources.list").write_text("".join(f"deb [{key}] {MIRROR}/{suite} main\n" for suite in suites))
    updated = _apt(root, "update", "-qq")
    assert updated.returncode == 0, updated.stderr
    fetched = _apt(root, "download", "-qq", *PACKAGES)
    assert fetched.returncode == 0, fetched.stderr
    return {path.name.partition("_")[0]: path for path in root.glob("*.deb")}


def _files(package: Path) -> dict[str, bytes]:
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True, timeout=60).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name.removeprefix("./"): archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive if member.isfile()}  # fmt: skip


def _earlier(one: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False, timeout=60).returncode == 0


def _changelog(files: dict[str, bytes]) -> str:
    name = next(name for name in files if name.endswith("/changelog.Debian.gz"))
    return gzip.decompress(files[name]).decode("utf-8", "replace")


def _field(package: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def _image(packages: dict[str, Path], path: Path) -> None:
    """One layer with the packages' files and dpkg's database of them, as an installation leaves it."""
    stanzas = []
    with tarfile.open(path, "w:gz", compresslevel=1) as layer:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            layer.addfile(member, io.BytesIO(content))

        for package in packages.values():
            control = subprocess.run(["dpkg-deb", "-f", package], capture_output=True, check=True, timeout=60).stdout
            stanzas.append(control.replace(b"\n", b"\nStatus: install ok installed\n", 1))
            for name, content in _files(package).items():
                add(name, content)
        add("var/lib/dpkg/status", b"\n".join(stanzas))
        add("usr/lib/os-release", b'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')


def _scan(path: Path) -> Inventory:
    empty = path.parent / "empty"
    empty.mkdir()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return asyncio.run(read_inventory([descriptor], empty))
    finally:
        os.close(descriptor)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get to fetch Debian's packages with")
def test_findings_are_what_the_changelogs_say(tmp_path: Path) -> None:
    held = _download(tmp_path / "held", ["debian bookworm"])
    newest = _download(tmp_path / "newest", ["debian bookworm", "debian-security bookworm-security"])
    _image(held, tmp_path / "layer.tar.gz")
    truth: set[tuple[str, str]] = set()
    tracker: dict[str, dict[str, object]] = {}
    for name, package in newest.items():
        there = {cve for _, cves in _entries(_changelog(_files(held[name]))) for cve in cves}
        entries = _entries(_changelog(_files(package)))
        truth |= {(name, cve) for _, cves in entries for cve in cves if cve not in there}
        source = (_field(package, "Source") or name).partition(" ")[0]
        problems = tracker.setdefault(source, {})
        fixed = ""
        for version, cves in entries:  # newest first: the last to write is the first that has the fix
            # A stable update carries on from 1.3 as 1.3~deb12u1, which sorts before it: the least version that has it.
            fixed = version if not fixed or _earlier(version, fixed) else fixed
            for cve in cves:
                problems[cve] = {
                    "releases": {"bookworm": {"status": "resolved", "fixed_version": fixed, "urgency": "low"}}
                }
    advisories = [*debian_tracker.read(io.BytesIO(json.dumps(tracker).encode()))]

    def lookup(ecosystem: str, package: str) -> list[Advisory]:
        return [each for each in advisories if (each.ecosystem, each.package) == (ecosystem, package)]

    found = match(_scan(tmp_path / "layer.tar.gz"), lookup, lambda _: None)
    assert {(each.package, each.id) for each in found} == truth
    assert len(truth) > 5, "the newer packages fix nothing: choose others"
    assert len(advisories) > 2 * len(truth), "old problems are among the advisories, and are no findings"
