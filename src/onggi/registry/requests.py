"""What handlers read from a request and how they answer. The frame (`app.py`) has put subject and address there."""

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry.audit import Actor
from onggi.registry.jsonform import encode
from onggi.registry.permissions import Subject

T = TypeVar("T")
BODY_DEADLINE_S = 60.0


class BodyStalled(InvalidParameter):
    def __init__(self) -> None:
        super().__init__(f"the request's body did not arrive within {BODY_DEADLINE_S:.0f} s")


SUBJECT = web.RequestKey("subject", Subject)
ADDRESS = web.RequestKey("address", str)
"""The client's address, the one behind a trusted proxy."""
BASE = web.RequestKey("base", str)
"""How the client reaches the registry: scheme and host, without a slash at the end."""
REPOSITORY = web.RequestKey("repository", str)
"""The full name of the repository that the path names."""


def actor(request: web.Request) -> Actor:
    return Actor(request[SUBJECT].name, request[ADDRESS])


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`value` (a Struct, or plain dicts and lists) as JSON."""
    return web.Response(status=status, body=encode(value) + b"\n", content_type="application/json",
                        headers=headers)  # fmt: skip


async def read_body(request: web.Request) -> bytes:
    """All of a short body. Raises BodyStalled, and aiohttp's refusal of one that is larger than the route takes."""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await request.read()
    except TimeoutError as error:
        raise BodyStalled from error


async def body(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The request's body as a type; unknown fields are refused by types that say so. Raises InvalidParameter."""
    if request.content_type != "application/json":
        raise InvalidParameter("the body must be sent as application/json")
    try:
        return decoder.decode(await read_body(request))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"the body is not what this call takes: {error}") from error


def number(request: web.Request, name: str, default: int, most: int) -> int:
    """A number of the query, 0 to `most`: more is `most`. Raises InvalidParameter for what is none."""
    text = request.query.get(name, "")
    if text == "":
        return default
    if not (text.isascii() and text.isdigit()):
        raise InvalidParameter(f"{name} must be a number: {text[:100]!a}")
    return min(int(text), most) if len(text) < 19 else most
