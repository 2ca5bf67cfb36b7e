"""Options of the `syslog` driver."""

import os
import socket
from collections.abc import Mapping
from typing import Any

from onggi.engine.log_drivers.subject import CHOICES, Subject
from onggi.engine.log_drivers.values import Address, address
from onggi.errors import InvalidParameter, System

_TLS = ("ca-cert", "cert", "key", "skip-verify")
OPTIONS = CHOICES | {"syslog-address", "syslog-facility", "syslog-format", *(f"syslog-tls-{name}" for name in _TLS)}
_SCHEMES = ("unix", "unixgram", "tcp", "udp", "tcp+tls")
_FACILITIES = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
_LOCAL_0 = 16
_DAEMON = 3
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_PORT = 514


def check(options: Mapping[str, str]) -> None:
    _server(options.get("syslog-address", ""))
    _facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in _FORMATS:
        raise InvalidParameter("Invalid syslog format")


def compile(options: Mapping[str, str], subject: Subject) -> dict[str, Any]:
    server = _server(options.get("syslog-address", ""))
    if server.scheme == "tcp+tls":
        _readable("CA certificate", options.get("syslog-tls-ca-cert", ""))
        for name in ("cert", "key"):
            _readable("X509 key pair", options.get(f"syslog-tls-{name}", ""))
    return {
        "driver": "syslog",
        "network": server.scheme,
        "host": server.host,
        "port": server.port or _PORT,
        "path": server.path,
        "facility": _facility(options.get("syslog-facility", "")) << 3,
        "format": options.get("syslog-format", ""),
        "tag": subject.tag(),
        "hostname": socket.gethostname(),
        "tls": {
            "ca": options.get("syslog-tls-ca-cert", ""),
            "cert": options.get("syslog-tls-cert", ""),
            "key": options.get("syslog-tls-key", ""),
            "skip_verify": "syslog-tls-skip-verify" in options,  # whatever its value, as in Docker
        },
    }


def _server(text: str) -> Address:
    if not text:
        return Address("", "", None, "")  # whatever syslog this machine runs
    server = address(text)
    if server.scheme not in _SCHEMES:
        raise InvalidParameter(f"unsupported scheme: '{server.scheme}'")
    if server.scheme in ("unix", "unixgram"):
        try:
            os.stat(server.path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidParameter(f"stat {server.path}: {reason}") from error
    return server


def _facility(text: str) -> int:
    if not text:
        return _DAEMON
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if text.startswith("local") and text[5:] in tuple("01234567"):
        return _LOCAL_0 + int(text[5:])
    if text.isascii() and text.isdigit() and int(text[:3]) <= 23:
        return int(text)
    raise InvalidParameter("invalid syslog facility")


def _readable(what: str, path: str) -> None:
    """Docker reads the files before it dials."""
    if not path:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise System(f'could not read {what} "{path}": open {path}: {reason}') from error
