"""Exec: one more process in a running container.

Instances live in memory, until some time after their end. Those that run are noted beneath the exec root as well: the
engine may be killed, they go on, and the next engine takes them up again.
"""

import signal
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine import links, signals
from onggi.engine.attach import detach_keys
from onggi.engine.container_config import DockerObject
from onggi.engine.container_spec import environment, process
from onggi.engine.ids import new_id
from onggi.engine.lifecycle import Verb, called, require
from onggi.engine.own_labels import EXEC_ENDS_WITH_CLIENT, asks
from onggi.errors import Conflict, InvalidParameter, NotFound, OnggiError
from onggi.oci.spec import Process
from onggi.runtime.runtime import ExitStatus, Started

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine
    from onggi.runtime.runtime import Attachment

KEPT_S = 300.0
"""How long the exit code of an instance that has ended can be asked for; dockerd collects after as long."""
MOST_ENDED = 10_000


class ExecConfig(DockerObject, frozen=True):
    """What POST /containers/{name}/exec asks for."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: tuple[int, int] | None = None
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    ends_with_client: bool = False
    """Ours: the process is ended when the last client has left it, unless that one detached."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of an exec that runs, for the next engine."""

    container: str
    run: tuple[int, int]
    config: ExecConfig | None = None
    """None: a health check's probe."""

    def data(self) -> bytes:
        return msgspec.json.encode(self)


class NoSuchExec(NotFound):
    def __init__(self, id: str) -> None:
        super().__init__(f"No such exec instance: {id}")


class Phase(Enum):
    CREATED = auto()
    STARTING = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False, kw_only=True)
class Exec:
    """One instance."""

    id: str
    container: "Container"
    config: ExecConfig
    detach_keys: bytes
    run: tuple[int, int]
    """Pid and start time of the container's first process when this was made: it belongs to that run alone."""
    phase: Phase = Phase.CREATED
    pid: int = 0
    exit_code: int | None = None
    ended_at: float = 0.0
    """On the monotonic clock."""


class Execs:
    """The exec instances of an engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._execs: dict[str, Exec] = {}

    def create(self, container_name: str, config: ExecConfig) -> Exec:
        """Note what is to be run. Nothing runs yet. Raises Docker's refusals for a container that does not run."""
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        container = self._engine.containers.get(container_name)
        require(called(container, container_name), Verb.EXEC)
        self._collect()
        exec = Exec(
            id=new_id(),
            container=container,
            config=config,
            detach_keys=detach_keys(config.detach_keys, "escape"),
            run=(container.pid, container.pid_start),
        )
        self._execs[exec.id] = exec
        container.exec_ids.append(exec.id)
        self._publish(exec, f"exec_create: {_command_line(config)}")
        return exec

    def _known(self, id: str) -> Exec:
        exec = self._execs.get(id)
        if exec is None:
            raise NoSuchExec(id)
        return exec

    def startable(self, id: str) -> Exec:
        """The instance, if it can be started now. Raises NotFound or Conflict in Docker's words."""
        exec = self._known(id)
        if exec.phase in (Phase.STARTING, Phase.RUNNING):
            raise Conflict(f"exec command {id} is already running")
        if exec.phase is Phase.ENDED:
            raise Conflict(f"exec command {id} has already run")
        require(exec.container, Verb.EXEC)
        if exec.run != (exec.container.pid, exec.container.pid_start):
            self._forget(exec)
            raise NoSuchExec(id)
        return exec

    async def start(
        self, id: str, attachments: "Sequence[Attachment]", console_size: tuple[int, int] | None = None
    ) -> None:
        """Run it. The clients' connections are handed on. Raises as `Runtime.start` does."""
        exec = self.startable(id)
        exec.phase = Phase.STARTING
        await self._engine.run(self._start(exec, attachments, console_size), name=f"exec {id[:12]}: start")

    async def _start(
        self, exec: Exec, attachments: "Sequence[Attachment]", console_size: tuple[int, int] | None
    ) -> None:
        config = exec.config
        size = console_size or config.console_size
        self._publish(exec, f"exec_start: {_command_line(config)}")
        try:
            started = await self._engine.runtime.exec(
                exec.container.id,
                exec.id,
                self._process(exec),
                terminal=config.tty,
                open_stdin=config.attach_stdin,
                attachments=attachments,
                console_size=size if config.tty else None,
                ends_with_client=bool(attachments)
                and (config.ends_with_client or asks(exec.container, EXEC_ENDS_WITH_CLIENT)),
                note=Note(exec.container.id, exec.run, config).data(),
            )
        except OnggiError as error:
            self._end(exec, error.exit_status)
            raise
        except BaseException:
            self._end(exec, 126)
            raise
        self._runs(exec, started.pid)

    def _runs(self, exec: Exec, pid: int) -> None:
        exec.phase, exec.pid = Phase.RUNNING, pid
        self._engine.spawn(self._watch(exec), name=f"exec {exec.id[:12]}: wait")

    async def _watch(self, exec: Exec) -> None:
        self._has_ended(exec, (await self._engine.runtime.wait_exec(exec.id)).code)

    def _has_ended(self, exec: Exec, exit_code: int) -> None:
        self._end(exec, exit_code)
        self._publish(exec, "exec_die", exitCode=str(exit_code))
        self._engine.runtime.forget_exec(exec.id)

    def _end(self, exec: Exec, exit_code: int) -> None:
        exec.phase, exec.exit_code, exec.ended_at = Phase.ENDED, exit_code, time.monotonic()
        if exec.id in exec.container.exec_ids:
            exec.container.exec_ids.remove(exec.id)

    async def adopt(self, id: str, data: bytes) -> None:
        """Take up again what an engine before us has started, or note its end. Its container has been taken up."""
        try:
            note = msgspec.json.decode(data, type=Note)
        except msgspec.DecodeError:
            self._engine.runtime.forget_exec(id)  # the engine was killed while it wrote: nothing was started
            return
        try:
            container = self._engine.containers.get(note.container)
        except NotFound:
            container = None
        if container is None or note.run != (container.pid, container.pid_start):
            self._engine.runtime.forget_exec(id)  # it has ended with that run of its container
            return
        found = await self._engine.runtime.adopt_exec(container.id, id)
        config = note.config
        if config is None:
            await self._end_probe(id, found)
            return
        exec = Exec(
            id=id,
            container=container,
            config=config,
            detach_keys=detach_keys(config.detach_keys, "escape"),
            run=note.run,
        )
        self._execs[id] = exec
        container.exec_ids.append(id)
        if isinstance(found, Started):
            self._runs(exec, found.pid)
        else:
            self._has_ended(exec, found.code)

    async def _end_probe(self, id: str, found: Started | ExitStatus) -> None:
        """Nobody waits for its result any more."""
        runtime = self._engine.runtime
        if isinstance(found, Started):
            await runtime.signal_exec(id, signal.SIGKILL)
            await runtime.wait_exec(id)
        runtime.forget_exec(id)

    async def kill(self, id: str, text: str) -> None:
        """Send a signal to its process. Raises NoSuchExec, InvalidParameter, and Conflict when it does not run."""
        number = signals.number(text or "KILL")
        exec = self._known(id)
        if exec.phase is not Phase.RUNNING:
            raise Conflict(f"exec {id} is not running")
        await self._engine.runtime.signal_exec(id, number)
        self._publish(exec, "exec_kill", signal=str(number))

    def _process(self, exec: Exec) -> Process:
        config, container = exec.config, exec.container
        linked = links.present(self._engine, container) if container.host_config.links else []
        env = dict.fromkeys(environment(container, links.environment(self._engine, container, linked)))
        if config.env:
            chosen = {entry.partition("=")[0]: entry for entry in [*env, *config.env]}
            env = dict.fromkeys(entry for entry in chosen.values() if "=" in entry)
        if config.tty and not any(entry.startswith("TERM=") for entry in env):
            env["TERM=xterm"] = None
        return process(
            container,
            config.cmd or (),
            held=self._engine.capabilities_held,
            env=tuple(env),
            user=config.user or None,
            working_dir=config.working_dir or None,
            terminal=config.tty,
            privileged=config.privileged,
        )

    def _publish(self, exec: Exec, action: str, **more: str) -> None:
        container = exec.container
        self._engine.events.publish("container", action, container.id, container.attributes(execID=exec.id, **more))

    def _collect(self) -> None:
        """Forget what ended long ago, and what was never started in a run of its container that is over."""
        now = time.monotonic()
        ended = [exec for exec in self._execs.values() if exec.phase is Phase.ENDED]
        for index, exec in enumerate(ended):
            if now - exec.ended_at > KEPT_S or index < len(ended) - MOST_ENDED:
                self._forget(exec)
        for exec in [exec for exec in self._execs.values() if exec.phase is Phase.CREATED]:
            if exec.run != (exec.container.pid, exec.container.pid_start):
                self._forget(exec)

    def forget_container(self, container: "Container") -> None:
        """The container has been removed: so are its instances."""
        for exec in [exec for exec in self._execs.values() if exec.container is container]:
            self._forget(exec)

    def _forget(self, exec: Exec) -> None:
        del self._execs[exec.id]
        if exec.id in exec.container.exec_ids:
            exec.container.exec_ids.remove(exec.id)

    async def resize(self, id: str, rows: int, columns: int) -> None:
        exec = self._known(id)
        if exec.phase is not Phase.RUNNING:
            raise Conflict(f"exec {id} is not running")
        await self._engine.runtime.resize_exec(id, rows, columns)

    def inspect(self, id: str) -> dict[str, Any]:
        """As GET /exec/{id}/json answers it."""
        exec = self._known(id)
        if exec.phase is Phase.RUNNING:
            # The shim has told the runtime before the client saw its stream end; our watcher may run a moment later.
            status = self._engine.runtime.exec_status(id)
            running, exit_code = status is None, status.code if status is not None else None
        else:
            running, exit_code = False, exec.exit_code
        config = exec.config
        command = config.cmd or [""]
        process: dict[str, Any] = {
            "tty": config.tty,
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": config.privileged,
        }
        if config.user:
            process["user"] = config.user
        return {
            "ID": exec.id,
            "Running": running,
            "ExitCode": exit_code,
            "ProcessConfig": process,
            "OpenStdin": config.attach_stdin,
            "OpenStderr": config.attach_stderr,
            "OpenStdout": config.attach_stdout,
            "CanRemove": False,
            "ContainerID": exec.container.id,
            # Bytes, which Go writes in base64.
            "DetachKeys": b64encode(exec.detach_keys).decode("ascii") if config.detach_keys else "",
            "Pid": exec.pid,
        }


def _command_line(config: ExecConfig) -> str:
    command = config.cmd or [""]
    return f"{command[0]} {' '.join(command[1:])}"
