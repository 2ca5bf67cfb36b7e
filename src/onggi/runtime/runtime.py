"""Start, watch and steer containers. What the engine knows of processes, it knows from here.

    Runtime ── SEQPACKET ── launcher (one; forks shims)
       └────── SEQPACKET ── shim (one for each container and exec: stdio, log, attached clients, exit status)

A shim outlives the daemon. What it needs to be found again lies beneath the engine's exec root:

    <exec_root>/containers/<id>/shim.sock   the shim listens here; a restarted daemon connects
    <exec_root>/containers/<id>/status      how the container ended, as JSON; written once, by the shim
    <exec_root>/containers/<id>/cgroup      the path of the container's cgroup, written before the start
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from onggi.linux.counters import Counters
    from onggi.linux.fd import Fd
    from onggi.oci.root import DirectoryRoot, OverlayRoot
    from onggi.oci.spec import LinuxResources, Process, Spec


@dataclass(frozen=True, slots=True)
class LogFile:
    """Docker's json-file log: `path`, then `path`.1 (newest) to `path`.<max_files - 1> (oldest)."""

    path: Path
    max_size_bytes: int | None = None
    """The file is put aside when it has reached this size; None: it grows without end."""
    max_files: int = 1


@dataclass(frozen=True, slots=True)
class Attachment:
    """One client. Its connection is handed to the shim, which speaks to it from then on, whatever the daemon does.

    A start or attach that succeeds closes `connection` here; one that raises leaves it open and untouched, so that
    the caller can still answer.
    """

    connection: "Fd"
    """The client's own socket, or one end of a pair where the client speaks TLS."""
    stdin: bool
    stdout: bool
    stderr: bool
    framed: bool
    """Output in frames of 8-byte headers (without a terminal)."""
    initial: bytes = b""
    """Sent before any output: the head of the HTTP answer. Not sent when the start fails."""
    received: bytes = b""
    """What was already read from the client: the beginning of its stdin."""
    detach_keys: bytes = b""
    """With a terminal: the keys that end this attachment and leave the container running. b"": none."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is needed to start a container."""

    id: str
    spec: "Spec"
    root: "OverlayRoot | DirectoryRoot"
    terminal: bool = False
    open_stdin: bool = False
    """False: the container reads /dev/null."""
    stdin_once: bool = False
    """The container's stdin is closed when the first attached client's stdin has ended (never on a terminal)."""
    log: LogFile | None = None
    network: "Fd | None" = None
    """Network namespace to join. Stays the caller's. None: as the spec says."""
    attachments: Sequence[Attachment] = ()
    """Clients that attached before the start: they lose no byte."""
    console_size: tuple[int, int] | None = None
    """Rows, columns."""
    trace: bool = False
    """Measure the phases of this start; see Started.trace."""


@dataclass(frozen=True, slots=True)
class Started:
    """A running process."""

    pid: int
    start_time: int
    """Clock ticks after boot (/proc/PID/stat, field 22): with the pid it names a process for good."""
    trace: tuple[tuple[str, int], ...] = ()
    """Phases in order, each with the nanoseconds it took, when Start.trace asked for them."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended."""

    code: int
    """0 to 255; 128 + n for one killed by signal n."""
    oom_killed: bool
    finished_at: datetime
    lost: bool = False
    """The shim was killed, so the code is an assumption; the container's processes were killed then."""


class Runtime:
    """The containers of one engine. Enter it before use; leaving it leaves the containers running.

    `detached(id, exec_id)` is called when a client used its detach keys; exec_id is "" for the container itself.
    """

    def __init__(self, exec_root: Path, *, detached: Callable[[str, str], None] | None = None) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def start(self, start: Start) -> Started:
        """Start a container. Raises CommandNotFound, CannotRun, InvalidStart, StartFailed; then nothing is left."""
        raise NotImplementedError

    async def adopt(self, id: str) -> Started | ExitStatus | None:
        """After a restart of the daemon: find the container again. None: nothing is known of it (never started, or
        before this boot). A container whose shim is gone is killed and cleaned up: ExitStatus(137, lost=True)."""
        raise NotImplementedError

    def known(self) -> list[str]:
        """The IDs beneath the exec root, for reconciling with the engine's own list."""
        raise NotImplementedError

    async def wait(self, id: str) -> ExitStatus:
        """Wait until the container has ended; at once when it has. Its log is complete then. May be cancelled."""
        raise NotImplementedError

    async def attach(self, id: str, attachment: Attachment) -> None:
        """Hand a client to the container. Raises Conflict when it is not running."""
        raise NotImplementedError

    async def resize(self, id: str, rows: int, columns: int) -> None:
        raise NotImplementedError

    async def signal(self, id: str, number: int) -> None:
        """Send a signal to the container's first process. Raises Conflict when it is not running."""
        raise NotImplementedError

    async def pause(self, id: str) -> None:
        raise NotImplementedError

    async def unpause(self, id: str) -> None:
        raise NotImplementedError

    async def kill_all(self, id: str) -> None:
        """SIGKILL to every process of the container; a paused one is thawed for it."""
        raise NotImplementedError

    async def update(self, id: str, resources: "LinuxResources") -> None:
        raise NotImplementedError

    async def counters(self, id: str) -> "Counters":
        """What the container's cgroup has counted: for `stats`."""
        raise NotImplementedError

    async def pids(self, id: str) -> list[int]:
        """Every process of the container, as host pids."""
        raise NotImplementedError

    async def exec(
        self,
        id: str,
        exec_id: str,
        process: "Process",
        *,
        terminal: bool,
        open_stdin: bool,
        attachments: Sequence[Attachment],
        console_size: tuple[int, int] | None = None,
    ) -> Started:
        """Run one more process in a running container, under a shim of its own. Raises as `start` does."""
        raise NotImplementedError

    async def wait_exec(self, exec_id: str) -> ExitStatus:
        raise NotImplementedError

    def exec_status(self, exec_id: str) -> ExitStatus | None:
        """How the exec ended, None while it runs. Known before its clients see the end of their streams."""
        raise NotImplementedError

    async def resize_exec(self, exec_id: str, rows: int, columns: int) -> None:
        raise NotImplementedError

    async def signal_exec(self, exec_id: str, number: int) -> None:
        raise NotImplementedError

    def forget_exec(self, exec_id: str) -> None:
        """Drop the status of an exec that has ended."""
        raise NotImplementedError

    async def forget(self, id: str) -> None:
        """Remove what is left of a container that has ended: its cgroup and its directory. Twice is fine."""
        raise NotImplementedError
