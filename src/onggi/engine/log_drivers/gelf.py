"""Options of the `gelf` driver."""

import socket
from collections.abc import Mapping
from typing import Any

from onggi.engine.log_drivers.subject import CHOICES, Subject
from onggi.engine.log_drivers.values import Address, address, number
from onggi.errors import InvalidParameter
from onggi.template.json import dumps

_COMPRESSION = ("gelf-compression-type", "gelf-compression-level")
_TCP = ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay")
OPTIONS = CHOICES | {"gelf-address", *_COMPRESSION, *_TCP}
_FASTEST = 1
_RECONNECTS = 3
_DELAY_S = 1


def check(options: Mapping[str, str]) -> None:
    server = _server(options)
    if server.scheme == "tcp" and any(name in options for name in _COMPRESSION):
        raise InvalidParameter("compression is only supported on UDP")
    for name in _TCP:
        if name in options and server.scheme == "udp":
            raise InvalidParameter(f'"{name}" is only valid for TCP')
        if name in options and (not options[name].isdigit() or len(options[name]) > 9):
            raise InvalidParameter(f'"{name}" must be a positive integer')
    level = options.get("gelf-compression-level", "0")
    if level not in ("-1", *"0123456789"):
        raise _unknown("gelf-compression-level", level)
    if options.get("gelf-compression-type", "gzip") not in ("gzip", "zlib", "none"):
        raise _unknown("gelf-compression-type", options["gelf-compression-type"])


def compile(options: Mapping[str, str], subject: Subject) -> dict[str, Any]:
    server = _server(options)
    container = subject.container
    extra = {
        "_command": subject.command,
        "_container_id": container.id,
        "_container_name": container.name,
        "_created": container.created_at.isoformat().replace("+00:00", "Z"),
        "_image_id": container.image_id,
        "_image_name": container.image_name,
        "_tag": subject.tag(),
        **subject.attributes(lambda name: name if name.startswith("_") else "_" + name),
    }
    return {
        "driver": "gelf",
        "network": server.scheme,
        "host": server.host,
        "port": server.port,
        "hostname": socket.gethostname(),
        "extra": extra,
        "compression": options.get("gelf-compression-type", "gzip"),
        "level": number(options.get("gelf-compression-level", str(_FASTEST))),
        "reconnects": number(options.get("gelf-tcp-max-reconnect", str(_RECONNECTS))),
        "delay_s": number(options.get("gelf-tcp-reconnect-delay", str(_DELAY_S))),
    }


def _unknown(name: str, value: str) -> InvalidParameter:
    return InvalidParameter(f"unknown value {dumps(value)} for log opt {dumps(name)} for gelf log driver")


def _server(options: Mapping[str, str]) -> Address:
    text = options.get("gelf-address", "")
    if not text:
        raise InvalidParameter("gelf-address is a required parameter")
    server = address(text)
    if server.scheme not in ("udp", "tcp"):
        raise InvalidParameter("gelf: endpoint needs to be TCP or UDP")
    if server.port is None:
        raise InvalidParameter("gelf: please provide gelf-address as proto://host:port")
    return server
