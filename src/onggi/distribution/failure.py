"""What goes wrong with registries, in the sentences that Docker has for it.

A registry's own words are cut and escaped before they become part of a message: they are shown on terminals.
"""

import errno
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from onggi.distribution.challenge import Challenge
from onggi.durations import in_words
from onggi.errors import Forbidden, InvalidParameter, NotFound, OnggiError, System, Unauthorized, Unavailable

_MOST_WORDS = 1000
_DEFAULTS = {
    "DENIED": "requested access to the resource is denied",
    "UNAUTHORIZED": "authentication required",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "NAME_UNKNOWN": "repository name not known to registry",
    "BLOB_UNKNOWN": "blob unknown to registry",
    "TOOMANYREQUESTS": "too many requests",
}
_KNOWN = frozenset({
    *_DEFAULTS, "UNKNOWN", "UNSUPPORTED", "UNAVAILABLE", "DIGEST_INVALID", "SIZE_INVALID", "RANGE_INVALID",
    "NAME_INVALID", "TAG_INVALID", "MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "MANIFEST_BLOB_UNKNOWN",
    "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "PAGINATION_NUMBER_INVALID",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """One entry of a registry's list of errors. (distribution-spec, "Error Codes")"""

    code: str
    message: str

    def __str__(self) -> str:
        code = self.code.lower().replace("_", " ") if self.code in _KNOWN else "unknown"
        return f"{code}: {self.message}" if self.message else code


class Answer(OnggiError):
    """A registry said no. Its subclasses are of the category that fits."""

    def __init__(self, status: int, reasons: Sequence[Reason], text: str = "") -> None:
        self.status = status
        self.reasons = tuple(reasons)
        self.retry_after_s: float | None = None
        super().__init__(text or _sentence(self.reasons))

    def __str__(self) -> str:
        if self.retry_after_s is None:
            return super().__str__()
        span = f"{self.retry_after_s:.0f} seconds" if self.retry_after_s < 120 else in_words(self.retry_after_s).lower()
        return f"{super().__str__()} (the registry asks to wait {span})"

    @property
    def first(self) -> str:
        """The code of the first reason."""
        return self.reasons[0].code if self.reasons else ""


class AnswerUnauthorized(Answer, Unauthorized):
    pass


class AnswerDenied(Answer, Forbidden):
    pass


class AnswerNotFound(Answer, NotFound):
    pass


class AnswerInvalid(Answer, InvalidParameter):
    pass


class AnswerBusy(Answer, Unavailable):
    """Too many requests (429) or a server that is not up (503)."""


class AnswerFailed(Answer, System):
    pass


class Unreachable(System):
    """No connection, or one that broke. Trying again may help."""


class TooSlow(Unreachable):
    """A connection that carries (nearly) nothing."""


class Misbehaved(System):
    """A registry broke the protocol in a way that trying again won't mend."""


class _Error(msgspec.Struct):
    code: Any = ""
    message: Any = ""
    detail: msgspec.Raw = msgspec.Raw()


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None
    details: Any = ""
    message: Any = ""


_errors = msgspec.json.Decoder(_Errors)


def printable(text: object) -> str:
    """A stranger's words, cut, and with control characters escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)[:_MOST_WORDS]
    )


def answer(
    status: int, phrase: str, body: bytes, challenges: Sequence[Challenge] = (), *, head: bool = False
) -> Answer:
    """The error for a reply of 400 and more."""
    reasons = [*_oauth_reasons(challenges), *_body_reasons(status, body)]
    if not reasons and head and status == HTTPStatus.NOT_FOUND:
        reasons = [Reason("MANIFEST_UNKNOWN", _DEFAULTS["MANIFEST_UNKNOWN"])]
    if not reasons and status == HTTPStatus.UNAUTHORIZED:
        reasons = [Reason("UNAUTHORIZED", _DEFAULTS["UNAUTHORIZED"])]
    if not reasons and status == HTTPStatus.FORBIDDEN:
        reasons = [Reason("DENIED", _DEFAULTS["DENIED"])]
    if not reasons and status == HTTPStatus.TOO_MANY_REQUESTS:
        reasons = [Reason("TOOMANYREQUESTS", _DEFAULTS["TOOMANYREQUESTS"])]
    text = "" if reasons else f"received unexpected HTTP status: {status} {printable(phrase)}".rstrip()
    first = reasons[0].code if reasons else ""
    kind: type[Answer] = AnswerFailed
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE} or first == "TOOMANYREQUESTS":
        kind = AnswerBusy
    elif first == "DENIED" or status == HTTPStatus.FORBIDDEN:
        kind = AnswerDenied
    elif first == "UNAUTHORIZED" or status == HTTPStatus.UNAUTHORIZED:
        kind = AnswerUnauthorized
    elif status == HTTPStatus.NOT_FOUND:
        kind = AnswerNotFound
    elif status == HTTPStatus.BAD_REQUEST:
        kind = AnswerInvalid
    return kind(status, reasons, text)


def _oauth_reasons(challenges: Sequence[Challenge]) -> list[Reason]:
    """Bearer challenges say in their own words why a token did not do. (RFC 6750, section 3.1)"""
    codes = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}
    return [
        Reason(code, printable(challenge.parameters.get("error_description", "")) or _DEFAULTS[code])
        for challenge in challenges
        if challenge.scheme == "bearer" and (code := codes.get(challenge.parameters.get("error", "")))
    ]


def _body_reasons(status: int, body: bytes) -> list[Reason]:
    try:
        document = _errors.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []  # no JSON of this shape: the status alone must do
    if document.errors:
        return [
            Reason(str(entry.code)[:100], printable(entry.message) or _DEFAULTS.get(str(entry.code), ""))
            for entry in document.errors[:10]
        ]
    words = printable(document.details or document.message)
    code = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}.get(status)
    return [Reason(code, words)] if words and code else []


def _sentence(reasons: Sequence[Reason]) -> str:
    if len(reasons) == 1:
        return str(reasons[0])
    return "errors:\n" + "".join(f"{reason}\n" for reason in reasons)


def unreachable(method: str, url: str, error: BaseException) -> OnggiError:
    """The error for a request that got no whole answer: `Get "http://…/v2/": dial tcp …`, as Go puts it."""
    cause = _why(error)
    kind: type[System] = TooSlow if isinstance(error, TimeoutError) else Unreachable
    return kind(f'{method.capitalize()} "{printable(url)}": {cause}')


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {_tls_words(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"tls: {_tls_words(error.os_error)}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"proxyconnect tcp: the proxy answers {error.status} {printable(error.message)}".rstrip()
    if isinstance(error, aiohttp.ClientConnectorError):
        host = f"[{error.host}]" if ":" in error.host else error.host
        words = {
            errno.ECONNREFUSED: "connect: connection refused",
            errno.ENETUNREACH: "connect: network is unreachable",
            errno.EHOSTUNREACH: "connect: no route to host",
            errno.ETIMEDOUT: "connect: connection timed out",
        }.get(error.os_error.errno or 0, str(error.os_error))
        through = "proxyconnect tcp: " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        return f"{through}dial tcp {host}:{error.port}: {words}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "dial tcp: i/o timeout"
    if isinstance(error, TimeoutError):
        return "net/http: timeout awaiting response"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unexpected EOF"
    if isinstance(error, ConnectionResetError) or getattr(error, "errno", None) == errno.ECONNRESET:
        return "read: connection reset by peer"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"malformed HTTP response: {printable(error.message)}"
    return printable(error) or type(error).__name__


_CERTIFICATE_WORDS = {
    10: "x509: certificate has expired or is not yet valid",
    9: "x509: certificate has expired or is not yet valid",
    18: "x509: certificate signed by unknown authority",
    19: "x509: certificate signed by unknown authority",
    20: "x509: certificate signed by unknown authority",
    21: "x509: certificate signed by unknown authority",
}
"""Go's words for OpenSSL's codes (X509_V_ERR_*)."""


def _tls_words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_WORDS.get(error.verify_code, f"x509: {printable(error.verify_message)}")
    if isinstance(error, ssl.SSLError):
        return printable(error.reason or error)
    return printable(error)
