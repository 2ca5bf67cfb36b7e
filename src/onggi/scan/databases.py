"""The package databases of an image: bytes of one file → packages. Pure; what is malformed is left out.

Part of the worker's half: it runs on hostile bytes, confined, so it imports nothing later than its start.

    read_dpkg       var/lib/dpkg/status, status.d/*      deb-control(5), dpkg(1)
    read_apk        lib/apk/db/installed                 apk-tools, "installed" format
    read_rpm        rpmdb.sqlite                         rpm, lib/header.c
    read_python     *.dist-info/METADATA, PKG-INFO       PEP 566
    read_npm        node_modules/*/package.json          package.json(5)
    read_os_release etc/os-release                       os-release(5)

What Go binaries say is read by `go_binary`.
"""

import json
import sqlite3
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Found = dict[str, str]
"""The members of `inventory.Package`."""
MOST_TEXT = 300
"""Characters of a name, version or licence."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()[:MOST_TEXT]


def _package(kind: str, name: str, version: str, **more: str) -> Found | None:
    if not name or not version:
        return None
    return {"kind": kind, "name": name, "version": version, **{key: text for key, text in more.items() if text}}


def _stanzas(data: bytes) -> "Iterator[dict[bytes, bytes]]":
    """Paragraphs of `Key: value` lines; of a value with several lines the first counts."""
    for paragraph in data.split(b"\n\n"):
        fields: dict[bytes, bytes] = {}
        for line in paragraph.split(b"\n"):
            if line[:1] not in (b" ", b"\t", b""):
                key, colon, value = line.partition(b":")
                if colon:
                    fields.setdefault(key.lower(), value.strip())
        if fields:
            yield fields


def read_dpkg(data: bytes) -> "Iterator[Found]":
    for fields in _stanzas(data):
        # Distroless images keep a file a package, without a status.
        if not fields.get(b"status", b"install ok installed").endswith(b" installed"):
            continue
        source, _, given = _text(fields.get(b"source", b"")).partition(" ")
        version = _text(fields.get(b"version", b""))
        found = _package("deb", _text(fields.get(b"package", b"")), version,
                         architecture=_text(fields.get(b"architecture", b"")),
                         source=source, source_version=given.strip("()"))  # fmt: skip
        if found:
            yield found


def read_apk(data: bytes, owned: "set[bytes]") -> "Iterator[Found]":
    """Adds to `owned` the paths of all files that packages brought."""
    for paragraph in data.split(b"\n\n"):
        fields: dict[bytes, bytes] = {}
        directory = b""
        for line in paragraph.split(b"\n"):
            key, value = line[:1], line[2:]
            if line[1:2] != b":":
                continue
            if key == b"F":
                directory = value
            elif key == b"R":
                owned.add(directory + b"/" + value)
            else:
                fields.setdefault(key, value)
        found = _package("apk", _text(fields.get(b"P", b"")), _text(fields.get(b"V", b"")),
                         architecture=_text(fields.get(b"A", b"")), source=_text(fields.get(b"o", b"")),
                         licence=_text(fields.get(b"L", b"")))  # fmt: skip
        if found:
            yield found


_RPM_NAME, _RPM_VERSION, _RPM_RELEASE, _RPM_EPOCH, _RPM_LICENCE, _RPM_ARCH = 1000, 1001, 1002, 1003, 1014, 1022
_RPM_SOURCE, _RPM_DIRECTORY_OF, _RPM_BASENAMES, _RPM_DIRECTORIES = 1044, 1116, 1117, 1118
_RPM_INT32 = 4
MOST_RPM_ENTRIES = 4096
MOST_RPM_FILES = 1_000_000


def _rpm_header(blob: bytes) -> "dict[int, tuple[int, int, int]]":
    """Tag → type, offset, count. The store follows the index."""
    entries, size = struct.unpack_from(">II", blob)
    if entries > MOST_RPM_ENTRIES or 8 + 16 * entries + size > len(blob):
        raise ValueError("an RPM header is longer than its record")
    index = {}
    for at in range(entries):
        tag, kind, offset, count = struct.unpack_from(">IIII", blob, 8 + 16 * at)
        index[tag] = (kind, 8 + 16 * entries + offset, count)
    return index


def _rpm_strings(blob: bytes, place: "tuple[int, int, int] | None") -> "list[bytes]":
    if place is None or place[2] > MOST_RPM_FILES:
        return []
    return blob[place[1] :].split(b"\0", place[2])[: place[2]]


def _rpm_numbers(blob: bytes, place: "tuple[int, int, int] | None") -> "tuple[int, ...]":
    if place is None or place[0] != _RPM_INT32 or place[2] > MOST_RPM_FILES:
        return ()
    return struct.unpack_from(f">{place[2]}I", blob, place[1])


def _rpm_first(blob: bytes, index: "dict[int, tuple[int, int, int]]", tag: int) -> str:
    return _text((_rpm_strings(blob, index.get(tag)) or [b""])[0])


def read_rpm(data: bytes, owned: "set[bytes]") -> "Iterator[Found]":
    """`data` is a SQLite file; it is read from memory. Raises ValueError when it is none."""
    database = sqlite3.connect(":memory:")
    try:
        # rpm leaves its database in WAL mode; without the log beside it that can only be read as a rollback one.
        database.deserialize(data[:18] + b"\1\1" + data[20:])  # type: ignore[attr-defined, unused-ignore]
        rows = database.execute("SELECT blob FROM Packages")
        for (blob,) in rows:
            if isinstance(blob, bytes):
                yield from _read_rpm_header(blob, owned)
    except (sqlite3.Error, struct.error, MemoryError) as error:
        raise ValueError("the RPM database is damaged") from error
    finally:
        database.close()


def _read_rpm_header(blob: bytes, owned: "set[bytes]") -> "Iterator[Found]":
    index = _rpm_header(blob)
    epoch = _rpm_numbers(blob, index.get(_RPM_EPOCH))
    version = f"{_rpm_first(blob, index, _RPM_VERSION)}-{_rpm_first(blob, index, _RPM_RELEASE)}"
    directories = _rpm_strings(blob, index.get(_RPM_DIRECTORIES))
    for file, at in zip(_rpm_strings(blob, index.get(_RPM_BASENAMES)),
                        _rpm_numbers(blob, index.get(_RPM_DIRECTORY_OF)), strict=False):  # fmt: skip
        if at < len(directories):
            owned.add((directories[at] + file).lstrip(b"/"))
    name = _rpm_first(blob, index, _RPM_NAME)
    source = _rpm_first(blob, index, _RPM_SOURCE).removesuffix(".src.rpm")
    parts = source.rsplit("-", 2)
    if name == "gpg-pubkey":  # a key that was imported, kept as if it were a package
        return
    found = _package("rpm", name, f"{epoch[0]}:{version}" if epoch and epoch[0] else version,
                     architecture=_rpm_first(blob, index, _RPM_ARCH), licence=_rpm_first(blob, index, _RPM_LICENCE),
                     source=parts[0] if len(parts) == 3 else "")  # fmt: skip
    if found:
        yield found


def read_python(data: bytes) -> "Iterator[Found]":
    fields = next(_stanzas(data.replace(b"\r\n", b"\n")), {})
    found = _package("pypi", _text(fields.get(b"name", b"")), _text(fields.get(b"version", b"")),
                     licence=_text(fields.get(b"license-expression") or fields.get(b"license", b"")))  # fmt: skip
    if found:
        found["name"] = "-".join(
            part for part in found["name"].lower().replace("_", "-").replace(".", "-").split("-") if part
        )
        yield found


def read_npm(data: bytes) -> "Iterator[Found]":
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    name, version, licence = (document.get(key) for key in ("name", "version", "license"))
    if isinstance(name, str) and isinstance(version, str):
        found = _package("npm", name[:MOST_TEXT], version[:MOST_TEXT],
                         licence=licence[:MOST_TEXT] if isinstance(licence, str) else "")  # fmt: skip
        if found:
            yield found


def read_os_release(data: bytes) -> Found:
    """The members of `inventory.Distribution`."""
    found = {}
    names = {b"ID": "id", b"VERSION_ID": "version_id", b"VERSION_CODENAME": "codename", b"PRETTY_NAME": "name"}
    for line in data.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if equals and key in names:
            found[names[key]] = _text(value.strip().strip(b"\"'"))
    return found
