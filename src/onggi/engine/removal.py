"""The end of a container's life: nothing of it stays but its events."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.engine import container_store, exits, restart
from onggi.engine.container import Container, WaitResult
from onggi.engine.lifecycle import State, Verb, called, require
from onggi.errors import Conflict, OnggiError, System

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.removal")


async def remove(engine: "Engine", container: Container, word: str, *, force: bool, volumes: bool) -> None:
    """Remove the container called `word`; `force` ends it first, `volumes` takes its anonymous volumes along."""
    # Before the lock: whoever removes it holds the lock for long, and a second request need not wait to be refused.
    verb = Verb.FORCE_REMOVE if force else Verb.REMOVE
    require(called(container, word), verb)
    async with container.lock:
        require(called(container, word), verb)
        container.stays_down = True
        restart.cancel(container)
        if container.state in (State.RUNNING, State.PAUSED):
            await _end(engine, container)
        await dispose(engine, container, volumes=volumes)
        container.stopped.happened(container.result())


async def _end(engine: "Engine", container: Container) -> None:
    engine.events.publish("container", "kill", container.id, container.attributes(signal="9"))
    try:
        await engine.runtime.kill_all(container.id)
    except Conflict:
        pass  # it has just ended by itself
    try:
        async with asyncio.timeout(30):
            status = await engine.runtime.wait(container.id)
    except TimeoutError:
        raise Conflict(
            f'cannot remove container "{container.name}": could not kill container: '
            "a process of it waits in the kernel; try again later"
        ) from None
    await exits.record(engine, container, status, State.EXITED)


async def dispose(engine: "Engine", container: Container, *, volumes: bool) -> None:
    """Take a container that does not run out of the world. Call it holding the lock.

    The row says `removing` before anything is deleted, or still `running` for one that leaves by `--rm`: after a crash
    either leads here again. Raises System when something can't be deleted; the container is DEAD then.
    """
    ran = container.started_at is not None
    leaves = container.host_config.auto_remove and container.state is State.EXITED
    container.state = State.REMOVING
    for attachment in container.waiting:
        attachment.connection.close()
    container.waiting.clear()
    try:
        if not leaves:
            await _save(engine, container, volumes=volumes)
        await _delete(engine, container, leaves=leaves, ran=ran, volumes=volumes)
    except (OnggiError, OSError) as error:
        container.state = State.DEAD
        container.error = str(error)
        await _save(engine, container)
        container.removed.happened(WaitResult(container.exit_code, container.error))
        raise System(f'cannot remove container "{container.name}": {error}') from error
    engine.containers.drop(container)
    engine.execs.forget_container(container)
    engine.events.publish("container", "destroy", container.id, container.attributes())
    container.removed.happened(container.result())


async def _save(engine: "Engine", container: Container, *, volumes: bool = False) -> None:
    row = container_store.state_row(container)

    def save(connection: sqlite3.Connection) -> None:
        container_store.update_state(connection, row)
        if volumes:
            engine.volumes.doom(connection, container.id)

    await engine.database.write_short(save)


async def _delete(engine: "Engine", container: Container, *, leaves: bool, ran: bool, volumes: bool) -> None:
    """One transaction takes row, snapshot and directory out of use; what lies on the disk is deleted later.

    For one that leaves by itself so is what the runtime keeps: nothing of it runs, and nobody can name it any more.
    """
    directory = container.directory.relative_to(engine.settings.data_root)

    def delete(connection: sqlite3.Connection) -> list[str]:
        container_store.delete(connection, container.id)
        return engine.snapshots.forget(connection, container.id, [str(directory)])

    if container.mounts:
        await engine.volumes.forget(container.id, remove_anonymous=volumes)
    if ran and not leaves:
        await engine.runtime.forget(container.id)
    rubbish = await engine.database.write_short(delete)
    if ran and leaves:
        engine.run_behind(_forget(engine, container, rubbish), name=f"forget {container.id[:12]}")
    else:
        engine.snapshots.collect(rubbish)


async def _forget(engine: "Engine", container: Container, rubbish: Sequence[str]) -> None:
    try:
        await engine.runtime.forget(container.id)
    except (OnggiError, OSError) as error:
        # Its directory below the exec root stays, so that the engine's next start finds it and tries again.
        log.error("container %s has ended, but something of it is left: %s", container.id[:12], error)
    engine.snapshots.collect(rubbish)
