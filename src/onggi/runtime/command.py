"""Another OCI runtime (runc, crun, youki, gVisor's runsc …), driven by its command line.

    command = Command("/usr/sbin/runc", [], bundle, id)
    command.run("pause", id)

The command line is runc's: the runtime specification's operations, and `exec`, `pause`, `resume`, `update` with runc's
options. Everything of one container lies in one directory, so that it can be taken away whole:

    <exec_root>/bundles/<id>/  config.json  rootfs/     the bundle
                               state/                   the runtime's own records (its --root)
                               command.json             which program it is: for a daemon that finds the container again

Used by starter and shim as well as by the daemon: imports no more than they may.
"""

import _signal
import os
import select

from onggi import jsontext
from onggi.linux import tree
from onggi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORD = "command.json"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_PATIENCE_MS = 120_000
"""How long one command may take; then it is killed and has failed."""
_LOG_BYTES = 1 << 20
_DEFAULT_SIGNALS = (
    _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD,
)  # fmt: skip
"""What Python, or the launcher, ignores and a container must not inherit."""


class CommandFailed(Exception):
    """The runtime refused. The text is what it logged: one sentence of its own."""


class Command:
    """One container under one runtime's command line."""

    __slots__ = ("arguments", "bundle", "id", "program")

    def __init__(self, program: str, arguments: "list[str]", bundle: str, id: str) -> None:
        self.program = program
        self.arguments = arguments
        """Of the runtime itself, before the subcommand."""
        self.bundle = bundle
        self.id = id

    def data(self) -> "list[Any]":
        """For `Command(*data)` in another process."""
        return [self.program, self.arguments, self.bundle, self.id]

    def run(self, *words: str, streams: "tuple[int, int, int] | None" = None) -> None:
        """Carry out one subcommand. `streams` become its stdin, stdout and stderr, and so the container's.

        Raises CommandFailed with the runtime's sentence; OSError when the program cannot be executed.
        """
        with Fd(os.memfd_create("log", os.MFD_CLOEXEC)) as log:
            # The runtime opens it by our number: a file would have to be found again and removed.
            where = f"/proc/{os.getpid()}/fd/{log.fileno()}"
            line = [self.program, *self.arguments, "--root", f"{self.bundle}/state", "--log", where,
                    "--log-format", "json", *words]  # fmt: skip
            code = self._execute(line, streams)
            if code:
                raise CommandFailed(_said(log) or f"{self.program} {words[0]}: {_ending(code)}")

    def _execute(self, line: "list[str]", streams: "tuple[int, int, int] | None") -> int:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, source, at) for at, source in enumerate(streams or (null, null, null))]
            pid = os.posix_spawn(
                self.program, line, _ENVIRONMENT, file_actions=actions, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
            )
        finally:
            os.close(null)
        with Fd(os.pidfd_open(pid)) as pidfd:
            poll = select.poll()
            poll.register(pidfd.fileno(), select.POLLIN)
            if not poll.poll(_PATIENCE_MS):
                os.kill(pid, _signal.SIGKILL)
            return os.waitpid(pid, 0)[1]

    def clear(self) -> None:
        """Kill and forget the container, whatever state it is in, and remove its directory. Twice is fine."""
        if not os.path.isdir(self.bundle):
            return
        try:
            self.run("delete", "--force", self.id)
        except CommandFailed:
            pass  # it knows of no such container (any more); its processes are the cgroup's, which is cleared apart
        except OSError:
            pass  # the program itself is gone
        _remove(self.bundle)


def of_bundle(bundle: str, id: str) -> "Command | None":
    """The command that a container was started by; None: it is not another runtime's."""
    try:
        with open(f"{bundle}/{RECORD}", encoding="utf-8") as file:
            program, arguments = jsontext.loads(file.read())
    except FileNotFoundError:
        return None
    return Command(program, arguments, bundle, id)


def discard(bundle: str, id: str) -> None:
    """Take away what is left of a container of another runtime, wherever its start or end was cut short. Blocks."""
    if not os.path.isdir(bundle):
        return
    command = of_bundle(bundle, id)
    if command is not None:
        command.clear()
    else:
        _remove(bundle)  # its bundle was never complete


def _remove(bundle: str) -> None:
    parent, _, name = bundle.rpartition("/")
    with Fd(os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as bundles:
        tree.remove(bundles, name)


def _said(log: Fd) -> str:
    """The last error in a log of JSON lines, as containerd looks for it."""
    text = os.pread(log.fileno(), _LOG_BYTES, 0).decode("utf-8", "replace")
    for line in reversed(text.splitlines()):
        try:
            entry = jsontext.loads(line)
        except ValueError:
            continue  # cut off, or not of the runtime's making
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal") and entry.get("msg"):
            return str(entry["msg"]).strip()
    return ""


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
