"""Layers → packages: each kind of database, layers over layers, files that lie."""

import io
import sqlite3
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from onggi.images.tar_reader import MalformedArchive, TarReader
from onggi.scan import inventory
from onggi.scan.collecting import Collection
from onggi.scan.inventory import Distribution, Inventory, Package, PackageKind, package_url

STATUS = b"""Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0.11-1~deb12u2

Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.11-1~deb12u1)
Version: 3.0.11-1~deb12u1+b1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
APK = b"""C:Q1abc=
P:libcrypto3
V:3.1.4-r1
A:x86_64
L:Apache-2.0
o:openssl
F:usr/lib/python3.11/site-packages/six-1.0.dist-info
R:METADATA
Z:Q1x=

P:musl
V:1.2.4_git20230717-r4
A:x86_64
o:musl
"""
METADATA = b"Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 5.4\nLicense: ZPL 2.1\n\nText\nName: liar\n"
Files = Mapping[str, bytes | None]


def layer(files: Files, *, mode: int = 0o644) -> io.BytesIO:
    """A tar of files; None: a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                member.mode = 0o755
            else:
                member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content or b""))
    out.seek(0)
    return out


def read(*layers: io.BytesIO, piece: int = 1000) -> Inventory:
    collection = Collection()
    for each in layers:
        collection.add(TarReader(lambda each=each: each.read(piece)))  # type: ignore[misc]
    return msgspec.convert(collection.inventory(), Inventory)


def names(found: Inventory) -> list[str]:
    return [f"{package.kind}:{package.name} {package.version}" for package in found.packages]


def test_debian() -> None:
    found = read(layer({"./var/lib/dpkg/status": STATUS, "./usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n'}))
    assert names(found) == ["deb:libssl3 3.0.11-1~deb12u1+b1", "deb:openssl 3.0.11-1~deb12u2"]
    assert found.packages[0].source == "openssl"
    assert found.packages[0].source_version == "3.0.11-1~deb12u1"
    assert found.distribution == Distribution(id="debian", version_id="12")
    url = package_url(found.packages[0], found.distribution)
    assert url == "pkg:deb/debian/libssl3@3.0.11-1~deb12u1%2Bb1?arch=amd64&distro=debian-12&upstream=openssl"


def test_distroless_keeps_a_file_a_package() -> None:
    parts = STATUS.split(b"\n\n")
    files: Files = {"var/lib/dpkg/status.d/openssl": parts[0].replace(b"Status: install ok installed\n", b""),
             "var/lib/dpkg/status.d/openssl.md5sums": b"Package: no\nVersion: 1\n"}  # fmt: skip
    assert names(read(layer(files))) == ["deb:openssl 3.0.11-1~deb12u2"]


def test_alpine_and_what_its_packages_brought_is_told_once() -> None:
    found = read(layer({"lib/apk/db/installed": APK, "usr/lib/python3.11/site-packages/six-1.0.dist-info/METADATA":
                        b"Name: six\nVersion: 1.0\n", "usr/local/lib/python3/six-2.0.dist-info/METADATA":
                        b"Name: six\nVersion: 2.0\n"}))  # fmt: skip
    assert names(found) == ["apk:libcrypto3 3.1.4-r1", "apk:musl 1.2.4_git20230717-r4", "pypi:six 2.0"]
    assert (found.packages[0].source, found.packages[0].licence) == ("openssl", "Apache-2.0")


def test_what_debian_packages_brought_is_told_once() -> None:
    path = "usr/lib/python3/dist-packages/requests-2.28.dist-info"
    files: Files = {"var/lib/dpkg/info/python3-requests.list": f"/.\n/{path}/METADATA\n".encode(),
                    f"{path}/METADATA": b"Name: requests\nVersion: 2.28\n"}  # fmt: skip
    assert names(read(layer(files))) == []
    assert names(read(layer(files), layer({"var/lib/dpkg/info/.wh.python3-requests.list": b""}))) == [
        "pypi:requests 2.28"
    ]


def test_python_and_npm() -> None:
    found = read(layer({
        "opt/venv/lib/zope.interface-5.4.dist-info/METADATA": METADATA,
        "app/node_modules/left-pad/package.json": b'{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}',
        "app/node_modules/@babel/core/package.json": b'{"name": "@babel/core", "version": "7.0.0"}',
        "app/package.json": b'{"name": "app", "version": "1"}',
        "app/node_modules/left-pad/test/package.json": b'{"name": "fixture", "version": "1"}',
        "app/node_modules/broken/package.json": b"{" * 100_000,
    }))  # fmt: skip
    assert names(found) == ["npm:@babel/core 7.0.0", "npm:left-pad 1.3.0", "pypi:zope-interface 5.4"]
    assert package_url(found.packages[0], found.distribution) == "pkg:npm/%40babel/core@7.0.0"


def _go_binary(modules: bytes, *, before: int = 70_000) -> bytes:
    def text(data: bytes) -> bytes:
        length, out = len(data), b""
        while length >= 0x80:
            out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
        return out + bytes([length]) + data

    mark = b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6", b"\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2"
    header = b"\xff Go buildinf:\x08\x02" + bytes(16)
    return b"\x7fELF" + bytes(before) + header + text(b"go1.21.5") + text(mark[0] + modules + mark[1]) + bytes(5000)


def test_go_programs_tell_their_modules() -> None:
    modules = (b"path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgolang.org/x/net\tv0.1.0\th1:a=\n"
               b"dep\texample.com/old\tv1.0.0\n=>\texample.com/new\tv1.2.0\th1:b=\nbuild\t-compiler=gc\n")  # fmt: skip
    program = _go_binary(modules)
    for piece in (512, 777, 1 << 20):
        found = read(layer({"app/server": program}, mode=0o755), piece=piece)
        assert names(found) == [
            "golang:example.com/new v1.2.0",
            "golang:golang.org/x/net v0.1.0",
            "golang:stdlib 1.21.5",
        ]
    assert names(read(layer({"app/server": program}, mode=0o644))) == []


def _rpm_database(path: Path) -> bytes:
    def header(fields: dict[int, tuple[int, list[bytes] | list[int]]]) -> bytes:
        index = store = b""
        for tag, (kind, values) in fields.items():
            if kind == 4:
                store += bytes(-len(store) % 4)
            index += struct.pack(">IIII", tag, kind, len(store), len(values))
            store += b"".join(struct.pack(">I", v) if isinstance(v, int) else v + b"\0" for v in values)
        return struct.pack(">II", len(fields), len(store)) + index + store

    bash = header({1000: (6, [b"bash"]), 1001: (6, [b"5.1.8"]), 1002: (6, [b"6.el9"]), 1003: (4, [1]), 1014: (6, [b"GPLv3+"]),
                   1022: (6, [b"x86_64"]), 1044: (6, [b"bash-5.1.8-6.el9.src.rpm"]), 1116: (4, [0]),
                   1117: (8, [b"METADATA"]), 1118: (8, [b"/usr/lib/x.dist-info/"])})  # fmt: skip
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (bash,))
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (header({1000: (6, [b"gpg-pubkey"])}),))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path.read_bytes()


def test_rpm(tmp_path: Path) -> None:
    data = _rpm_database(tmp_path / "rpmdb.sqlite")
    found = read(layer({"var/lib/rpm/rpmdb.sqlite": data, "usr/lib/x.dist-info/METADATA": METADATA}))
    assert names(found) == ["rpm:bash 1:5.1.8-6.el9"]
    assert found.packages[0] == Package(kind=PackageKind.RPM, name="bash", version="1:5.1.8-6.el9", architecture="x86_64",
                                        source="bash", licence="GPLv3+", location="var/lib/rpm/rpmdb.sqlite")  # fmt: skip
    for damaged in (data[: len(data) // 2], b"SQLite format 3\0" + bytes(5000), b"nothing", bytes(100)):
        found = read(layer({"var/lib/rpm/rpmdb.sqlite": damaged}))
        assert found.packages == []
        assert found.remarks == ["the RPM database is damaged"]


def test_an_upper_layer_is_what_counts() -> None:
    first: Files = {"var/lib/dpkg/status": STATUS, "etc/os-release": b"ID=debian\n", "a/node_modules/b/package.json":
             b'{"name": "b", "version": "1"}', "a/node_modules/c/package.json": b'{"name": "c", "version": "1"}'}  # fmt: skip
    older = STATUS.replace(b"3.0.11-1~deb12u2", b"3.0.11-1~deb12u3")
    assert "deb:openssl 3.0.11-1~deb12u3" in names(read(layer(first), layer({"var/lib/dpkg/status": older})))
    assert names(read(layer(first), layer({"var/lib/.wh.dpkg": b""}))) == ["npm:b 1", "npm:c 1"]
    opaque: Files = {"a/.wh..wh..opq": b"", "a/node_modules/d/package.json": b'{"name": "d", "version": "1"}'}
    assert [name for name in names(read(layer(first), layer(opaque))) if "npm" in name] == ["npm:d 1"]
    assert [name for name in names(read(layer(first), layer({"a/node_modules": b"a file"}))) if "npm" in name] == []
    assert [name for name in names(read(layer(first), layer({"a/node_modules": None}))) if "npm" in name] == [
        "npm:b 1", "npm:c 1"
    ]  # fmt: skip


def test_links_are_not_followed_and_paths_do_not_leave() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, target in (("var/lib/dpkg/status", "/etc/shadow"), ("etc/os-release", "../../../../etc/os-release")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        fifo = tarfile.TarInfo("lib/apk/db/installed")
        fifo.type = tarfile.FIFOTYPE
        archive.addfile(fifo)
        up = tarfile.TarInfo("../var/lib/dpkg/status")
        up.size = len(STATUS)
        archive.addfile(up, io.BytesIO(STATUS))
    out.seek(0)
    found = read(out)
    assert found == Inventory()


def test_a_database_that_is_too_large_is_named() -> None:
    found = read(layer({"etc/os-release": b"x" * 100_000}))
    assert found.remarks == ["a package database of 100000 bytes is larger than is read"]


def test_an_archive_that_is_cut_is_refused() -> None:
    whole = layer({"var/lib/dpkg/status": STATUS}).getvalue()
    with pytest.raises(MalformedArchive):
        read(io.BytesIO(whole[:700]))


def test_a_report_has_no_members_of_its_own() -> None:
    with pytest.raises(msgspec.ValidationError):
        inventory.decode(b'{"packages": [{"kind": "deb", "name": "a", "version": "1", "admin": true}]}')
