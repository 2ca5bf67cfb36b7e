"""runtime.launch: messages to shims through a socket that is full."""

import asyncio
import os

import pytest

from onggi.linux import message
from onggi.linux.fd import Fd
from onggi.runtime import launch

PAYLOAD = b"x" * 20_000
SENDERS = 40
DEADLINE_S = 30.0


async def _fill() -> tuple[Fd, Fd, list[asyncio.Task[None]]]:
    """Both ends of a pair, and senders of which some wait."""
    ours, theirs = message.pair()
    for each in (ours, theirs):
        os.set_blocking(each.fileno(), False)
    tasks = [asyncio.create_task(launch.send(ours, PAYLOAD)) for _ in range(SENDERS)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not all(task.done() for task in tasks)
    return ours, theirs, tasks


def test_of_many_who_wait_for_one_socket_none_is_forgotten() -> None:
    async def run() -> None:
        ours, theirs, tasks = await _fill()
        with ours, theirs:
            async with asyncio.timeout(DEADLINE_S):
                received = 0
                while received < SENDERS:
                    try:
                        assert message.receive(theirs) is not None
                        received += 1
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
                await asyncio.gather(*tasks)

    asyncio.run(run())


def test_who_waits_is_told_that_the_other_side_has_gone() -> None:
    async def run() -> None:
        ours, theirs, tasks = await _fill()
        waiting = [task for task in tasks if not task.done()]
        ours.close()
        theirs.close()
        async with asyncio.timeout(DEADLINE_S):
            for task in waiting:
                with pytest.raises((BrokenPipeError, ConnectionResetError)):
                    await task

    asyncio.run(run())
