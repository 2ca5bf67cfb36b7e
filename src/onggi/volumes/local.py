"""The local driver: directories below one, and what is mounted on them (Docker's driver "local").

    DIRECTORY/NAME/_data             what is in the volume, or where its device is mounted
    DIRECTORY/NAME/_filling          being copied from an image; becomes _data when complete
    DIRECTORY/.subpaths/CONTAINER/N  a part of a volume, or an image, mounted while the container runs
    DIRECTORY/.removed-RANDOM        a removed volume on its way out

All functions block; all raise OSError.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from onggi.errors import InvalidParameter, System
from onggi.linux import mount, tree
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from onggi.oci.root import OverlayRoot
from onggi.volumes.volume import Volume

_DATA, _FILLING, _SUBPATHS, _REMOVED, _EMPTY = "_data", "_filling", ".subpaths", ".removed-", ".empty"
_FLAGS = {
    "ro": mount.MOUNT_ATTR_RDONLY,
    "nosuid": mount.MOUNT_ATTR_NOSUID,
    "nodev": mount.MOUNT_ATTR_NODEV,
    "noexec": mount.MOUNT_ATTR_NOEXEC,
    "noatime": mount.MOUNT_ATTR_NOATIME,
    "nodiratime": mount.MOUNT_ATTR_NODIRATIME,
    "strictatime": mount.MOUNT_ATTR_STRICTATIME,
}
_DEFAULTS = frozenset({"rw", "suid", "dev", "exec", "atime", "diratime", "relatime", "async", "defaults"})


class LocalDriver:
    """The directories of one engine's volumes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> None:
        """Make the directory; finish removals that were cut short."""
        self._directory.mkdir(mode=0o701, parents=True, exist_ok=True)
        for name in os.listdir(self._directory):
            if name.startswith(_REMOVED):
                self.erase(name)

    def mountpoint(self, name: str) -> Path:
        return self._directory / name / _DATA

    def _top(self) -> Fd:
        return Fd(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _volume(self, name: str) -> Fd:
        with self._top() as top:
            return openat2(top, name, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)

    def _data(self, name: str) -> Fd:
        """What is in the volume, also when a device is mounted there."""
        with self._volume(name) as volume:
            return openat2(volume, _DATA, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)

    def make(self, name: str) -> None:
        """Its directories, empty. Nothing happens to those that are there."""
        with self._top() as top:
            _make_directory(top, name, 0o701)
            with self._volume(name) as volume:
                _make_directory(volume, _DATA, 0o755)

    def set_aside(self, name: str) -> str:
        """Take a volume out of the way; the name under which `erase` finds it, "" if there was nothing."""
        aside = _REMOVED + os.urandom(8).hex()
        try:
            os.rename(self._directory / name, self._directory / aside)
        except FileNotFoundError:
            return ""
        return aside

    def erase(self, aside: str) -> None:
        """Delete what `set_aside` took away. Raises OSError EBUSY or EXDEV when something is mounted in it."""
        with self._top() as top:
            tree.remove(top, aside)

    def size_bytes(self, name: str) -> int:
        with self._data(name) as data:
            return tree.size(data)

    def is_empty(self, name: str) -> bool:
        with self._data(name) as data, os.scandir(data.fileno()) as entries:
            return next(entries, None) is None

    def is_mounted(self, name: str) -> bool:
        with self._volume(name) as volume:
            try:
                openat2(volume, _DATA, os.O_PATH, resolve=RESOLVE_NO_XDEV | RESOLVE_BENEATH).close()
            except OSError as error:
                if error.errno == errno.EXDEV:
                    return True
                raise
        return False

    def mount(self, volume: Volume) -> None:
        """Mount a volume's device on it, unless it is. Raises System with the kernel's words."""
        self.make(volume.name)
        if self.is_mounted(volume.name):
            return
        options = volume.options or {}
        kind, device, text = options.get("type", ""), options.get("device", ""), options.get("o", "")
        words = [word for word in text.split(",") if word]
        attributes = 0
        data: list[tuple[str, str | None]] = []
        for word in words:
            key, equals, value = word.partition("=")
            if word in _FLAGS:
                attributes |= _FLAGS[word]
            elif word not in _DEFAULTS | {"bind", "rbind"}:
                data.append((key, value if equals else None))
        try:
            with ExitStack() as stack:
                if {"bind", "rbind"} & set(words):
                    source = stack.enter_context(Fd(os.open(device, os.O_PATH | os.O_CLOEXEC)))
                    made = stack.enter_context(mount.open_tree(source, recursive="rbind" in words))
                    if attributes:
                        mount.set_attributes(made, set=attributes, recursive="rbind" in words)
                else:
                    made = stack.enter_context(mount.new(kind, data, source=device, attributes=attributes))
                onto = stack.enter_context(self._data(volume.name))
                mount.set_attributes(made, propagation=mount.MS_PRIVATE)
                mount.move_mount(made, onto)
        except OSError as error:
            where = self.mountpoint(volume.name)
            raise System(
                f"failed to mount local volume: mount {device}:{where}, data: {text}: {error.strerror}"
            ) from error

    def unmount(self, name: str) -> None:
        """Nothing happens when nothing is mounted there."""
        while self.is_mounted(name):
            mount.unmount(str(self.mountpoint(name)))

    def mount_subpath(self, container_id: str, number: int, name: str, subpath: str) -> Path:
        """Mount a part of a volume where nobody can change what its path means. Raises InvalidParameter."""
        with self._data(name) as data:
            try:
                part = openat2(data, subpath, os.O_PATH, resolve=RESOLVE_BENEATH)
            except OSError as error:
                raise InvalidParameter(
                    f"cannot access path {self.mountpoint(name) / subpath}: {error.strerror}"
                ) from error
        with part:
            return self._mount_part(container_id, number, part)

    def mount_image(self, container_id: str, number: int, lower: Sequence[str], subpath: str) -> Path:
        """Mount an image's layers, or a part of them, to be read only. Raises InvalidParameter."""
        with self._top() as top:
            _make_directory(top, _EMPTY, 0o755)
        # A second layer, for overlayfs wants two where nothing is written.
        with mount.view([*lower, str(self._directory / _EMPTY)]) as merged:
            try:
                part = openat2(merged, subpath or ".", os.O_PATH, resolve=RESOLVE_BENEATH)
            except OSError as error:
                raise InvalidParameter(f"cannot access path {subpath} of the image: {error.strerror}") from error
            with part:
                return self._mount_part(container_id, number, part)

    def part(self, container_id: str, number: int) -> Path:
        """Where a container's part of a volume, or an image, is mounted."""
        return self._directory / _SUBPATHS / container_id / str(number)

    def _mount_part(self, container_id: str, number: int, part: Fd) -> Path:
        with self._top() as top, ExitStack() as stack:
            is_directory = os.path.isdir(f"/proc/self/fd/{part.fileno()}")
            _make_directory(top, _SUBPATHS, 0o700)
            holder = stack.enter_context(openat2(top, _SUBPATHS, os.O_PATH, resolve=RESOLVE_BENEATH))
            _make_directory(holder, container_id, 0o700)
            own = stack.enter_context(openat2(holder, container_id, os.O_PATH, resolve=RESOLVE_BENEATH))
            if is_directory:
                _make_directory(own, str(number), 0o700)
            else:
                os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=own.fileno()))
            onto = stack.enter_context(openat2(own, str(number), os.O_PATH, resolve=RESOLVE_BENEATH))
            made = stack.enter_context(mount.open_tree(part, recursive=True))
            mount.set_attributes(made, propagation=mount.MS_PRIVATE, recursive=True)
            mount.move_mount(made, onto)
        return self.part(container_id, number)

    def containers_with_subpaths(self) -> Sequence[str]:
        try:
            return os.listdir(self._directory / _SUBPATHS)
        except FileNotFoundError:
            return ()

    def unmount_subpaths(self, container_id: str) -> None:
        """Nothing happens when there are none."""
        holder = self._directory / _SUBPATHS / container_id
        try:
            numbers = os.listdir(holder)
        except FileNotFoundError:
            return
        for number in numbers:
            try:
                mount.unmount(str(holder / number))
            except OSError as error:
                if error.errno != errno.EINVAL:  # it is no mount: the engine was killed before it was made
                    raise
        with self._top() as top, openat2(top, _SUBPATHS, os.O_RDONLY, resolve=RESOLVE_BENEATH) as parent:
            tree.remove(parent, container_id)

    def fill(self, name: str, root: OverlayRoot, target: str, *, alone: bool) -> bool:
        """Copy what the image has at `target` into an empty volume; False when it has nothing there.

        `alone`: no other container uses the volume, so that it can be replaced as a whole: killed half-way, nothing is
        half full.
        """
        with mount.overlay(root.lower, root.upper, root.work) as merged:
            try:
                source = openat2(merged, target, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
            except (FileNotFoundError, NotADirectoryError):
                return False
            with source, self._volume(name) as volume:
                if not alone:
                    with self._data(name) as data:
                        tree.copy(source, data)
                    return True
                tree.remove(volume, _FILLING)
                _make_directory(volume, _FILLING, 0o755)
                with openat2(volume, _FILLING, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_BENEATH) as filling:
                    tree.copy(source, filling)
                os.rename(_FILLING, _DATA, src_dir_fd=volume.fileno(), dst_dir_fd=volume.fileno())
        return True


def _make_directory(parent: Fd, name: str, mode: int) -> None:
    try:
        os.mkdir(name, mode, dir_fd=parent.fileno())
    except FileExistsError:
        return
