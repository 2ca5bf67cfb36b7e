"""From running to exited: the kernel's verb. One task for each running container waits for it.

runtime.wait ─ watch ─ settle ┬─ record              the row, addresses and mounts given back, the event `die`
                              └─ restart, or remove (--rm), or rest
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from onggi.engine import checks, container_store, restart
from onggi.engine.container import Container
from onggi.engine.lifecycle import State
from onggi.errors import OnggiError
from onggi.runtime.runtime import ExitStatus

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.exits")


async def watch(engine: "Engine", container: Container, pid: int) -> None:
    """Wait until the run that began with `pid` has ended, and do what follows."""
    status = await engine.runtime.wait(container.id)
    # Waiting may be cut short, by the engine's stop; what follows is carried to its end.
    await engine.run(_ended(engine, container, pid, status), name=f"end of {container.id[:12]}")


async def _ended(engine: "Engine", container: Container, pid: int, status: ExitStatus) -> None:
    async with container.lock:
        if container.pid == pid and container.state in (State.RUNNING, State.PAUSED):
            await settle(engine, container, status)


async def settle(engine: "Engine", container: Container, status: ExitStatus) -> None:
    """What follows an end that nobody else takes care of. Call it holding the lock."""
    if restart.wanted(container, status):
        container.restart_count += 1  # here, as in Docker: the pause before it comes back counts already
        try:
            await record(engine, container, status, State.RESTARTING)
            await engine.runtime.forget(container.id)
        finally:
            restart.plan(engine, container)  # whatever could not be noted or cleaned away: the next start meets it
    elif container.host_config.auto_remove and not container.kept:
        await _leave(engine, container, status)
    else:
        try:
            await record(engine, container, status, State.EXITED)
        finally:
            container.stopped.happened(container.result())  # it has ended, noted or not
        await engine.runtime.forget(container.id)


async def _leave(engine: "Engine", container: Container, status: ExitStatus) -> None:
    """The end of a `--rm` container. Its row says running until it is deleted: after a crash in between the end is
    simply found again."""
    _note(engine, container, status, State.EXITED)
    try:
        await asyncio.gather(give_back(engine, container), engine.containers.dispose(container, volumes=True))
    except OnggiError as error:
        log.error("container %s was not removed: %s", container.id[:12], error)
    container.stopped.happened(container.result())


async def record(engine: "Engine", container: Container, status: ExitStatus, state: State) -> None:
    """Note how a run ended and give back what it held. Call it holding the lock."""
    _note(engine, container, status, state)
    row = container_store.state_row(container)
    await asyncio.gather(
        give_back(engine, container),
        engine.database.write_short(lambda connection: container_store.update_state(connection, row)),
    )


def _note(engine: "Engine", container: Container, status: ExitStatus, state: State) -> None:
    checks.end(container)
    container.state = state
    container.pid = container.pid_start = 0
    container.exit_code, container.oom_killed = status.code, status.oom_killed
    # The start is noted when we hear of it: a program may have ended by then.
    container.finished_at = max(status.finished_at, container.started_at or status.finished_at)
    if status.lost:
        container.error = "the process that watched over the container was killed; the container was ended with it"
    if status.oom_killed:
        engine.events.publish("container", "oom", container.id, container.attributes())
    engine.events.publish(
        "container", "die", container.id,
        container.attributes(exitCode=str(status.code), execDuration=str(_seconds(container))),
    )  # fmt: skip


async def give_back(engine: "Engine", container: Container) -> None:
    """Its addresses, ports and mounts. What can't be given back is told to the log."""
    work = [engine.networks.release(container.id)]
    if container.mounts:
        work.append(engine.volumes.unmount(container.id))
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, Exception):
            # The end of the container stands in any case; the next start of the engine gives back what is left.
            foreseen = isinstance(outcome, OnggiError | OSError)
            log.error(
                "container %s: after its end: %s", container.id[:12], outcome, exc_info=None if foreseen else outcome
            )
        elif outcome is not None:
            raise outcome


def _seconds(container: Container) -> int:
    if container.started_at is None or container.finished_at is None:
        return 0
    return max(0, int((container.finished_at - container.started_at).total_seconds()))
