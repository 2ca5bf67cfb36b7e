"""Restart policies: whether a container comes back after its end, and after which pause.

The pause is Docker's: 100 ms, doubled each time up to a minute, and back to 100 ms after a run of ten seconds.
(moby: restartmanager/restartmanager.go)
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from onggi.engine import container_store
from onggi.engine.container import Container
from onggi.engine.lifecycle import State
from onggi.errors import OnggiError
from onggi.runtime.runtime import ExitStatus

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.restart")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 60.0
STEADY_S = 10.0


def wanted(container: Container, status: ExitStatus) -> bool:
    """Whether the container's policy brings it back after this end."""
    if container.stays_down:
        return False
    if container.comes_back:
        return True
    policy = container.host_config.restart_policy
    if policy.name == "always":
        return True
    if policy.name == "unless-stopped":
        return not container.stopped_by_user
    if policy.name == "on-failure":
        return status.code != 0 and _may_try_again(container)
    return False


def _may_try_again(container: Container) -> bool:
    tries = container.host_config.restart_policy.maximum_retry_count
    return tries == 0 or container.restart_count < tries


def wanted_at_engine_start(container: Container) -> bool:
    """Whether a container that does not run is started with the engine."""
    policy = container.host_config.restart_policy
    if container.state not in (State.EXITED, State.RESTARTING):
        return False
    if policy.name == "always":
        return True
    if policy.name == "unless-stopped":
        return not container.stopped_by_user
    if policy.name == "on-failure":
        return container.exit_code != 0 and not container.stopped_by_user and _may_try_again(container)
    return False


def _pause_s(container: Container) -> float:
    start, end = container.started_at, container.finished_at
    if start is not None and end is not None and (end - start).total_seconds() >= STEADY_S:
        container.backoff_s = 0.0
    container.backoff_s = min(max(FIRST_PAUSE_S, 2 * container.backoff_s), LONGEST_PAUSE_S)
    return container.backoff_s


def plan(engine: "Engine", container: Container) -> None:
    """Let a RESTARTING container come back after its pause. Call it holding the lock."""
    container.comeback = engine.spawn(_come_back(engine, container, _pause_s(container)), name="come back")


def cancel(container: Container) -> None:
    """It does not come back. Call it holding the lock."""
    comeback, container.comeback = container.comeback, None
    if comeback is not None:
        comeback.cancel()


async def _come_back(engine: "Engine", container: Container, pause_s: float) -> None:
    await asyncio.sleep(pause_s)
    await engine.run(_revive(engine, container), name=f"restart of {container.id[:12]}")


async def _revive(engine: "Engine", container: Container) -> None:
    from onggi.engine.starting import revive  # starting needs exits, and exits this module

    async with container.lock:
        if container.state is not State.RESTARTING or container.stays_down:
            return
        container.comeback = None
        try:
            await revive(engine, container)
        except Exception as error:
            if container.state is not State.RESTARTING:
                raise  # it runs, which could not be noted
            log.warning("container %s did not come back: %s", container.id[:12], error)
            container.state = State.EXITED
            row = container_store.state_row(container)
            try:
                await engine.database.write_short(lambda connection: container_store.update_state(connection, row))
            finally:
                container.stopped.happened(container.result())
            if not isinstance(error, OnggiError):
                raise
