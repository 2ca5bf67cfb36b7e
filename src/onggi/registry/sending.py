"""A blob on its way out: by sendfile(2) where the kernel can, in pieces where TLS stands between."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import BinaryIO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

PIECE_BYTES = 256 * 1024


class FileReply(web.StreamResponse):
    """`count` bytes of `file` from `first` on. Owns the file: closes it when sent, or when sending fails."""

    def __init__(
        self, file: BinaryIO, first: int, count: int, status: int, headers: Mapping[str, str], pool: Executor
    ) -> None:
        super().__init__(status=status, headers=headers)
        self._file, self._first, self._count, self._pool = file, first, count, pool
        self.content_length = count

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            writer = await super().prepare(request)
            if writer is None or self._count == 0 or request.method == "HEAD":
                return writer
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("the client has gone")
            send_headers = getattr(writer, "send_headers", None)
            if send_headers is not None:
                send_headers()
            if request.secure or transport.get_extra_info("sslcontext") is not None:
                await self._in_pieces(writer)
            else:
                await asyncio.get_running_loop().sendfile(transport, self._file, self._first, self._count)
            return writer
        finally:
            self._file.close()

    async def _in_pieces(self, writer: AbstractStreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self._file.seek(self._first)
        left = self._count
        while left:
            piece = await loop.run_in_executor(self._pool, self._file.read, min(PIECE_BYTES, left))
            if not piece:
                raise ConnectionResetError("the object is shorter than its row says")
            left -= len(piece)
            await writer.write(piece)
