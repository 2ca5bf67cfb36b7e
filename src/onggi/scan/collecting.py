"""Layers, lowest first → the few files of the image that tell what is in it.

Of each layer only such files are kept, by path; whiteouts and replacements take away what lower layers had, so what
stays is what a container would see. Symbolic links are never followed: a database that is a link is not read. Part of
the worker's half. (image-spec, layer.md)
"""

from onggi.images.tar_reader import DIRECTORY, FILE, LINK, Entry, MalformedArchive, TarReader
from onggi.scan import databases
from onggi.scan.go_binary import BuildInfo, modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.scan.databases import Found

MOST_FILES = 200_000
MOST_KEPT_BYTES = 320 << 20
MOST_PACKAGES = 200_000
_ELF = b"\x7fELF"
_DPKG, _DPKG_LIST, _APK, _RPM, _RPM_OLD, _PYTHON, _NPM, _OS_RELEASE, _GO = range(9)
_LIMITS = {
    _DPKG: 64 << 20, _DPKG_LIST: 32 << 20, _APK: 64 << 20, _RPM: 160 << 20, _RPM_OLD: 0, _PYTHON: 4 << 20,
    _NPM: 4 << 20, _OS_RELEASE: 1 << 16,
}  # fmt: skip
_BY_PATH = {
    b"var/lib/dpkg/status": _DPKG,
    b"lib/apk/db/installed": _APK,
    b"usr/lib/apk/db/installed": _APK,
    b"var/lib/rpm/rpmdb.sqlite": _RPM,
    b"usr/lib/sysimage/rpm/rpmdb.sqlite": _RPM,
    b"var/lib/rpm/Packages": _RPM_OLD,
    b"var/lib/rpm/Packages.db": _RPM_OLD,
    b"usr/lib/sysimage/rpm/Packages.db": _RPM_OLD,
    b"etc/os-release": _OS_RELEASE,
    b"usr/lib/os-release": _OS_RELEASE,
}
_OWNABLE = (b"/METADATA", b"/PKG-INFO", b".egg-info", b"/package.json")
_PROGRAMS = (b"bin/", b"sbin/", b"usr/bin/", b"usr/sbin/", b"usr/lib/", b"usr/libexec/")


class _Kept:
    """One file: which kind, and its bytes (or what was read of a program)."""

    __slots__ = ("data", "info", "kind")

    def __init__(self, kind: int, data: bytes, info: "BuildInfo | None" = None) -> None:
        self.kind = kind
        self.data = data
        self.info = info


def _clean(name: bytes) -> bytes | None:
    """A member's path without leading and empty parts; None for one that leads out of the layer."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return None if b".." in parts else b"/".join(parts)


def _kind(path: bytes) -> int | None:
    kind = _BY_PATH.get(path)
    if kind is not None:
        return kind
    if path.startswith(b"var/lib/dpkg/"):
        if path.startswith(b"var/lib/dpkg/info/") and path.endswith(b".list"):
            return _DPKG_LIST
        if path.startswith(b"var/lib/dpkg/status.d/") and not path.endswith(b".md5sums"):
            return _DPKG
        return None
    if path.endswith((b".dist-info/METADATA", b".egg-info/PKG-INFO", b".egg-info")):
        return _PYTHON
    if path.endswith(b"/package.json"):
        *_, above, scope, _name, _file = [b"", b"", *path.split(b"/")]
        if scope == b"node_modules" or (scope[:1] == b"@" and above == b"node_modules"):
            return _NPM
    return None


class Collection:
    """The files so far. `add` each layer's reader, lowest first; then `inventory`."""

    def __init__(self) -> None:
        self._files: dict[bytes, _Kept] = {}
        self._ancestors: dict[bytes, int] = {}
        self._bytes = 0
        self._remarks: list[str] = []

    # Layers

    def add(self, reader: TarReader) -> None:
        """Read one layer to its end. Raises MalformedArchive."""
        new: dict[bytes, _Kept] = {}
        while (entry := reader.next()) is not None:
            path = _clean(entry.name)
            if path is None:
                continue
            directory, _, name = path.rpartition(b"/")
            if name == b".wh..wh..opq":
                self._drop_below(directory)
            elif name.startswith(b".wh."):
                self._drop((directory + b"/" if directory else b"") + name[4:])
            elif entry.kind != DIRECTORY:
                # A later member of a layer replaces an earlier one, as extraction would.
                new.pop(path, None)
                self._drop(path)
                kept = self._read(reader, entry, path, new)
                if kept is not None:
                    new[path] = kept
                    self._bytes += len(kept.data)
                    if len(new) + len(self._files) > MOST_FILES or self._bytes > MOST_KEPT_BYTES:
                        raise MalformedArchive("the image has more package metadata than is read")
            elif path in self._files:
                self._drop(path)
        for path, kept in new.items():
            self._put(path, kept)

    def _put(self, path: bytes, kept: _Kept) -> None:
        self._files[path] = kept
        at = path.rfind(b"/")
        while at > 0:
            path = path[:at]
            self._ancestors[path] = self._ancestors.get(path, 0) + 1
            at = path.rfind(b"/")

    def _take_away(self, path: bytes) -> None:
        self._bytes -= len(self._files.pop(path).data)
        at = path.rfind(b"/")
        while at > 0:
            path = path[:at]
            self._ancestors[path] -= 1
            if not self._ancestors[path]:
                del self._ancestors[path]
            at = path.rfind(b"/")

    def _drop(self, path: bytes) -> None:
        if path in self._files:
            self._take_away(path)
        elif path in self._ancestors:
            self._drop_below(path)

    def _drop_below(self, directory: bytes) -> None:
        if directory and directory not in self._ancestors:
            return
        prefix = directory + b"/" if directory else b""
        for path in [path for path in self._files if path.startswith(prefix)]:
            self._take_away(path)

    def _read(self, reader: TarReader, entry: Entry, path: bytes, new: dict[bytes, _Kept]) -> _Kept | None:
        if entry.kind == LINK:
            target = _clean(entry.target)
            source = (new.get(target) or self._files.get(target)) if target else None
            return source if source is not None and _kind(path) in (source.kind, None) else None
        if entry.kind != FILE or entry.sparse is not None:
            return None
        kind = _kind(path)
        if kind is None:
            return self._program(reader) if entry.mode & 0o111 and entry.stored > 4096 else None
        if kind == _RPM_OLD:
            self._remark("the RPM database is of an old form (Berkeley DB or ndb), which is not read")
            return None
        if entry.stored > _LIMITS[kind]:
            self._remark(f"a package database of {entry.stored} bytes is larger than is read")
            return None
        data = b"".join(reader.content())
        if kind == _DPKG_LIST:
            data = b"\n".join(line[1:] for line in data.split(b"\n")
                              if line.endswith(_OWNABLE) or line[1:].startswith(_PROGRAMS))  # fmt: skip
        return _Kept(kind, data)

    @staticmethod
    def _program(reader: TarReader) -> _Kept | None:
        info: BuildInfo | None = None
        for piece in reader.content():
            if info is None:
                if not piece.startswith(_ELF):
                    return None
                info = BuildInfo()
            info.feed(piece)
            if info.done:
                break
        return _Kept(_GO, b"", info) if info is not None and info.version else None

    def _remark(self, sentence: str) -> None:
        if sentence not in self._remarks and len(self._remarks) < 20:
            self._remarks.append(sentence)

    # What they say

    def inventory(self) -> "dict[str, object]":
        """The members of `inventory.Inventory`, as JSON has them."""
        distribution: Found = {}
        owned: set[bytes] = set()
        found: dict[tuple[str, ...], Found] = {}
        files = sorted(self._files.items(), key=lambda item: (item[1].kind, item[0]))
        for _, kept in files:
            if kept.kind == _OS_RELEASE:
                distribution = distribution or databases.read_os_release(kept.data)
            elif kept.kind == _DPKG_LIST:
                owned.update(kept.data.split(b"\n"))
        for path, kept in files:
            for package in self._packages(path, kept, owned):
                package["location"] = path.decode("utf-8", "replace")[:1000]
                key = (package["kind"], package["name"], package["version"], package.get("architecture", ""))
                found.setdefault(key, package)
                if len(found) > MOST_PACKAGES:
                    raise MalformedArchive("the image has more packages than are read")
        packages = sorted(found.values(), key=lambda package: (package["kind"], package["name"], package["version"]))
        return {"distribution": distribution, "packages": packages, "remarks": self._remarks}

    def _packages(self, path: bytes, kept: _Kept, owned: set[bytes]) -> "list[Found]":
        """What the distribution's packages brought is theirs: it is not told a second time as Python's or npm's."""
        if kept.kind == _DPKG:
            return [*databases.read_dpkg(kept.data)]
        if kept.kind == _APK:
            return [*databases.read_apk(kept.data, owned)]
        if kept.kind == _RPM:
            try:
                return [*databases.read_rpm(kept.data, owned)]
            except ValueError as error:
                self._remark(str(error))
                return []
        if path in owned or path.rpartition(b"/")[0] in owned:
            return []
        if kept.kind == _PYTHON:
            return [*databases.read_python(kept.data)]
        if kept.kind == _NPM:
            return [*databases.read_npm(kept.data)]
        if kept.info is not None:
            return [{"kind": "golang", "name": name, "version": version} for name, version in modules(kept.info)]
        return []
