"""Blocking work in a thread, whose end is always awaited: what it uses may be closed afterwards."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(executor: Executor, work: Callable[[], T]) -> T:
    """Run `work` in `executor`. A caller that is cancelled gets its CancelledError when the work is done, not before.

    A thread can't be cancelled: left alone it would go on with files that its caller has closed meanwhile.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
