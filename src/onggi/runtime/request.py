"""What the engine asks of the runtime, and what it is told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from onggi.linux.fd import Fd
from onggi.oci.root import DirectoryRoot, OverlayRoot
from onggi.oci.spec import Spec


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log in files: `path`, then `path`.1 (newest) to `path`.<max_files - 1> (oldest)."""

    path: Path
    max_size_bytes: int | None = None
    """The file is put aside when it has reached this size; None: it grows without end."""
    max_files: int = 1
    compress: bool = False
    """What is put aside becomes `path`.<n>.gz."""
    format: Literal["json", "local"] = "json"
    attributes: str = ""
    """With the format json: a JSON object that stands in each record; "" for none."""


@dataclass(frozen=True, slots=True)
class Log:
    """Where a container's output is recorded."""

    file: LogFile | None = None
    remote: Mapping[str, Any] | None = None
    """The member `driver` names the remote driver; the others are what its module beneath `runtime.logs` reads."""
    buffer_bytes: int | None = None
    """How much may wait for the remote driver before output is lost; None: the program waits."""

    def order(self) -> dict[str, Any]:
        """As the shim gets it."""
        file = {**asdict(self.file), "path": str(self.file.path)} if self.file is not None else None
        return {"file": file, "remote": self.remote, "buffer_bytes": self.buffer_bytes}


@dataclass(frozen=True, slots=True)
class Attachment:
    """One client. Its connection is handed to the shim, which speaks to it from then on, whatever the daemon does.

    A start or attach that succeeds closes `connection` here; one that raises leaves it open and untouched, so that
    the caller can still answer.
    """

    connection: Fd
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
    mark: str = ""
    """By this its client knows it again; "" for none."""


@dataclass(frozen=True, slots=True)
class OciProgram:
    """Another OCI runtime: a program with runc's command line."""

    path: str
    """Absolute."""
    arguments: tuple[str, ...] = ()
    """Its own, before each subcommand."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is needed to start a container."""

    id: str
    spec: Spec
    root: OverlayRoot | DirectoryRoot
    terminal: bool = False
    open_stdin: bool = False
    """False: the container reads /dev/null."""
    stdin_once: bool = False
    """The container's stdin is closed when the first attached client's stdin has ended (never on a terminal)."""
    log: Log | None = None
    network: Fd | None = None
    """Network namespace to join. Stays the caller's. None: as the spec says."""
    attachments: Sequence[Attachment] = ()
    """Clients that attached before the start: they lose no byte."""
    console_size: tuple[int, int] | None = None
    """Rows, columns."""
    trace: bool = False
    """Measure the phases of this start; see Started.trace."""
    program: OciProgram | None = None
    """Who starts and steers the container; None: we do."""


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
