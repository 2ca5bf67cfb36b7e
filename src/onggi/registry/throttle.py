"""Slows guessing down: after a few failures for an account or from an address, tries are refused for a while.

Counted in memory, in a bounded table: a restart forgets, and an attacker can't fill it. Tries that come at once are made
one after the other (`Turns`), so that each knows how those before it ended.
"""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from onggi.errors import OnggiError


class TooManyTries(OnggiError):
    """Signing in failed too often. Its header says how long to wait."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many failed attempts to sign in: try again in {wait_s} s")
        self.headers = {"Retry-After": str(wait_s)}


def neighbourhood(address: str) -> str:
    """What is counted as one place: an IPv4 address, or the network of 2⁶⁴ that whoever has one IPv6 address has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address  # a unix socket's
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class Throttle:
    """Failures by key. A key may fail `free` times; each failure after that locks it, twice as long each time."""

    def __init__(
        self, *, free: int, first_s: float = 1.0, most_s: float = 300.0, forget_s: float = 900.0,
        most_keys: int = 10_000, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._free, self._first_s, self._most_s, self._forget_s = free, first_s, most_s, forget_s
        self._most_keys, self._now = most_keys, now
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises TooManyTries while `key` is locked."""
        failures, last = self._failures.get(key, (0, 0.0))
        since = self._now() - last
        if failures <= self._free or since > self._forget_s:
            return
        lock_s = min(self._first_s * 2 ** min(failures - self._free - 1, 30), self._most_s)
        if since < lock_s:
            raise TooManyTries(max(1, round(lock_s - since)))

    def failed(self, key: str) -> None:
        failures, last = self._failures.pop(key, (0, 0.0))
        now = self._now()
        self._failures[key] = (failures + 1 if now - last <= self._forget_s else 1, now)
        while len(self._failures) > self._most_keys:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)


class Turns:
    """One at a time for each key, in the order in which they came; whoever comes after `most` that wait is refused.

    Else all guesses of a burst would be made before the first is known to be wrong, and one address could keep the
    threads that check passwords from all others.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._keys: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Raises TooManyTries."""
        lock, inside = self._keys.get(key) or (asyncio.Lock(), 0)
        if inside > self._most:
            raise TooManyTries(1)
        self._keys[key] = lock, inside + 1
        try:
            async with lock:
                yield
        finally:
            lock, inside = self._keys.pop(key)
            if inside > 1:
                self._keys[key] = lock, inside - 1
