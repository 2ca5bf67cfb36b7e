"""An error → status and JSON. Nowhere else in the registry is a status chosen for a failure.

    {"errors": [{"code": "BLOB_UNKNOWN", "message": "…", "detail": …}]}       (distribution-spec, "Error Codes")

The management API answers in the same shape.
"""

import logging
import uuid
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from onggi.content.store import StoreFull, UnexpectedContent
from onggi.errors import (
    Conflict,
    Forbidden,
    InvalidParameter,
    NotAllowed,
    NotFound,
    OnggiError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from onggi.oci.digest import InvalidDigest
from onggi.oci.manifest import InvalidManifest
from onggi.registry.conditional import RangeUnsatisfiable
from onggi.registry.jsonform import encode
from onggi.registry.names import InvalidName, InvalidTag
from onggi.registry.refusals import QuotaExceeded, RangeWrong
from onggi.registry.throttle import TooManyTries
from onggi.registry.upstream.refusal import UpstreamBusy

log = logging.getLogger("onggi.registry")

STATUS: dict[type[BaseException], int] = {
    InvalidParameter: 400,
    Unauthorized: 401,
    Forbidden: 403,
    QuotaExceeded: 403,
    NotFound: 404,
    NotAllowed: 405,
    Conflict: 409,
    TooLarge: 413,
    RangeWrong: 416,
    RangeUnsatisfiable: 416,
    TooManyTries: 429,
    UpstreamBusy: 429,
    UnexpectedContent: 400,
    Unsupported: 501,
    Unavailable: 503,
}
CODES: dict[type[BaseException], str] = {
    InvalidName: "NAME_INVALID",
    InvalidTag: "TAG_INVALID",
    InvalidDigest: "DIGEST_INVALID",
    InvalidManifest: "MANIFEST_INVALID",
    UnexpectedContent: "DIGEST_INVALID",
    StoreFull: "UNAVAILABLE",
    Unauthorized: "UNAUTHORIZED",
    Forbidden: "DENIED",
    TooManyTries: "TOOMANYREQUESTS",
    TooLarge: "SIZE_INVALID",
    NotAllowed: "UNSUPPORTED",
    Unsupported: "UNSUPPORTED",
    Unavailable: "UNAVAILABLE",
    NotFound: "NOT_FOUND",
    Conflict: "CONFLICT",
    InvalidParameter: "INVALID",
}


def status_of(error: Exception) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def code_of(error: Exception) -> str:
    found = getattr(error, "code", None)
    if isinstance(found, str):
        return found
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told."""

    status: int
    code: str
    sentence: str
    detail: Any = None
    headers: dict[str, str] | None = None


def failure_of(error: Exception) -> Failure:
    """What to say of what a handler raised; a bug goes to the log, for its text may hold a secret."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        error = TooLarge("the request's body is larger than is taken here")
    elif isinstance(error, RequestPayloadError | HttpProcessingError):
        error = InvalidParameter("the request's body is not what its head announced")
    status = status_of(error)
    if isinstance(error, OnggiError):
        sentence = str(error)
        if status == 500:
            log.warning("a request failed: %s", error)
    else:
        request_id = uuid.uuid4().hex[:12]
        log.error("request %s failed", request_id, exc_info=error)
        sentence = f"internal error {request_id}; the registry's log says more"
    return Failure(
        status, code_of(error), sentence, getattr(error, "detail", None), getattr(error, "headers", None)
    )  # fmt: skip


def reply_of(failure: Failure) -> web.Response:
    """As JSON."""
    entry: dict[str, Any] = {"code": failure.code, "message": failure.sentence}
    if failure.detail is not None:
        entry["detail"] = failure.detail
    body = encode({"errors": [entry]}) + b"\n"
    return web.Response(
        status=failure.status, body=body, content_type="application/json", headers=failure.headers
    )  # fmt: skip
