"""Health checks at work: one task for each running container that has a check. The rules are in `health`."""

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.engine import health
from onggi.engine.container import Container
from onggi.engine.container_spec import process
from onggi.engine.execs import Note
from onggi.engine.ids import new_id
from onggi.engine.own_labels import RESTART_UNHEALTHY, asks
from onggi.linux.fd import Fd
from onggi.runtime.runtime import Attachment

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def begin(engine: "Engine", container: Container) -> None:
    """Check a container that has just started (or was found running), if it has a check."""
    config = container.config.healthcheck
    command = health.command_of(config.test or (), container.config.shell) if config else None
    if config is None or command is None or container.started_at is None:
        return
    state = container.health = health.Health()

    def changed(status: health.HealthStatus) -> None:
        action = f"health_status: {status}"
        engine.events.publish("container", action, container.id, container.attributes())
        if status is health.HealthStatus.UNHEALTHY and asks(container, RESTART_UNHEALTHY):
            engine.spawn(engine.containers.end_unhealthy(container, container.pid), name="unhealthy")

    async def probe(command: Sequence[str], timeout_s: float, limit_bytes: int) -> tuple[int, bytes]:
        return await run(engine, container, command, timeout_s, limit_bytes)

    work = health.monitor(state, config, container.started_at, command, probe, changed)
    container.monitor = engine.spawn(work, name=f"health {container.id[:12]}")


def end(container: Container) -> None:
    """The container has ended: check it no more."""
    monitor, container.monitor = container.monitor, None
    if monitor is not None:
        monitor.cancel()
    if container.health is not None:
        container.health.status = health.HealthStatus.UNHEALTHY


async def run(
    engine: "Engine", container: Container, command: Sequence[str], timeout_s: float, limit_bytes: int
) -> tuple[int, bytes]:
    """Run a command in a container. Exit status, and the first bytes of what it says on stdout and stderr."""
    exec_id = new_id()
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        attachment = Attachment(Fd(theirs.detach()), stdin=False, stdout=True, stderr=True, framed=False)
        try:
            await engine.runtime.exec(
                container.id,
                exec_id,
                process(container, command, held=engine.capabilities_held, terminal=False),
                terminal=False,
                open_stdin=False,
                attachments=[attachment],
                note=Note(container.id, (container.pid, container.pid_start)).data(),
            )
        except BaseException:
            attachment.connection.close()
            raise
        try:
            async with asyncio.timeout(timeout_s):
                output = await _read(ours, limit_bytes)
                status = await engine.runtime.wait_exec(exec_id)
        except TimeoutError:
            await engine.runtime.signal_exec(exec_id, 9)
            await engine.runtime.wait_exec(exec_id)
            raise
        finally:
            engine.runtime.forget_exec(exec_id)
    return status.code, output


async def _read(connection: socket.socket, limit_bytes: int) -> bytes:
    loop, kept = asyncio.get_running_loop(), bytearray()
    while piece := await loop.sock_recv(connection, 65536):
        kept += piece[: limit_bytes - len(kept)]
    return bytes(kept)
