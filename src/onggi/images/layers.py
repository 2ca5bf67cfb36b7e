"""Layers on this host: each extracted once, and stacked by overlayfs.

    data_root/layers/NAME    one layer's files, as `images.layer` made them; NAME is random, the table says whose it is

A layer is a function of its tar alone, so one directory serves all images that have it. One thing it can't know: the
attributes of a directory that its tar only implies (`root/.x` without `root/`) are those of the layers below. For an
image where there are any, a *completion* goes right above the layer: those directories, empty, with the lower
attributes. It belongs to the chain of layers, and its key is "chain:" and the chain ID. The root directory is implied
by nearly every layer; there `root_attributes` finds the one that counts.
"""

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onggi.images import rubbish
from onggi.images.layer import is_kept_xattr
from onggi.images.worker import REPORT_LIMIT_BYTES
from onggi.images.worker_process import Integrity
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from onggi.oci.digest import Digest
from onggi.oci.image import chain_id

DIRECTORY = "layers"
OPAQUE_XATTR = "trusted.overlay.opaque"
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_MOST_LOOK_UPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Layer:
    """A row of the table `layers`."""

    key: str
    diff_id: Digest
    directory: str
    """Relative to the data root."""
    size_bytes: int
    """Of its files, as Docker counts them."""
    tar_bytes: int
    """Of the tar that it was made from."""
    implied: tuple[bytes, ...]
    """Directories that no entry of the tar describes; the root is b""."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a directory is, besides its entries."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def give(self, directory: Fd | int) -> None:
        """Apply to an open directory of ours; nothing may be put into it afterwards, or the time changes."""
        number = directory if isinstance(directory, int) else directory.fileno()
        os.fchown(number, self.uid, self.gid)
        os.fchmod(number, self.mode)
        for name, value in self.xattrs:
            os.setxattr(number, name, value)
        os.utime(number, ns=(self.mtime_ns, self.mtime_ns))


def new_directory() -> str:
    """A name for a layer's directory, relative to the data root."""
    return f"{DIRECTORY}/{secrets.token_hex(8)}"


# The table


def find(connection: sqlite3.Connection, key: str) -> Layer | None:
    row = connection.execute("SELECT * FROM layers WHERE key = ?", (key,)).fetchone()
    return _layer(row) if row else None


def add(connection: sqlite3.Connection, layer: Layer) -> bool:
    """Record a finished directory as this layer; False when there is one already: the new one stays rubbish."""
    if find(connection, layer.key) is not None:
        return False
    connection.execute(
        "INSERT INTO layers (key, diff_id, directory, size_bytes, tar_bytes, implied) VALUES (?, ?, ?, ?, ?, ?)",
        (
            layer.key,
            layer.diff_id,
            layer.directory,
            layer.size_bytes,
            layer.tar_bytes,
            b"".join(path + b"\0" for path in layer.implied),
        ),
    )
    rubbish.spare(connection, layer.directory)
    return True


def use(connection: sqlite3.Connection, user_id: str, keys: Sequence[str]) -> None:
    """`user_id` is stacked of these, lowest first."""
    connection.executemany(
        "INSERT INTO layer_uses (user_id, position, layer_key) VALUES (?, ?, ?)",
        ((user_id, position, key) for position, key in enumerate(keys)),
    )


def use_as(connection: sqlite3.Connection, user_id: str, other_id: str) -> None:
    """`user_id` is stacked as `other_id` is."""
    connection.execute(
        "INSERT INTO layer_uses (user_id, position, layer_key) "
        "SELECT ?, position, layer_key FROM layer_uses WHERE user_id = ?",
        (user_id, other_id),
    )


def stack(connection: sqlite3.Connection, user_id: str) -> list[Layer]:
    """The layers and completions of an image or container, lowest first."""
    rows = connection.execute(
        "SELECT layers.* FROM layer_uses JOIN layers ON layers.key = layer_key WHERE user_id = ? ORDER BY position",
        (user_id,),
    )
    return [_layer(row) for row in rows]


def release(connection: sqlite3.Connection, user_id: str) -> list[str]:
    """`user_id` needs its layers no more; gives the directories of those that nobody needs now, recorded as rubbish."""
    keys = [r[0] for r in connection.execute("SELECT layer_key FROM layer_uses WHERE user_id = ?", (user_id,))]
    connection.execute("DELETE FROM layer_uses WHERE user_id = ?", (user_id,))
    return collect(connection, keys)


def collect(connection: sqlite3.Connection, keys: Iterable[str]) -> list[str]:
    """Forget those of `keys` that nobody uses and no lease holds; gives their directories, recorded as rubbish."""
    directories = []
    for key in keys:
        row = connection.execute(
            "SELECT directory FROM layers WHERE key = ? "
            "AND NOT EXISTS (SELECT 1 FROM layer_uses WHERE layer_key = layers.key) "
            "AND NOT EXISTS (SELECT 1 FROM leases WHERE resource = 'layer:' || layers.key)",
            (key,),
        ).fetchone()
        if row is not None:
            connection.execute("DELETE FROM layers WHERE key = ?", (key,))
            directories.append(row["directory"])
    rubbish.record(connection, directories)
    return directories


def all_keys(connection: sqlite3.Connection) -> list[str]:
    return [row["key"] for row in connection.execute("SELECT key FROM layers")]


def _layer(row: sqlite3.Row) -> Layer:
    implied = tuple(bytes(row["implied"]).split(b"\0")[:-1])
    return Layer(row["key"], Digest(row["diff_id"]), row["directory"], row["size_bytes"], row["tar_bytes"], implied)


# Directories: all that follows blocks on the disk


def read_report(report: Fd) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Implied and opaque directories, from the worker's report. Its paths are checked where they are used."""
    size = os.fstat(report.fileno()).st_size
    if size > REPORT_LIMIT_BYTES:
        raise Integrity("failed to extract the layer: the worker's report is too long")
    data = os.pread(report.fileno(), size, 0) if size else b""
    records = data.split(b"\0")[:-1]
    return (
        tuple(record[1:] for record in records if record[:1] == b"I"),
        tuple(record[1:] for record in records if record[:1] == b"O"),
    )


def mark_opaque(root: Fd, paths: Iterable[bytes]) -> None:
    """What only the daemon's capabilities can set, on directories that a worker made."""
    for path in paths:
        with openat2(root, os.fsdecode(path) or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH) as directory:
            os.setxattr(directory.fileno(), OPAQUE_XATTR, b"y")


def attributes_of(directory: Fd | int) -> Attributes:
    number = directory if isinstance(directory, int) else directory.fileno()
    status = os.fstat(number)
    names = [name for name in os.listxattr(number) if is_kept_xattr(os.fsencode(name))]
    xattrs = tuple((name, os.getxattr(number, name)) for name in names)
    return Attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, xattrs)


def root_attributes(data_root: Path, layers: Sequence[Layer]) -> Attributes | None:
    """Of the root directory of the stack `layers` (lowest first): the topmost that a tar describes; None: none does."""
    for layer in reversed(layers):
        if b"" not in layer.implied and not layer.key.startswith("chain:"):
            with Fd(os.open(data_root / layer.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
                return attributes_of(root)
    return None


class _Stack:
    """The directories of a stack, topmost first, for looking up what is visible in them."""

    def __init__(self, data_root: Path, layers: Sequence[Layer]) -> None:
        self._roots = [
            Fd(os.open(data_root / layer.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            for layer in reversed(layers)
        ]

    def close(self) -> None:
        for root in self._roots:
            root.close()

    def directory(self, path: bytes) -> Attributes | None:
        """The attributes of a directory as overlayfs shows it; None when it shows none there."""
        for root in self._roots:
            found = _look(root, path)
            if found is not None:
                return found if isinstance(found, Attributes) else None
        return None


_HIDDEN = "hidden"


def _look(root: Fd, path: bytes) -> Attributes | str | None:
    """In one layer: attributes, or _HIDDEN when it hides what is below, or None when it says nothing."""
    here = root.duplicate()
    try:
        for name in path.split(b"/"):
            try:
                found = openat2(here, os.fsdecode(name), os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH)
            except FileNotFoundError:
                return _HIDDEN if is_opaque(here) else None
            except OSError:  # a file, a link, a whiteout
                return _HIDDEN
            here.close()
            here = found
        return attributes_of(here)
    finally:
        here.close()


def is_opaque(directory: Fd) -> bool:
    """Nothing of lower layers shows through it."""
    try:
        return os.getxattr(directory.fileno(), OPAQUE_XATTR) == b"y"
    except OSError:  # ENODATA
        return False


def completion(data_root: Path, below: Sequence[Layer], layer: Layer) -> dict[bytes, Attributes]:
    """The implied directories of `layer` that `below` (lowest first) has, with all their parents: what they shall be.

    Empty for nearly every layer. Raises Integrity when there are absurdly many.
    """
    implied = [path for path in layer.implied if path]
    if not implied or not below:
        return {}
    if len(implied) * len(below) > _MOST_LOOK_UPS:
        raise Integrity("the layer has too many directories without entries")
    wanted: dict[bytes, Attributes] = {}
    lower = _Stack(data_root, below)
    own = _Stack(data_root, [layer])
    try:
        missing: set[bytes] = set()  # what is below a directory that isn't there needs no look
        for path in sorted(implied):  # a directory comes before what is in it
            attributes = None if path.rpartition(b"/")[0] in missing else lower.directory(path)
            if attributes is not None:
                wanted[path] = attributes
            else:
                missing.add(path)
        for path in list(wanted):
            parent = path.rpartition(b"/")[0]
            while parent and parent not in wanted:
                attributes = own.directory(parent)
                if attributes is None:
                    raise Integrity("the layer's directories changed while they were looked at")
                wanted[parent] = attributes
                parent = parent.rpartition(b"/")[0]
    finally:
        lower.close()
        own.close()
    return wanted


def make_completion(data_root: Path, directory: str, wanted: dict[bytes, Attributes]) -> None:
    """Make the directories of a completion, in the new directory `directory`."""
    os.mkdir(data_root / directory, 0o755)
    with Fd(os.open(data_root / directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for path in sorted(wanted):
            os.mkdir(path, 0o700, dir_fd=root.fileno())
        for path in sorted(wanted, reverse=True):
            with openat2(root, os.fsdecode(path), os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH) as made:
                wanted[path].give(made)


def chain_key(diff_ids: Sequence[Digest]) -> str:
    """The key of the completion of the topmost of these layers."""
    return f"chain:{chain_id(diff_ids)}"
