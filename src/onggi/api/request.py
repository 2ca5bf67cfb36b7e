"""What a handler reads from a request: query parameters by Docker's rules, and the JSON body as a type."""

import asyncio
import re
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from onggi.api.version import ApiVersion
from onggi.engine.filters import Filters
from onggi.errors import InvalidParameter, TooLarge

T = TypeVar("T")

BODY_LIMIT_BYTES = 8 * 1024 * 1024
"""No JSON body of Docker's API comes near; it bounds what one client makes the engine hold."""
BODY_DEADLINE_S = 60.0

VERSION = web.RequestKey("version", tuple)


def api_version(request: web.Request) -> ApiVersion:
    """The version the client asked for in the path, the newest when it asked for none."""
    version: ApiVersion = request[VERSION]
    return version


def flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    """A boolean of the query, as Docker reads it: empty, `0`, `no`, `false` and `none` are false, all else true."""
    text = request.query.get(name)
    if text is None:
        return default
    return text.strip().lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    """A whole number of the query. Raises InvalidParameter with Go's sentence."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f'strconv.Atoi: parsing "{text[:200]}": invalid syntax')
    if len(digits) > 18:
        raise InvalidParameter(f'strconv.Atoi: parsing "{text[:200]}": value out of range')
    return int(text)


_TIMESTAMP = re.compile(r"(-?[0-9]{1,11})(?:\.([0-9]{1,9})[0-9]*)?", re.ASCII)


def timestamp_ns(text: str) -> int | None:
    """Seconds since 1970 with up to nine digits of fraction, as nanoseconds. Empty or 0: None, no bound."""
    if text in ("", "0"):
        return None
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise InvalidParameter(f'strconv.ParseInt: parsing "{text[:100]}": invalid syntax')
    return int(match[1]) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))


def dimension(request: web.Request, name: str, meaning: str) -> int:
    """One side of a terminal: 0 to 65535. Raises InvalidParameter in Docker's words."""
    text = request.query.get(name, "")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f'invalid resize {meaning} "{text[:100]}": invalid syntax')
    if text.startswith("-") or len(text) > 5 or int(text) > 0xFFFF:
        raise InvalidParameter(f'invalid resize {meaning} "{text[:100]}": value out of range')
    return int(text)


def filters(request: web.Request, accepted: Collection[str]) -> Filters:
    """The `filters` of the query. Raises InvalidParameter, also for a name that is not accepted."""
    return Filters.parse(request.query.get("filters", ""), accepted)


async def read_body(request: web.Request, limit_bytes: int = BODY_LIMIT_BYTES) -> bytes:
    """A small body, whole. Raises TooLarge, and InvalidParameter when it does not arrive in time."""
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > limit_bytes:
        raise TooLarge("http: request body too large")
    pieces = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for piece in request.content.iter_any():
                pieces += piece
                if len(pieces) > limit_bytes:
                    raise TooLarge("http: request body too large")
    except TimeoutError as error:
        raise InvalidParameter("the request body did not arrive in time") from error
    return bytes(pieces)


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder


async def read_json(request: web.Request, kind: type[T], *, optional: bool = False) -> T:
    """The body as `kind`. `optional`: an empty body means `{}`. Raises InvalidParameter with Docker's sentences."""
    return decode_json(await read_json_text(request, optional=optional), kind)


async def read_json_text(request: web.Request, *, optional: bool = False) -> bytes:
    """The body of a request that should hold JSON, for `decode_json`."""
    body = await read_body(request)
    if not body.strip():
        if optional:
            body = b"{}"
        elif body or request.content_length:
            raise InvalidParameter("invalid JSON: got EOF while reading request body")
    # A form posted by a web page must not reach a handler: only JSON is taken (moby: CheckForJSON).
    kind_of_body = request.content_type if "Content-Type" in request.headers else ""
    if kind_of_body not in ("", "application/json"):
        if not (optional and not request.body_exists):
            raise InvalidParameter(
                f"unsupported Content-Type header ({request.headers['Content-Type'][:200]}): must be 'application/json'"
            )
    elif body and kind_of_body == "" and not optional:
        raise InvalidParameter("unsupported Content-Type header (): must be 'application/json'")
    if not body:
        raise InvalidParameter("invalid JSON: got EOF while reading request body")
    return body


def decode_json(body: bytes, kind: type[T]) -> T:
    """JSON text as `kind`, as lenient as Go: null means absent, and member names may differ in case."""
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        return _decode_leniently(body, kind, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(_syntax_sentence(error)) from error


def _syntax_sentence(error: Exception) -> str:
    text = str(error)
    if "truncated" in text:
        return "invalid JSON: unexpected EOF"
    if "trailing" in text:
        return "unexpected content after JSON"
    return f"invalid JSON: {text}"


def _decode_leniently(body: bytes, kind: type[T], first: msgspec.ValidationError) -> T:
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(_syntax_sentence(error)) from error
    try:
        return msgspec.convert(_without_nulls(raw, kind), kind, strict=True)
    except msgspec.ValidationError:
        raise InvalidParameter(_type_sentence(str(first))) from first
    except RecursionError as error:
        raise InvalidParameter("invalid JSON: exceeded max depth") from error


def _without_nulls(value: Any, kind: Any) -> Any:
    """`value` without the null members of objects that `kind` has as structs: there `null` is Go's zero value.

    Maps and lists keep their nulls: `{"80/tcp": null}` names a port.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, dict):
            return value
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        return {name: _without_nulls(member, kinds.get(name)) for name, member in value.items() if member is not None}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list and isinstance(value, list):
        return [_without_nulls(member, arguments[0]) for member in value]
    if origin is dict and isinstance(value, dict):
        return {name: _without_nulls(member, arguments[1]) for name, member in value.items()}
    if origin in (types.UnionType, typing.Union) and value is not None:
        for argument in arguments:
            value = _without_nulls(value, argument)
    return value


_GO_NAMES = {"int": "number", "float": "number", "str": "string", "bool": "bool", "array": "array", "object": "object"}
_GO_TYPES = {"int": "int64", "float": "float64", "str": "string", "bool": "bool"}


def _type_sentence(message: str) -> str:
    """msgspec's ``Expected `str`, got `int` - at `$.Image` `` in Go's words."""
    words = message.split("`")
    if len(words) < 4 or not message.startswith("Expected"):
        return f"invalid JSON: {message}"
    wanted = words[1].split(" | ")[0]
    path = words[5][1:] if len(words) > 5 else ""
    go_type = _GO_TYPES.get(wanted, wanted)
    place = f"Go struct field {path} of type {go_type}" if path else f"Go value of type {go_type}"
    return f"invalid JSON: json: cannot unmarshal {_GO_NAMES.get(words[3], words[3])} into {place}"
