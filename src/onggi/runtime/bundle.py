"""Bundles and the state directory of the OCI command line (runtime-spec: bundle.md, runtime.md).

<bundle>/config.json  rootfs/        the caller's
<root>/<id>/                         ours, mode 0700
    state.json                       who the container is: written once it has been created
    config.json                      the spec it was created with, paths made absolute
    start.sock                       init listens here until `start` connects; gone from then on
"""

import os
import re
import shutil
import stat
from pathlib import Path

import msgspec

from onggi.errors import Conflict, InvalidParameter, NotFound, System
from onggi.oci import spec as oci

DEFAULT_ROOT = Path("/run/onggi-runtime")
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,255}")
_CONFIG_BYTES = 16 * 1024 * 1024


class State(msgspec.Struct, frozen=True, rename="camel"):
    """What is written into state.json."""

    id: str
    pid: int
    start_time: int
    """Clock ticks since boot: with the pid it names one process for ever."""
    boot_id: str
    bundle: str
    created: str
    """RFC 3339."""
    cgroup: str
    owner: str = ""


def checked_id(id: str) -> str:
    """Raises InvalidParameter unless it is a name that runc takes, too."""
    if not _ID.fullmatch(id) or id in {".", ".."}:
        raise InvalidParameter(f"invalid container ID format: {id!r}")
    return id


def read_config(path: Path) -> bytes:
    """The text of a config.json: a regular file of reasonable size. Raises InvalidParameter."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidParameter(f"{path} is not a regular file")
            text = file.read(_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        raise InvalidParameter(f"JSON specification file {path} not found") from error
    if len(text) > _CONFIG_BYTES:
        raise InvalidParameter(f"{path} is larger than {_CONFIG_BYTES} bytes")
    return text


class StateDirectory:
    """One container's directory below the runtime's root."""

    def __init__(self, root: Path, id: str) -> None:
        self.id = checked_id(id)
        self.path = root / id

    @property
    def socket(self) -> Path:
        return self.path / "start.sock"

    def create(self) -> None:
        """Raises Conflict when a container of this ID exists."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.path.parent.lstat()
        if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.geteuid():
            raise System(f"{self.path.parent} is not a directory of our own")
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError as error:
            raise Conflict(f"container with given ID already exists: {self.id}") from error

    def write(self, state: State, config: bytes) -> None:
        """Whole or not at all: `state.json` comes last, by a rename."""
        (self.path / "config.json").write_bytes(config)
        unfinished = self.path / "state.json.new"
        unfinished.write_bytes(msgspec.json.encode(state))
        unfinished.replace(self.path / "state.json")

    def read(self) -> State:
        """Raises NotFound when there is no such container."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=State)
        except FileNotFoundError as error:
            raise NotFound(f"container does not exist: {self.id}") from error

    def config(self) -> oci.Spec:
        return oci.decode((self.path / "config.json").read_bytes())

    def started(self) -> None:
        """`start` has been given; a second one finds no socket."""
        self.socket.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path)


def known(root: Path) -> list[str]:
    """IDs below a runtime's root."""
    try:
        return sorted(entry.name for entry in root.iterdir() if (entry / "state.json").exists())
    except FileNotFoundError:
        return []


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
