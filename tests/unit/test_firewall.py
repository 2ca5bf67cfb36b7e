"""network.firewall: it outlives what goes wrong beside it."""

import asyncio
import socket
import threading

import pytest

from onggi.errors import System
from onggi.linux.nftables import Change
from onggi.network import firewall, neighbours, nftables
from onggi.network.firewall import Firewall

DEADLINE_S = 30.0


class Watch:
    """Another program's changes, told by `strike`."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def fileno(self) -> int:
        return self.ours.fileno()

    def strike(self) -> None:
        self.theirs.send(b"!")

    def read(self, *_: object) -> Change:
        self.ours.recv(1)
        return Change(ours_lost=True)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class Elements:
    def close(self) -> None:
        pass


def test_rules_that_cannot_be_put_back_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    texts: list[str] = []
    again = threading.Event()

    def apply(text: str) -> int:
        texts.append(text)
        if len(texts) == 2:
            raise System("nft refused the rules: No such file or directory")
        if len(texts) == 3:
            again.set()
        return 1

    monkeypatch.setattr(firewall, "Watch", lambda: watch)
    monkeypatch.setattr(firewall, "Elements", Elements)
    monkeypatch.setattr(firewall, "RETRY_S", 0.001)
    monkeypatch.setattr(nftables, "apply", apply)
    monkeypatch.setattr(neighbours, "tables", set)

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), Firewall("onggi0", (), (), (), closes_host=False):
            watch.strike()
            assert await asyncio.to_thread(again.wait, DEADLINE_S)

    asyncio.run(run())
