"""Replies: JSON, nothing, and streams of JSON objects."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

import onggi
from onggi.api.failure import sentence_of
from onggi.api.version import NEWEST, text

MARK = {
    "Api-Version": text(NEWEST),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Onggi/{onggi.__version__} (linux)",
}
"""The headers that clients look for in any reply."""


def _plain(value: Any) -> Any:
    """Digests and other texts with a type of their own are texts in JSON."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
Message = Mapping[str, Any]
Progress = Callable[[Message], None]


def json_response(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON: a msgspec Struct, or plain dicts and lists."""
    return web.Response(status=status, body=_encoder.encode(value) + b"\n", content_type="application/json")


def no_content(status: int = 204) -> web.Response:
    return web.Response(status=status)


_BULK_BYTES = 4 << 20


def widen_reply(request: web.Request) -> None:
    """For a reply of many megabytes: the client is fed ahead, so that neither side waits for the other's every piece."""
    transport = request.transport
    if transport is None:
        return  # the client has gone; the next write says so
    transport.set_write_buffer_limits(high=_BULK_BYTES)
    end = transport.get_extra_info("socket")
    if end is not None and end.family == socket.AF_UNIX:  # TCP finds its own window
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BULK_BYTES)


async def stream_json(request: web.Request, messages: AsyncIterator[Any]) -> web.StreamResponse:
    """Each message as one line of JSON, as it comes (`events`, `stats`). The head is sent at once."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    async for message in messages:
        await response.write(_encoder.encode(message) + b"\n")
    return response


async def stream_progress(
    request: web.Request, work: Callable[[Progress], Awaitable[None]], *, content_type: str = "application/json",
    head_first: bool = False,
) -> web.StreamResponse:  # fmt: skip
    """Run `work(progress)` and send what it reports, one JSON object a line, as pull, push, load and build do.

    `progress` is called on the event loop and never waits. An error before the first message becomes an ordinary
    error reply, unless `head_first`; after it, a last message `{"errorDetail": …, "error": …}`, as in Docker. A client
    that hangs up ends the work.
    """
    queue: list[Message] = []
    news = asyncio.Event()

    def progress(message: Message) -> None:
        queue.append(message)
        news.set()

    response = web.StreamResponse(headers={"Content-Type": content_type})
    if head_first:
        await response.prepare(request)

    async def send() -> None:
        messages = [*queue]
        queue.clear()
        if messages:
            if not response.prepared:
                await response.prepare(request)
            # Docker ends its progress lines by CRLF.
            await response.write(b"".join(_encoder.encode(message) + b"\r\n" for message in messages))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(work(progress)))
        task.add_done_callback(lambda _: news.set())
        while not task.done():
            await news.wait()
            news.clear()
            await send()
        await send()
    error = task.result()
    if error is not None:
        if not response.prepared:
            raise error
        sentence = sentence_of(error)
        progress({"errorDetail": {"message": sentence}, "error": sentence})
        await send()
    if not response.prepared:
        await response.prepare(request)
    return response


async def _outcome(work: Awaitable[None]) -> Exception | None:
    try:
        await work
    except Exception as error:  # handed to the caller, who raises or reports it
        return error
    return None
