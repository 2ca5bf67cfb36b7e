"""Signals, and what is made of them: kill, stop, restart; pause and unpause.

Signals are sent under the container's lock, but its end is awaited without: the task that watches it needs the lock.
"""

import asyncio
import signal
from typing import TYPE_CHECKING

from onggi.engine import container_store, restart, signals, starting
from onggi.engine.container import Container, WaitResult
from onggi.engine.lifecycle import State, Verb, is_running, require
from onggi.errors import Conflict, InvalidParameter, OnggiError, System

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

DEFAULT_GRACE_S = 10
KILL_PATIENCE_S = 30.0
"""SIGKILL is answered at once, but for a process that waits in the kernel for a device."""


async def _save(engine: "Engine", container: Container) -> None:
    row = container_store.state_row(container)
    await engine.database.write_short(lambda connection: container_store.update_state(connection, row))


async def _send(engine: "Engine", container: Container, number: int) -> None:
    engine.events.publish("container", "kill", container.id, container.attributes(signal=str(number)))
    try:
        if number == signal.SIGKILL:
            await engine.runtime.kill_all(container.id)
        else:
            await engine.runtime.signal(container.id, number)
    except Conflict:
        pass  # it has ended by itself; its watcher is about to say so


async def _thaw(engine: "Engine", container: Container) -> None:
    """A frozen container can't obey."""
    await engine.runtime.unpause(container.id)
    container.state = State.RUNNING
    engine.events.publish("container", "unpause", container.id, container.attributes())


async def _give_up_restarting(engine: "Engine", container: Container) -> None:
    """From RESTARTING to EXITED: nothing runs, it only must not come back."""
    restart.cancel(container)
    container.state = State.EXITED
    await _save(engine, container)
    container.stopped.happened(container.result())


async def kill(engine: "Engine", container: Container, text: str) -> None:
    """Send a signal; with SIGKILL wait for the end."""
    number = signals.number(text or "KILL")
    async with container.lock:
        require(container, Verb.KILL)
        own = container.config.stop_signal
        ends = not own or number in (signal.SIGKILL, signals.number(own))
        container.stopped_by_user = True
        container.stays_down = container.stays_down or ends
        if container.state is State.RESTARTING:
            if ends:
                await _give_up_restarting(engine, container)
            return
        ended = container.stopped.next()
        await _send(engine, container, number)
        if ends and container.state is State.PAUSED and number != signal.SIGKILL:
            await _thaw(engine, container)
        await _save(engine, container)
    if number == signal.SIGKILL:
        await _await_end(container, ended)
    else:
        ended.cancel()


async def _await_end(container: Container, ended: "asyncio.Future[WaitResult]") -> None:
    try:
        async with asyncio.timeout(KILL_PATIENCE_S):
            await ended
    except TimeoutError:
        raise System(
            f"container {container.id} did not end within {KILL_PATIENCE_S:.0f} s of SIGKILL: "
            "a process of it waits in the kernel"
        ) from None


async def stop(engine: "Engine", container: Container, *, text: str, grace_s: int | None) -> None:
    """End a container: its stop signal, time to obey, SIGKILL. A negative grace waits for ever."""
    config = container.config
    require(container, Verb.STOP)
    try:
        number = signals.number(text or config.stop_signal or "TERM")
    except InvalidParameter as error:
        raise System(f"cannot stop container: {container.id}: {error}") from error
    if grace_s is None:
        grace_s = config.stop_timeout if config.stop_timeout is not None else DEFAULT_GRACE_S
    async with container.lock:
        require(container, Verb.STOP)
        container.stopped_by_user = container.stays_down = True
        if container.state is State.RESTARTING:
            await _give_up_restarting(engine, container)
            engine.events.publish("container", "stop", container.id, container.attributes())
            return
        ended = container.stopped.next()
        await _send(engine, container, number)
        if container.state is State.PAUSED and number != signal.SIGKILL:
            await _thaw(engine, container)
        await _save(engine, container)
    try:
        async with asyncio.timeout(grace_s if grace_s >= 0 else None):
            await asyncio.shield(ended)
    except TimeoutError:
        async with container.lock:
            if container.state in (State.RUNNING, State.PAUSED):
                await _send(engine, container, signal.SIGKILL)
        await _await_end(container, ended)
    engine.events.publish("container", "stop", container.id, container.attributes())


async def end_unhealthy(engine: "Engine", container: Container, pid: int) -> None:
    """End the run that began with `pid`, because its check fails: it comes back as by a restart policy, after the same
    pauses, unless somebody ends it meanwhile."""
    config = container.config
    async with container.lock:
        if container.pid != pid or container.state is not State.RUNNING or container.stays_down:
            return
        container.comes_back = True
        await _send(engine, container, signals.number(config.stop_signal or "TERM"))
    try:
        async with asyncio.timeout(config.stop_timeout if config.stop_timeout is not None else DEFAULT_GRACE_S):
            await engine.runtime.wait(container.id)
    except TimeoutError:
        async with container.lock:
            if container.pid == pid and container.state in (State.RUNNING, State.PAUSED):
                await _send(engine, container, signal.SIGKILL)


async def restart_container(
    engine: "Engine", container: Container, word: str, *, text: str, grace_s: int | None
) -> None:
    """Stop what runs, start it (again). `word`: what the user calls it."""
    require(container, Verb.RESTART)
    container.kept = True
    try:
        if is_running(container.state):
            await stop(engine, container, text=text, grace_s=grace_s)
        async with container.lock:
            require(container, Verb.START)
            try:
                await starting.start_again(engine, container)
            except OnggiError as error:
                raise System(f"Cannot restart container {word}: {error}") from error
    finally:
        container.kept = False
    engine.events.publish("container", "restart", container.id, container.attributes())


async def pause(engine: "Engine", container: Container) -> None:
    """Freeze every process."""
    async with container.lock:
        container_state = require(container, Verb.PAUSE)
        await engine.runtime.pause(container.id)
        container.state = container_state
        await _save(engine, container)
    engine.events.publish("container", "pause", container.id, container.attributes())


async def unpause(engine: "Engine", container: Container) -> None:
    """Thaw them."""
    async with container.lock:
        target = require(container, Verb.UNPAUSE)
        await engine.runtime.unpause(container.id)
        container.state = target
        await _save(engine, container)
    engine.events.publish("container", "unpause", container.id, container.attributes())


def grace(text: str | None) -> int | None:
    """The query parameter `t`. Raises InvalidParameter with Docker's sentence."""
    if text is None or text == "":
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
