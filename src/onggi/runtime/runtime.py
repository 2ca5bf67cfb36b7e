"""Start, watch and steer containers. What the engine knows of processes, it knows from here.

    Runtime ── SEQPACKET ── launcher (one; forks shims)
       └────── SEQPACKET ── shim (one for each container and exec: stdio, log, attached clients, exit status)

A shim outlives the daemon. What it needs to be found again lies beneath the engine's exec root:

    <exec_root>/containers/<id>/shim.sock   the shim listens here; a restarted daemon connects
    <exec_root>/containers/<id>/status      how the container ended, as JSON; written once, by the shim
    <exec_root>/containers/<id>/config.json the container's spec, which names its cgroup; written before the start
    <exec_root>/bundles/<id>/               only if another OCI runtime starts and steers it (see `command`)
"""

import _socket
import asyncio
import contextlib
import errno
import logging
import os
import signal as signals
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from onggi import jsontext
from onggi.errors import System
from onggi.linux import message
from onggi.linux.cgroup import Cgroup
from onggi.linux.counters import Counters
from onggi.linux.counters import read as read_counters
from onggi.linux.fd import Fd
from onggi.oci.spec import LinuxResources, Spec
from onggi.oci.spec import Process as ProcessSpec
from onggi.runtime import command, foreign, host
from onggi.runtime.failure import CannotRun, CommandNotFound, InvalidStart, StartFailed
from onggi.runtime.launch import Launcher
from onggi.runtime.plan import plan, plan_exec
from onggi.runtime.process import NotRunning, Process, ShimVanished, exit_status, flags, lost_status
from onggi.runtime.request import Attachment, ExitStatus, LogFile, OciProgram, Start, Started
from onggi.runtime.shim import SOCKET, STATUS

__all__ = [
    "Attachment",
    "CannotRun",
    "CommandNotFound",
    "ExitStatus",
    "InvalidStart",
    "LogFile",
    "NotRunning",
    "OciProgram",
    "Runtime",
    "Start",
    "StartFailed",
    "Started",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

CONFIG = "config.json"
_ANSWER_S = 30.0
"""A shim that is found again answers at once, unless somebody has stopped it."""
_EMPTY_WAIT_S = 30.0
_EMPTY_STEP_S = 0.01
_BLOCKING_CALLS = 16
_MOST_CLIENTS = 200
"""That go with an order, which carries at most 253 descriptors (SCM_MAX_FD); further ones follow."""

_encode_spec = msgspec.json.Encoder().encode
_decode_spec = msgspec.json.Decoder(Spec).decode


class _Container:
    """A container that this daemon has started or found again."""

    __slots__ = ("cgroup", "command", "process", "spec")

    def __init__(self, process: Process, spec: Spec, cgroup: Cgroup, command: command.Command | None) -> None:
        self.process = process
        self.spec = spec
        self.cgroup = cgroup
        self.command = command
        """How another runtime is told; None: it is ours."""


class Runtime:
    """The containers of one engine. Enter it before use; leaving it leaves the containers running.

    `detached(id, exec_id)` is called when a client used its detach keys; exec_id is "" for the container itself.
    `spool_root`: where the shims keep what slow clients have not read yet; a directory on a disk, not a tmpfs.
    """

    def __init__(
        self, exec_root: Path, *, spool_root: Path | None = None, detached: Callable[[str, str], None] | None = None
    ) -> None:
        self._root = exec_root / "containers"
        self._bundles = exec_root / foreign.BUNDLES
        self._spool = spool_root or exec_root
        self._detached = detached or (lambda id, exec_id: None)
        self._containers: dict[str, _Container] = {}
        self._execs: dict[str, Process] = {}
        self._launcher = Launcher(exec_root)
        self._host = host.probe()
        self._tasks = asyncio.TaskGroup()
        self._calls = ThreadPoolExecutor(_BLOCKING_CALLS, thread_name_prefix="runtime")

    async def __aenter__(self) -> Self:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._call(foreign.sweep, self._bundles, frozenset(self.known()))
        await self._launcher.__aenter__()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            for container in self._containers.values():
                container.process.close()
            for process in self._execs.values():
                process.close()
            await self._launcher.__aexit__()
            self._calls.shutdown(wait=False)

    @property
    def launcher_pid(self) -> int | None:
        return self._launcher.pid

    # Containers

    async def start(self, start: Start) -> Started:
        """Start a container. Raises CommandNotFound, CannotRun, InvalidStart, StartFailed; then nothing is left."""
        begun_ns = time.monotonic_ns()
        previous = self._containers.get(start.id)
        if previous is not None:
            await previous.process.settled()
            del self._containers[start.id]
        spec = start.spec
        assert spec.linux is not None
        cgroup = Cgroup(spec.linux.cgroups_path)
        steps: list[Any] | dict[str, Any]
        if start.program is None:
            steps, other = plan(spec, self._host, start.root, network=start.network is not None).data(), None
        else:
            other = await self._call(self._bundle, start.id, start.program, spec)
            steps = foreign.creation(other, start.root, self._host, terminal=start.terminal)
        directory = self._prepare(start.id, spec)
        first = start.attachments[:_MOST_CLIENTS]
        order = {
            "cgroup": cgroup.path,
            "clients": [flags(attachment) for attachment in first],
            "directory": str(directory),
            "files": ["network"] if start.network is not None else [],
            "log": [str(start.log.path), start.log.max_size_bytes, start.log.max_files] if start.log else None,
            "open_stdin": start.open_stdin,
            "own_pids": _own_pids(spec),
            "runtime": other.data() if other is not None else None,
            "size": start.console_size,
            "spool": str(self._spool),
            "stdin_once": start.stdin_once,
            "terminal": start.terminal,
            "trace": start.trace,
        }
        files = [start.network] if start.network is not None else []
        try:
            process = await self._order(
                order,
                steps,
                [*files, *(attachment.connection for attachment in first)],
                describe=f"container {start.id}",
                detached=partial(self._detached, start.id, ""),
                lost=partial(self._lost, start.id, cgroup),
                begun_ns=begun_ns,
            )
        except Exception:
            # Not when cancelled: the program may run by now, so it is left for the next daemon to adopt.
            await self._call(self._clear, directory, cgroup)
            raise
        self._containers[start.id] = _Container(process, spec, cgroup, other)
        for attachment in first:
            attachment.connection.close()
        for attachment in start.attachments[_MOST_CLIENTS:]:
            try:
                await process.attach(attachment)
            except NotRunning:
                attachment.connection.close()  # it was quick: there is nothing to see any more
        assert process.started is not None
        return process.started

    async def adopt(self, id: str) -> Started | ExitStatus | None:
        """After a restart of the daemon: find the container again. None: nothing is known of it (never started, or
        before this boot). A container whose shim is gone is killed and cleaned up: ExitStatus(137, lost=True)."""
        directory = self._root / id
        try:
            spec = _decode_spec((directory / CONFIG).read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            # The daemon was killed while it wrote the file, so nothing was started.
            return None
        assert spec.linux is not None
        cgroup = Cgroup(spec.linux.cgroups_path)
        while True:
            found = await self._reconnect(id, spec, cgroup, directory)
            if found is not None:
                return found
            status = _written_status(directory)
            if status is not None:
                break
            if _close_off(directory):
                status = lost_status()
                break
        await self._call(self._end, id, cgroup)
        if (known := self._containers.get(id)) is not None:
            known.process.end(status)
            known.process.settle()
        return status

    async def _reconnect(self, id: str, spec: Spec, cgroup: Cgroup, directory: Path) -> Started | None:
        socket = _connect(directory)
        if socket is None:
            return None
        process = Process(
            socket,
            describe=f"container {id}",
            exec=False,
            detached=partial(self._detached, id, ""),
            lost=partial(self._lost, id, cgroup),
        )
        self._containers[id] = _Container(process, spec, cgroup, command.of_bundle(str(self._bundles / id), id))
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await process.answer()
        except ShimVanished:
            return None  # it was about to end when we connected, or its start has failed
        except TimeoutError as error:
            raise System(f"the shim of container {id} does not answer: is it stopped?") from error

    def known(self) -> list[str]:
        """The IDs beneath the exec root, for reconciling with the engine's own list."""
        return sorted(entry.name for entry in self._root.iterdir())

    async def wait(self, id: str) -> ExitStatus:
        """Wait until the container has ended; at once when it has. Its log is complete then. May be cancelled."""
        container = self._containers.get(id)
        if container is not None:
            return await container.process.ended()
        status = _written_status(self._root / id)
        if status is None:
            raise NotRunning(f"container {id} is not running")
        return status

    async def attach(self, id: str, attachment: Attachment) -> None:
        """Hand a client to the container. Raises NotRunning."""
        await self._running(id).process.attach(attachment)

    async def resize(self, id: str, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters; without one nothing happens. Raises NotRunning."""
        await self._running(id).process.resize(rows, columns)

    async def signal(self, id: str, number: int) -> None:
        """Send a signal to the container's first process. Raises NotRunning."""
        container = self._running(id)
        if container.command is None:
            container.process.signal(number)
        else:
            await self._call(foreign.steer, container.command, "kill", id, str(number))

    async def pause(self, id: str) -> None:
        """Freeze every process of the container. Raises NotRunning."""
        await self._steer(id, "pause", self._running(id).cgroup.freeze)

    async def unpause(self, id: str) -> None:
        """Let it go on. Raises NotRunning."""
        await self._steer(id, "resume", self._running(id).cgroup.thaw)

    async def kill_all(self, id: str) -> None:
        """SIGKILL to every process of the container; a paused one is thawed for it. Raises NotRunning."""
        await self._call(self._running(id).cgroup.kill)

    async def update(self, id: str, new: LinuxResources) -> None:
        """Change the limits of a running container. Raises NotRunning, InvalidParameter."""
        from onggi.runtime import resources

        container = self._running(id)
        if container.command is not None:
            await self._call(foreign.update, container.command, new)
            return
        await self._call(container.cgroup.apply, resources.writes(new, self._host))

    async def counters(self, id: str) -> Counters:
        """What the container's cgroup has counted: for `stats`. Raises NotRunning."""
        return await self._call(read_counters, self._running(id).cgroup)

    async def pids(self, id: str) -> list[int]:
        """Every process of the container, as host pids. Raises NotRunning."""
        return await self._call(self._running(id).cgroup.pids)

    async def forget(self, id: str) -> None:
        """Remove what is left of a container that has ended: its cgroup and its directory. Twice is fine."""
        container = self._containers.get(id)
        if container is not None:
            await container.process.settled()
            container.process.close()
            self._containers.pop(id, None)
            if container.process.clean:
                _remove(self._root / id)
                return
        await self._call(self._clear, self._root / id, None)

    # Execs

    async def exec(
        self,
        id: str,
        exec_id: str,
        process: ProcessSpec,
        *,
        terminal: bool,
        open_stdin: bool,
        attachments: Sequence[Attachment],
        console_size: tuple[int, int] | None = None,
    ) -> Started:
        """Run one more process in a running container, under a shim of its own. Raises as `start` does, NotRunning."""
        container = self._running(id)
        pidfd, first = container.process.pidfd, container.process.started
        assert pidfd is not None
        assert first is not None
        steps: list[Any] | dict[str, Any]
        if container.command is None:
            steps, files = plan_exec(process, container.spec, self._host).data(), {"pidfd": pidfd}
        else:
            files = {}
            steps = foreign.execution(container.command, exec_id, process, container.spec, first.pid)
        order = {
            "cgroup": "",
            "clients": [flags(attachment) for attachment in attachments],
            "directory": "",
            "files": list(files),
            "log": None,
            "open_stdin": open_stdin,
            "own_pids": True,
            "runtime": None,
            "size": console_size,
            "spool": str(self._spool),
            "stdin_once": True,
            "terminal": terminal,
            "trace": False,
        }
        started = await self._order(
            order,
            steps,
            [*files.values(), *(attachment.connection for attachment in attachments)],
            describe=f"exec {exec_id}",
            detached=partial(self._detached, id, exec_id),
            lost=_lost_exec,
        )
        self._execs[exec_id] = started
        for attachment in attachments:
            attachment.connection.close()
        assert started.started is not None
        return started.started

    async def wait_exec(self, exec_id: str) -> ExitStatus:
        """Wait until it has ended; at once when it has. Raises NotRunning for one that was never started here."""
        return await self._exec(exec_id).ended()

    def exec_status(self, exec_id: str) -> ExitStatus | None:
        """How the exec ended, None while it runs. Known before its clients see the end of their streams."""
        return self._exec(exec_id).status

    async def resize_exec(self, exec_id: str, rows: int, columns: int) -> None:
        """As `resize`."""
        await self._exec(exec_id).resize(rows, columns)

    async def signal_exec(self, exec_id: str, number: int) -> None:
        """As `signal`."""
        self._exec(exec_id).signal(number)

    def forget_exec(self, exec_id: str) -> None:
        """Drop the status of an exec that has ended. Twice is fine."""
        process = self._execs.pop(exec_id, None)
        if process is not None:
            process.close()

    # Beneath both

    async def _order(
        self,
        order: dict[str, Any],
        steps: list[Any] | dict[str, Any],
        descriptors: Sequence[Fd],
        *,
        describe: str,
        detached: Callable[[], None],
        lost: Callable[[Process], None],
        begun_ns: int = 0,
    ) -> Process:
        """Hand an order to a shim and wait until the process runs."""
        while True:
            generation = self._launcher.generation
            ours, theirs = message.pair()
            process = Process(
                ours,
                describe=describe,
                exec=not order["directory"],
                detached=detached,
                lost=lost,
                begun_ns=begun_ns,
            )
            try:
                with theirs:
                    await self._launcher.order(order, steps, [theirs, *descriptors])
                await process.answer()
            except ShimVanished as error:
                process.close()
                if self._launcher.died_since(generation):
                    # The order was lost with it: no shim took it, or that one was killed, too.
                    if order["directory"]:
                        await self._call(_undo, Path(order["directory"]), Cgroup(order["cgroup"]))
                    if order["runtime"]:
                        raise StartFailed(f"the launcher was killed while it started {describe}") from error
                    continue
                raise StartFailed(f"the shim of {describe} was killed") from error
            except BaseException:
                process.close()
                raise
            return process

    def _prepare(self, id: str, spec: Spec) -> Path:
        directory = self._root / id
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            _remove(directory)
            directory.mkdir(mode=0o700)
        (directory / CONFIG).write_bytes(_encode_spec(spec))
        return directory

    def _running(self, id: str) -> _Container:
        container = self._containers.get(id)
        if container is None or container.process.status is not None:
            raise NotRunning(f"container {id} is not running")
        return container

    def _exec(self, exec_id: str) -> Process:
        try:
            return self._execs[exec_id]
        except KeyError:
            raise NotRunning(f"exec {exec_id} is not running") from None

    def _lost(self, id: str, cgroup: Cgroup, process: Process) -> None:
        self._tasks.create_task(self._end_lost(id, cgroup, process), name=f"clean up after the shim of {id}")

    async def _end_lost(self, id: str, cgroup: Cgroup, process: Process) -> None:
        """The shim's connection has ended without a word. It has written the status, or was killed."""
        status = _written_status(self._root / id)
        if status is None:
            log.error("the shim of container %s was killed; the container is killed, too", id)
            status = lost_status()
        try:
            await self._call(self._end, id, cgroup)
        except (System, OSError) as error:
            log.error("container %s: %s", id, error)  # its removal tries again, and tells the user
        process.end(status)
        process.settle()

    def _clear(self, directory: Path, cgroup: Cgroup | None) -> None:
        if cgroup is None:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                spec = _decode_spec((directory / CONFIG).read_bytes())
                if spec.linux is not None:
                    cgroup = Cgroup(spec.linux.cgroups_path)
        if cgroup is not None:
            _end_cgroup(cgroup)
        command.discard(str(self._bundles / directory.name), directory.name)
        _remove(directory)

    def _end(self, id: str, cgroup: Cgroup) -> None:
        """See to it that nothing of a container runs or is left in the kernel. Blocks."""
        _end_cgroup(cgroup)
        command.discard(str(self._bundles / id), id)

    def _bundle(self, id: str, program: OciProgram, spec: Spec) -> command.Command:
        command.discard(str(self._bundles / id), id)
        return foreign.prepare(self._bundles / id, id, program, spec)

    async def _steer(self, id: str, word: str, ours: Callable[[], None]) -> None:
        container = self._running(id)
        if container.command is None:
            await self._call(ours)
        else:
            await self._call(foreign.steer, container.command, word, id)

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what may block: one container that does not freeze or die must not stop the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._calls, function, *arguments)


def _lost_exec(process: Process) -> None:
    with contextlib.suppress(NotRunning):
        process.signal(signals.SIGKILL)
    process.end(lost_status())
    process.settle()


def _own_pids(spec: Spec) -> bool:
    assert spec.linux is not None
    return any(namespace.type == "pid" and not namespace.path for namespace in spec.linux.namespaces)


def _connect(directory: Path) -> Fd | None:
    """A connection to the shim that listens in `directory`; None when there is none."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as opened:
            socket.connect(f"/proc/self/fd/{opened.fileno()}/{SOCKET}")
    except FileNotFoundError:
        socket.close()
        return None
    except ConnectionRefusedError:
        # A shim gives the name to a socket that listens already: this one's shim is dead.
        (directory / SOCKET).unlink()
        socket.close()
        return None
    except BaseException:
        socket.close()
        raise
    return Fd(socket.detach())


def _written_status(directory: Path) -> ExitStatus | None:
    try:
        written = jsontext.loads((directory / STATUS).read_bytes())
    except FileNotFoundError:
        return None
    return exit_status(written["code"], written["oom_killed"], written["finished_at_ns"])


def _end_cgroup(cgroup: Cgroup) -> None:
    """Kill what is in it, wait until it is gone, remove it. Blocks. One that is gone already is fine."""
    deadline = time.monotonic() + _EMPTY_WAIT_S
    while True:
        cgroup.kill()
        try:
            cgroup.delete()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise System(f"the processes of {cgroup.path} do not end: {error.strerror}") from error
        time.sleep(_EMPTY_STEP_S)


def _close_off(directory: Path) -> bool:
    """Remove the directory of a container that no shim listens for, so that none can begin to: an order may still be on
    its way. False when one did begin meanwhile."""
    for name in (CONFIG, f"{SOCKET}.new", f"{STATUS}.new"):
        (directory / name).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _undo(directory: Path, cgroup: Cgroup) -> None:
    """Back to before an order."""
    _end_cgroup(cgroup)
    for name in (SOCKET, f"{SOCKET}.new"):
        (directory / name).unlink(missing_ok=True)


def _remove(directory: Path) -> None:
    """Remove a container's directory, which holds files only."""
    try:
        for name in os.listdir(directory):
            os.unlink(directory / name)
        directory.rmdir()
    except FileNotFoundError:
        return
