"""An error category → an HTTP status, and an error → the reply. Nowhere else is a status chosen for a failure."""

import logging
import uuid

import msgspec
from aiohttp import web

from onggi.errors import (
    Conflict,
    Forbidden,
    InvalidParameter,
    NotAllowed,
    NotFound,
    NotModified,
    OnggiError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsupported,
)

log = logging.getLogger(__name__)

STATUS: dict[type[BaseException], int] = {
    NotModified: 304,
    InvalidParameter: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    NotAllowed: 405,
    Conflict: 409,
    TooLarge: 413,
    Unsupported: 501,
    Unavailable: 503,
}


def status_of(error: OnggiError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def sentence_of(error: Exception) -> str:
    """What the client is told. For what is no refusal but a bug, the text is not shown: it may hold a secret."""
    if isinstance(error, OnggiError):
        return str(error)
    request_id = uuid.uuid4().hex[:12]
    log.error("request %s failed", request_id, exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()} (internal error {request_id}; the engine's log says more)"
    return f"internal error {request_id} ({type(error).__name__}); the engine's log says more"


def reply_to(error: Exception) -> web.Response:
    """The reply for what a handler raised: Docker's `{"message": …}` with the status of the error's category."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        error = TooLarge("http: request body too large")
    status = status_of(error) if isinstance(error, OnggiError) else 500
    if status == 500 and isinstance(error, OnggiError):
        log.warning("a request failed: %s", error)
    if status == 304:
        return web.Response(status=304)
    body = msgspec.json.encode({"message": sentence_of(error)}) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json")
