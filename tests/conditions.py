"""Waiting for what must come about: never a fixed sleep, and a deadline that a busy machine meets."""

import time
from collections.abc import Callable

DEADLINE_S = 60.0
_PAUSE_S = 0.02


def until(holds: Callable[[], object], what: str = "it comes about") -> None:
    """Return as soon as the condition holds. Blocks: in a coroutine by `asyncio.to_thread`. Fails after a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s in vain: {what}"
        time.sleep(_PAUSE_S)
