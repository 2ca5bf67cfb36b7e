"""From created or exited to running. (The one path that must be fast: see docs/internals/one-run.md.)

engine.containers.start ─ start ─ _launch ─ networks.connect, volumes.mount
                                         ─ container_spec.compile_spec
                                         ─ runtime.start            the program runs
                                         ─ the row, the event, a task that waits for the end (exits.watch)
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onggi.engine import checks, container_store, device_requests, exits, links, runtimes
from onggi.engine.attach import still_there
from onggi.engine.container import Container
from onggi.engine.container_spec import Surroundings, compile_spec
from onggi.engine.endpoints import endpoint_request
from onggi.engine.lifecycle import State, Verb, is_running, require
from onggi.engine.log_drivers import drivers
from onggi.errors import Conflict, InvalidParameter, OnggiError, System
from onggi.network.endpoint import Sandbox
from onggi.network.joining import interface_sysctls
from onggi.runtime.runtime import Log, Start, Started
from onggi.volumes.mount_point import MountPoint

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

SETUP_FAILED = 128
"""Exit code of a container that could not be set up, as Docker notes it."""


Phases = Sequence[tuple[str, int]]
"""What the phases of a start took, in nanoseconds; nothing when nobody asked."""


async def start(engine: "Engine", container: Container, *, traced: bool = False) -> Phases:
    """Start a container for a user. Raises Docker's refusal, or why the program does not run.

    A `--rm` container whose first start fails is removed before the answer, as Docker does.
    """
    async with container.lock:
        require(container, Verb.START)
        container.stays_down = container.stopped_by_user = False
        container.restart_count = 0
        container.backoff_s = 0.0
        try:
            return await _launch(engine, container, traced=traced)
        except OnggiError:
            if container.host_config.auto_remove:
                await engine.containers.dispose(container, volumes=True)
                container.stopped.happened(container.result())
            raise


async def revive(engine: "Engine", container: Container) -> None:
    """Start a container again because its restart policy says so. Call it holding the lock."""
    require(container, Verb.REVIVE)
    await _launch(engine, container)


async def start_again(engine: "Engine", container: Container) -> None:
    """The second half of `restart`; call it holding the lock, the container not running."""
    container.stays_down = container.stopped_by_user = False
    container.restart_count = 0
    container.backoff_s = 0.0
    await _launch(engine, container)


async def _launch(engine: "Engine", container: Container, *, traced: bool = False) -> Phases:
    begun_ns = time.monotonic_ns()
    try:
        started = await _set_up(engine, container, traced=traced)
    except (OnggiError, OSError) as cause:
        error = cause if isinstance(cause, OnggiError) else System(f"the container can't be set up: {cause}")
        await exits.give_back(engine, container)
        container.exit_code = error.exit_status if error.exit_status > 1 else SETUP_FAILED
        container.error = str(error)
        _send_away(container)
        await _save(engine, container)
        if error is cause:
            raise
        raise error from cause
    running_ns = time.monotonic_ns()
    container.state = State.RUNNING
    container.pid, container.pid_start = started.pid, started.start_time
    container.started_at = datetime.now(UTC)
    container.exit_code, container.error, container.oom_killed = 0, "", False
    container.comes_back = False
    container.waiting.clear()
    engine.spawn(exits.watch(engine, container, started.pid), name=f"watch {container.id[:12]}")
    await _save(engine, container)
    engine.events.publish("container", "start", container.id, container.attributes())
    checks.begin(engine, container)
    await links.tell(engine, container)
    if not traced:
        return ()
    before_ns = running_ns - begun_ns - sum(nanoseconds for _, nanoseconds in started.trace)
    return (("set-up", before_ns), *started.trace, ("note", time.monotonic_ns() - running_ns))


async def _save(engine: "Engine", container: Container) -> None:
    row = container_store.state_row(container)
    await engine.database.write_short(lambda connection: container_store.update_state(connection, row))


def _send_away(container: Container) -> None:
    """Close the connections of those who attached before a start that failed."""
    for attachment in container.waiting:
        attachment.connection.close()
    container.waiting.clear()


async def _set_up(engine: "Engine", container: Container, *, traced: bool) -> Started:
    host, config = container.host_config, container.config
    request = endpoint_request(engine, container)
    try:
        points = await _mount(engine, container) if container.mounts else ()
        sandbox = await engine.networks.connect(container.id, request)
    finally:
        if request.namespace is not None:
            request.namespace.close()
    try:
        shared = _whose_network_is_shared(engine, container)
        program = runtimes.program(host.runtime, engine.settings)
        container.directory.mkdir(mode=0o710, exist_ok=True)
        if shared is None:
            _write_files(container, sandbox)
        around = Surroundings(
            mounts=points,
            hostname=sandbox.hostname if shared is None else shared.config.hostname,
            files=container.directory if shared is None else shared.directory,
            network_namespace=sandbox.namespace is not None,
            sysctls=interface_sysctls(sandbox.endpoints),
            linked=links.environment(engine, container, links.present(engine, container)) if host.links else (),
            init=runtimes.init(engine.settings) if host.init and program is not None else "",
            ipc_of=_joined(engine, host.ipc_mode, "IPC"),
            pid_of=_joined(engine, host.pid_mode, "PID"),
            capabilities_held=engine.capabilities_held,
            host=engine.host,
        )
        spec = compile_spec(container, around, engine.settings)
        if host.device_requests:
            spec = await asyncio.to_thread(
                device_requests.inject,
                spec,
                host.device_requests,
                engine.settings.cdi_spec_dirs,
                own=program is None,
            )
        container.waiting = still_there(container.waiting)
        return await engine.runtime.start(
            Start(
                id=container.id,
                spec=spec,
                root=engine.snapshots.root(container.id),
                terminal=config.tty,
                open_stdin=config.open_stdin,
                stdin_once=config.stdin_once,
                log=await _log(container),
                network=sandbox.namespace,
                attachments=container.waiting,
                program=program,
                console_size=host.console_size if host.console_size != (0, 0) else None,
                trace=traced,
            )
        )
    finally:
        if sandbox.namespace is not None:
            sandbox.namespace.close()


async def _mount(engine: "Engine", container: Container) -> Sequence[MountPoint]:
    images = {
        point.destination: engine.snapshots.view(container.id, point.destination)
        for point in container.mounts
        if point.type == "image"
    }
    return await engine.volumes.mount(container.id, container.mounts, images)


def _write_files(container: Container, sandbox: Sandbox) -> None:
    """/etc/hosts, resolv.conf and hostname: small, ours, and written anew at each start."""
    directory = container.directory
    for name, text in (
        ("hosts", sandbox.hosts), ("resolv.conf", sandbox.resolv_conf), ("hostname", sandbox.hostname + "\n"),
    ):  # fmt: skip
        try:
            with open(directory / name, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise System(f"can't write {directory / name}: {error.strerror}") from error


async def _log(container: Container) -> Log | None:
    if container.host_config.log_config.config:
        return await asyncio.to_thread(drivers.compile, container)  # templates and patterns may take a moment
    return drivers.compile(container)


def _whose_network_is_shared(engine: "Engine", container: Container) -> Container | None:
    mode = container.host_config.network_mode
    return engine.containers.get(mode.removeprefix("container:")) if mode.startswith("container:") else None


def _joined(engine: "Engine", mode: str, what: str) -> int:
    """The pid whose namespace a mode `container:NAME` means; 0 for other modes."""
    if not mode.startswith("container:"):
        return 0
    other = engine.containers.get(mode.removeprefix("container:"))
    if not is_running(other.state) or not other.pid:
        raise Conflict(f"failed to join {what} namespace: container {other.id} is not running")
    if what == "IPC" and other.host_config.ipc_mode != "shareable":
        raise InvalidParameter(
            f"cannot join IPC namespace of container {other.name}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )
    return other.pid
