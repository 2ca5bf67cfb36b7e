"""Starting with the engine what its policy wants: after what it depends on, and when the mounts it waits for are there.

All start at once, each as soon as it may. Nobody waits for ever: what does not come within PATIENCE_S is done without.
"""

import asyncio
import json
import logging
import os
import re
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.engine.container import Container
from onggi.engine.events import FILTERS
from onggi.engine.filters import Filters
from onggi.engine.health import HealthStatus
from onggi.engine.lifecycle import State, is_running
from onggi.engine.own_labels import Condition, Dependency, dependencies, mounts_to_wait_for
from onggi.errors import OnggiError
from onggi.linux.fd import Fd

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.boot")
PATIENCE_S = 300.0
_EVENTS = Filters.parse(
    json.dumps({"type": ["container"], "event": ["health_status", "start", "die", "destroy"]}), FILTERS
)


def start_all(engine: "Engine", wanted: Sequence[Container]) -> None:
    """Let these start, in the background."""
    everyone = {container.name: container for container in engine.containers.all()}
    attempts = {container.id: asyncio.Event() for container in wanted}
    for container in wanted:
        after = [] if _in_a_circle(container, everyone) else list(dependencies(container, everyone))
        work = _start(engine, container, after, attempts)
        engine.spawn(work, name=f"start {container.id[:12]}")


def _in_a_circle(container: Container, everyone: dict[str, Container]) -> bool:
    """Whether a container depends on itself, by others: then it waits for nobody."""
    seen: set[str] = set()
    ahead = [container]
    while ahead:
        for dependency in dependencies(ahead.pop(), everyone):
            if dependency.container is container:
                log.warning("container %s depends on itself: it is started without waiting", container.name)
                return True
            if dependency.container.id not in seen:
                seen.add(dependency.container.id)
                ahead.append(dependency.container)
    return False


async def _start(
    engine: "Engine", container: Container, after: Sequence[Dependency], attempts: dict[str, asyncio.Event]
) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            for path in mounts_to_wait_for(container):
                await _mounted(path)
            for dependency in after:
                attempt = attempts.get(dependency.container.id)
                if attempt is not None:
                    await attempt.wait()
                await _met(engine, dependency)
    except TimeoutError:
        log.warning("container %s is started without what it waits for", container.name)
    try:
        if container.state in (State.EXITED, State.RESTARTING):  # nobody else was faster
            await engine.containers.start(container.id)
    except OnggiError as error:
        log.warning("container %s was not started with the engine: %s", container.id[:12], error)
    finally:
        attempts[container.id].set()


async def _mounted(path: str) -> None:
    # By the kernel's list: to look at the path itself would wait for a file server that does not answer.
    with Fd(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)) as table, select.epoll() as news:
        # A change is told as an exception (proc(5)). The loop's own selector asks for readable, which the list always is.
        news.register(table, select.EPOLLPRI)
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(news.fileno(), changed.set)
        try:
            while path.rstrip("/") not in await asyncio.to_thread(_mount_points):
                await changed.wait()
                changed.clear()
        finally:
            loop.remove_reader(news.fileno())


def _mount_points() -> set[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split(" ", 5)[4] for line in table]
    return {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point) for point in points}


async def _met(engine: "Engine", dependency: Dependency) -> None:
    """Return when the dependency is as it should be, or will never be."""
    container = dependency.container
    async with engine.events.subscribe(since_ns=None, until_ns=None, filters=_EVENTS) as events:
        if _settled(dependency):
            return
        async for event in events:
            if event.actor == container.id and _settled(dependency):
                return


def _settled(dependency: Dependency) -> bool:
    container = dependency.container
    if not is_running(container.state):
        return True
    match dependency.condition:
        case Condition.STARTED:
            return True
        case Condition.HEALTHY:
            return container.health is None or container.health.status == HealthStatus.HEALTHY
        case Condition.COMPLETED:
            return False
