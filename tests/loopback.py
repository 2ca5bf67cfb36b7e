"""A server on a loopback port for tests that stand between two others: left, it ends whoever is still connected."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Self


class Loopback(ABC):
    """Enter it to listen; `answer` is given each connection, and may be cut short by either side at any time."""

    def __init__(self, *, head_bytes: int = 64 * 1024) -> None:
        self._head_bytes = head_bytes
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    @property
    def host(self) -> str:
        """127.0.0.1:PORT"""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=self._head_bytes)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.answer(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, and its end."""
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()
