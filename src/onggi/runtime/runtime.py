"""Start, watch and steer containers. What the engine knows of processes, it knows from here.

    Runtime ── SEQPACKET ── launcher (one; forks shims)
       └────── SEQPACKET ── shim (one for each container and exec: stdio, log, attached clients, exit status)

A shim outlives the daemon. What it needs to be found again lies beneath the engine's exec root: see `exec_root`.
"""

import asyncio
import contextlib
import logging
import signal as signals
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from onggi.errors import System
from onggi.linux import message
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.oci.spec import LinuxResources, Spec
from onggi.oci.spec import Process as ProcessSpec
from onggi.runtime import command, exec_root, foreign, host
from onggi.runtime.failure import CannotRun, CommandNotFound, InvalidStart, StartFailed
from onggi.runtime.launch import Launcher
from onggi.runtime.plan import plan, plan_exec
from onggi.runtime.process import NotRunning, Process, ShimVanished, flags, lost_status
from onggi.runtime.request import Attachment, ExitStatus, Log, LogFile, OciProgram, Start, Started

__all__ = [
    "Attachment",
    "CannotRun",
    "CommandNotFound",
    "ExitStatus",
    "InvalidStart",
    "Log",
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

    `root`: the engine's exec root.

    `detached(id, exec_id)` is called when a client used its detach keys; exec_id is "" for the container itself.
    `spool_root`: where the shims keep what slow clients have not read yet; a directory on a disk, not a tmpfs.
    """

    def __init__(
        self, root: Path, *, spool_root: Path | None = None, detached: Callable[[str, str], None] | None = None
    ) -> None:
        self._root = root / "containers"
        self._exec_directories = root / "execs"
        self._bundles = root / foreign.BUNDLES
        self._spool = spool_root or root
        self._detached = detached or (lambda id, exec_id: None)
        self._containers: dict[str, _Container] = {}
        self._execs: dict[str, Process] = {}
        self._launcher = Launcher(root)
        self._host = host.probe()
        self._tasks = asyncio.TaskGroup()
        self._calls = ThreadPoolExecutor(_BLOCKING_CALLS, thread_name_prefix="runtime")

    async def __aenter__(self) -> Self:
        for directory in (self._root, self._exec_directories):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
            "ends_with_client": False,
            "files": ["network"] if start.network is not None else [],
            "log": start.log.order() if start.log is not None else None,
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
                exec=False,
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
        """After a restart of the daemon: find the container again. None: nothing is known of it (never started, or before
        this boot); what was begun of it is removed. A container whose shim is gone is killed and cleaned up:
        ExitStatus(137, lost=True)."""
        directory = self._root / id
        try:
            spec = _decode_spec((directory / exec_root.CONFIG).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            # The daemon was killed before it had written the file, so nothing was started.
            await self._call(exec_root.close_off, directory)
            return None
        assert spec.linux is not None
        cgroup = Cgroup(spec.linux.cgroups_path)

        def hear(process: Process) -> None:
            self._containers[id] = _Container(process, spec, cgroup, command.of_bundle(str(self._bundles / id), id))

        found = await self._find(
            directory,
            describe=f"container {id}",
            exec=False,
            detached=partial(self._detached, id, ""),
            lost=partial(self._lost, id, cgroup),
            hear=hear,
        )
        if isinstance(found, Started):
            return found
        await self._call(self._end, id, cgroup)
        if (known := self._containers.get(id)) is not None:
            known.process.end(found)
            known.process.settle()
        return found

    async def _find(
        self,
        directory: Path,
        *,
        describe: str,
        exec: bool,
        detached: Callable[[], None],
        lost: Callable[[Process], None],
        hear: Callable[[Process], None],
    ) -> Started | ExitStatus:
        """The shim that listens in `directory`, `hear` is given its connection; or how what it watched over ended.

        Waits for the shim's answer as long as it takes: one that somebody has stopped may be let go on.
        """
        while True:
            socket = exec_root.connect(directory)
            if socket is not None:
                process = Process(socket, describe=describe, exec=exec, detached=detached, lost=lost)
                hear(process)
                try:
                    return await process.answer()
                except ShimVanished:
                    pass  # it was about to end when we connected, or its start has failed
            status = exec_root.written_status(directory)
            if status is not None:
                return status
            if exec_root.close_off(directory):
                return lost_status()

    def known(self) -> list[str]:
        """The IDs beneath the exec root, for reconciling with the engine's own list."""
        return sorted(entry.name for entry in self._root.iterdir())

    async def wait(self, id: str) -> ExitStatus:
        """Wait until the container has ended; at once when it has. Its log is complete then. May be cancelled."""
        container = self._containers.get(id)
        if container is not None:
            return await container.process.ended()
        status = exec_root.written_status(self._root / id)
        if status is None:
            raise NotRunning(f"container {id} is not running")
        return status

    async def attach(self, id: str, attachment: Attachment) -> None:
        """Hand a client to the container. Raises NotRunning."""
        await self._running(id).process.attach(attachment)

    async def resize(self, id: str, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters; without one nothing happens. Raises NotRunning."""
        await self._running(id).process.resize(rows, columns)

    async def clear_log(self, id: str) -> None:
        """Delete what its log in files holds. Raises NotRunning: then nobody writes to them; OSError."""
        await self._running(id).process.clear_log()

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
        try:
            await self._call(container.cgroup.apply, resources.writes(new, self._host))
        except OSError as error:
            if container.cgroup.is_whole():
                raise
            raise NotRunning(f"container {id} is not running") from error  # it has just ended

    async def observe(self, id: str, look: Callable[[Cgroup, int], T]) -> T:
        """`look(cgroup, pid of its first process)`, in a thread: for `stats`. Raises NotRunning, and what `look` does."""
        container = self._running(id)
        started = container.process.started
        if started is None:
            raise NotRunning(f"container {id} is not running")
        return await self._call(look, container.cgroup, started.pid)

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
                # Where the exec root lies on a disk, removing a directory may wait for its journal.
                await self._call(exec_root.remove, self._root / id)
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
        ends_with_client: bool = False,
        note: bytes,
    ) -> Started:
        """Run one more process in a running container, under a shim of its own. Raises as `start` does, NotRunning.

        `note` is given back by `noted_execs`. `ends_with_client`: it is ended when its last client has left.
        """
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
        directory = self._exec_directories / exec_id
        exec_root.make_directory(directory)
        (directory / exec_root.EXEC).write_bytes(note)
        order = {
            "cgroup": "",
            "clients": [flags(attachment) for attachment in attachments],
            "directory": str(directory),
            "ends_with_client": ends_with_client,
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
        try:
            started = await self._order(
                order,
                steps,
                [*files.values(), *(attachment.connection for attachment in attachments)],
                describe=f"exec {exec_id}",
                exec=True,
                detached=partial(self._detached, id, exec_id),
                lost=partial(self._lost_exec, exec_id),
            )
        except Exception:
            # Not when cancelled: the program may run by now, so it is left for the next daemon to adopt.
            exec_root.remove(directory)
            raise
        self._execs[exec_id] = started
        for attachment in attachments:
            attachment.connection.close()
        assert started.started is not None
        return started.started

    def noted_execs(self) -> dict[str, bytes]:
        """By the IDs of all execs that were started here and not forgotten: their notes."""
        found = {}
        for directory in sorted(self._exec_directories.iterdir()):
            try:
                found[directory.name] = (directory / exec_root.EXEC).read_bytes()
            except FileNotFoundError:
                exec_root.remove(directory)  # the daemon was killed while it made or removed it
        return found

    async def adopt_exec(self, id: str, exec_id: str) -> Started | ExitStatus:
        """After a restart of the daemon: find an exec of container `id` again, or how it ended."""

        def hear(process: Process) -> None:
            self._execs[exec_id] = process

        return await self._find(
            self._exec_directories / exec_id,
            describe=f"exec {exec_id}",
            exec=True,
            detached=partial(self._detached, id, exec_id),
            lost=partial(self._lost_exec, exec_id),
            hear=hear,
        )

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
        """Drop what is left of an exec that has ended. Twice is fine."""
        process = self._execs.pop(exec_id, None)
        if process is not None:
            process.close()
        exec_root.remove(self._exec_directories / exec_id)

    # Beneath both

    async def _order(
        self,
        order: dict[str, Any],
        steps: list[Any] | dict[str, Any],
        descriptors: Sequence[Fd],
        *,
        describe: str,
        exec: bool,
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
                exec=exec,
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
                    cgroup = None if exec else Cgroup(order["cgroup"])
                    await self._call(exec_root.undo, Path(order["directory"]), cgroup)
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
        exec_root.make_directory(directory)
        (directory / exec_root.CONFIG).write_bytes(_encode_spec(spec))
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
        status = exec_root.written_status(self._root / id)
        if status is None:
            log.error("the shim of container %s was killed; the container is killed, too", id)
            status = lost_status()
        try:
            await self._call(self._end, id, cgroup)
        except (System, OSError) as error:
            log.error("container %s: %s", id, error)  # its removal tries again, and tells the user
        process.end(status)
        process.settle()

    def _lost_exec(self, exec_id: str, process: Process) -> None:
        """As `_end_lost`; what an exec has started goes on, as it does when an exec's program ends."""
        status = exec_root.written_status(self._exec_directories / exec_id)
        if status is None:
            with contextlib.suppress(NotRunning):
                process.signal(signals.SIGKILL)
            status = lost_status()
        process.end(status)
        process.settle()

    def _clear(self, directory: Path, cgroup: Cgroup | None) -> None:
        if cgroup is None:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                spec = _decode_spec((directory / exec_root.CONFIG).read_bytes())
                if spec.linux is not None:
                    cgroup = Cgroup(spec.linux.cgroups_path)
        if cgroup is not None:
            exec_root.end_cgroup(cgroup)
        command.discard(str(self._bundles / directory.name), directory.name)
        exec_root.remove(directory)

    def _end(self, id: str, cgroup: Cgroup) -> None:
        """See to it that nothing of a container runs or is left in the kernel. Blocks."""
        exec_root.end_cgroup(cgroup)
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


def _own_pids(spec: Spec) -> bool:
    assert spec.linux is not None
    return any(namespace.type == "pid" and not namespace.path for namespace in spec.linux.namespaces)
