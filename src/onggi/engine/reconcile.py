"""At the engine's start: what the database says against what the kernel shows.

For each container that was running, its shim is asked: it runs still, or it has ended meanwhile, or nothing is left of
it. Intents that were open are settled: a creation cut short is undone, a removal cut short is completed.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onggi.engine import boot, checks, container_store, creation, exits, restart, stopping
from onggi.engine.auto_update import replacing
from onggi.engine.container import Container
from onggi.engine.endpoints import network_namespace
from onggi.engine.lifecycle import State, is_running
from onggi.errors import Conflict, OnggiError
from onggi.runtime.runtime import ExitStatus, Started
from onggi.state.journal import Intent, settle

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

log = logging.getLogger("onggi.reconcile")
PATIENCE_S = 3.0
"""How long the API waits for those that do not answer."""


async def reconcile(engine: "Engine") -> None:
    """Bring database and kernel together, and start what its policy wants. Call it once, before the API answers."""
    directory = engine.settings.data_root / "containers"
    for container in engine.database.read(lambda connection: container_store.load(connection, directory)):
        engine.containers.add(container)
    intents = engine.journal.open()
    for intent in intents:
        if intent.kind == creation.CREATE:
            await creation.clear_away(engine, intent.subject)
            await engine.database.write(lambda connection, intent=intent: settle(connection, intent))  # type: ignore[misc]
    containers = list(engine.containers.all())
    known = set(engine.runtime.known())
    running = {container.id: container.mounts for container in containers if container.id in known}
    await engine.networks.reconcile(running)
    await engine.volumes.reconcile({id: mounts for id, mounts in running.items() if mounts})
    await engine.snapshots.reconcile({container.id for container in containers})
    strays = known - {container.id for container in containers}
    await _patiently(
        engine,
        {f"container {container.id[:12]}": _take_up(engine, container, known) for container in containers}
        | {f"container {stray[:12]}, which is in no row": _end_stray(engine, stray) for stray in strays},
    )
    notes = engine.runtime.noted_execs()
    await _patiently(engine, {f"exec {id[:12]}": engine.execs.adopt(id, note) for id, note in notes.items()})
    await _patiently(engine, {"a replacement that was cut short": _settle_replacements(engine, intents)})
    boot.start_all(
        engine,
        [
            container
            for container in reversed(engine.containers.all())  # the oldest first
            if not container.lock.locked() and container.comeback is None and restart.wanted_at_engine_start(container)
        ],
    )


async def _settle_replacements(engine: "Engine", intents: Sequence[Intent]) -> None:
    """Auto-updates that a crash cut short: forward, where the new container counted already, else back."""
    for intent in intents:
        if intent.kind == replacing.REPLACED:
            await replacing.finish(engine, intent)
    done = {intent.subject for intent in intents if intent.kind == replacing.REPLACED}
    for intent in intents:
        if intent.kind == replacing.REPLACING:
            if intent.subject in done:
                await engine.database.write(lambda connection, intent=intent: settle(connection, intent))  # type: ignore[misc]
            else:
                await replacing.go_back(engine, intent)


async def _patiently(engine: "Engine", work: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Carry all of it, side by side. One that hangs (its shim has been stopped, say) goes on by itself: it must not
    keep the engine from all others."""

    async def one(what: str, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except (OnggiError, OSError) as error:
            log.error("%s can't be taken up again: %s", what, error)

    tasks = {engine.spawn(one(what, coroutine), name=what): what for what, coroutine in work.items()}
    if tasks:
        for late in (await asyncio.wait(tasks, timeout=PATIENCE_S))[1]:
            log.warning("%s does not answer yet: is its shim stopped?", tasks[late])


async def _take_up(engine: "Engine", container: Container, known: set[str]) -> None:
    try:
        await _look_at(engine, container, known)
    except (OnggiError, OSError) as error:  # one of them must not keep the engine from all others
        log.error("container %s can't be taken up again yet: %s", container.id[:12], error)
        engine.spawn(_look_again(engine, container), name=f"take up {container.id[:12]}")


async def _look_at(engine: "Engine", container: Container, known: set[str]) -> None:
    async with container.lock:
        if container.state in (State.REMOVING, State.DEAD):
            try:
                await engine.containers.dispose(container, volumes=container.host_config.auto_remove)
            except (OnggiError, OSError) as error:
                log.error("container %s can't be removed: %s", container.id[:12], error)
            return
        found = await engine.runtime.adopt(container.id) if container.id in known else None
        if isinstance(found, Started):
            await _adopt(engine, container, found)
        elif isinstance(found, ExitStatus):
            await _note_end(engine, container, found)
        elif container.state in (State.RUNNING, State.PAUSED):
            await _note_end_before_boot(engine, container)
        if container.state is State.RESTARTING and container.comeback is None:
            container.state = State.EXITED  # its pause is over by now: see `boot`
            container.restart_count = max(container.restart_count - 1, 0)  # it has not come back yet
            row = container_store.state_row(container)
            await engine.database.write(lambda connection: container_store.update_state(connection, row))


async def _look_again(engine: "Engine", container: Container) -> None:
    """Until it is taken up, or removed: without a watcher nobody would hear of its end."""
    pause_s = _FIRST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if container not in engine.containers.all():
            return
        try:
            await engine.run(_look_at(engine, container, set(engine.runtime.known())), name="take up")
            log.info("container %s is taken up again", container.id[:12])
            return
        except (OnggiError, OSError) as error:
            log.warning("container %s can't be taken up again yet: %s", container.id[:12], error)


async def _adopt(engine: "Engine", container: Container, started: Started) -> None:
    if container.state not in (State.RUNNING, State.PAUSED):
        # Its start was cut short after the program ran: it is a whole start all the same.
        container.started_at = datetime.now(UTC)
        container.state = State.RUNNING
    container.pid, container.pid_start = started.pid, started.start_time
    try:
        with network_namespace(container) as namespace:
            await engine.networks.mend(container.id, namespace)
    except Conflict:
        pass  # it has just ended: whoever watches it will see
    except (OnggiError, OSError) as error:
        log.error("container %s has no name resolution: %s", container.id[:12], error)
    row = container_store.state_row(container)
    await engine.database.write(lambda connection: container_store.update_state(connection, row))
    engine.spawn(exits.watch(engine, container, started.pid), name=f"watch {container.id[:12]}")
    checks.begin(engine, container)


async def _note_end(engine: "Engine", container: Container, status: ExitStatus) -> None:
    if container.state in (State.RUNNING, State.PAUSED):
        await exits.settle(engine, container, status)
    else:
        await engine.runtime.forget(container.id)


async def _note_end_before_boot(engine: "Engine", container: Container) -> None:
    """Nobody saw its end. If its policy wants it again, it is started with all others, in their order: see `boot`."""
    status = ExitStatus(255, False, datetime.now(UTC))
    if restart.wanted(container, status):
        await exits.record(engine, container, status, State.EXITED)
        await engine.runtime.forget(container.id)
    else:
        await exits.settle(engine, container, status)


async def _end_stray(engine: "Engine", container_id: str) -> None:
    """A container of this exec root that no row speaks of: its removal was cut short at the very end."""
    log.warning("container %s is in no row: it is ended and forgotten", container_id[:12])
    if isinstance(await engine.runtime.adopt(container_id), Started):
        await engine.runtime.kill_all(container_id)
        await engine.runtime.wait(container_id)
    await engine.runtime.forget(container_id)


async def stop_all(engine: "Engine") -> None:
    """End every container, as an engine does that does not let them live on. Their policies stay as they are."""

    async def one(container: Container) -> None:
        by_user = container.stopped_by_user
        try:
            await stopping.stop(engine, container, text="", grace_s=None)
        except OnggiError as error:
            log.warning("container %s was not stopped: %s", container.id[:12], error)
        container.stopped_by_user = by_user
        row = container_store.state_row(container)
        await engine.database.write(lambda connection: container_store.update_state(connection, row))

    running = [container for container in engine.containers.all() if is_running(container.state)]
    await asyncio.gather(*(one(container) for container in running))
