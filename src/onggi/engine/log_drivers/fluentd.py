"""Options of the `fluentd` driver."""

from collections.abc import Mapping
from typing import Any

from onggi.engine.log_drivers.subject import CHOICES, Subject
from onggi.engine.log_drivers.values import Address, address, duration_s, number, truth
from onggi.engine.sizes import size_bytes
from onggi.errors import InvalidParameter
from onggi.template.json import dumps

OPTIONS = CHOICES | {
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
}
_HOST, _PORT = "127.0.0.1", 24224
_BUFFER_BYTES = 1024 * 1024
_RETRIES = 2**31 - 1
_RETRY_WAIT_S = 1.0
_RECONNECT_S = (0.1, 10.0)


def check(options: Mapping[str, str]) -> None:
    _settings(options)


def compile(options: Mapping[str, str], subject: Subject) -> dict[str, Any]:
    settings = _settings(options)
    container = subject.container
    common = {"container_id": container.id, "container_name": "/" + container.name, **subject.attributes()}
    return {"driver": "fluentd", "tag": subject.tag(), "common": common, **settings}


def buffer_bytes(options: Mapping[str, str]) -> int | None:
    """How much may wait where the container does not (`fluentd-async`); None: it waits."""
    if not truth(options.get("fluentd-async") or "false"):
        return None
    return size_bytes(options["fluentd-buffer-limit"]) if options.get("fluentd-buffer-limit") else _BUFFER_BYTES


def _settings(options: Mapping[str, str]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value}
    server = _server(given.get("fluentd-address", ""))
    if "fluentd-buffer-limit" in given:
        size_bytes(given["fluentd-buffer-limit"])
    return {
        "network": {"tls": "tcp+tls"}.get(server.scheme, server.scheme),
        "host": server.host,
        "port": server.port,
        "path": server.path,
        "tls": {"ca": "", "cert": "", "key": "", "skip_verify": False},
        "retry_wait_s": duration_s(given["fluentd-retry-wait"]) if "fluentd-retry-wait" in given else _RETRY_WAIT_S,
        "max_retries": number(given.get("fluentd-max-retries", str(_RETRIES)), signed=False),
        "async": truth(given.get("fluentd-async", "false")),
        "reconnect_interval_s": _reconnect_interval_s(given.get("fluentd-async-reconnect-interval", "")),
        "sub_second_precision": truth(given.get("fluentd-sub-second-precision", "false")),
        "request_ack": truth(given.get("fluentd-request-ack", "false")),
        "write_timeout_s": _write_timeout_s(given.get("fluentd-write-timeout", "")),
    }


def _reconnect_interval_s(text: str) -> float:
    if not text:
        return 0.0
    try:
        interval = duration_s(text)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid value for fluentd-async-reconnect-interval: {error}") from error
    if interval and not _RECONNECT_S[0] <= interval <= _RECONNECT_S[1]:
        raise InvalidParameter(
            f"invalid value for fluentd-async-reconnect-interval: value ({dumps(text)}) must be between 100ms and 10s"
        )
    return interval


def _write_timeout_s(text: str) -> float:
    if not text:
        return 0.0
    must = "invalid value for fluentd-write-timeout: value must be a duration"
    try:
        timeout = duration_s(text)
    except InvalidParameter as error:
        raise InvalidParameter(f"{must}: {error}") from error
    if timeout < 0:
        raise InvalidParameter(f"{must} that is non-negative")
    return timeout


def _server(text: str) -> Address:
    if not text:
        return Address("tcp", _HOST, _PORT, "")
    try:
        return _parsed(address(text if "://" in text else f"tcp://{text}"))
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid fluentd-address ({text}): {error}") from error


def _parsed(server: Address) -> Address:
    if server.scheme == "unix":
        if not server.path:
            raise InvalidParameter("path is empty")
        return server
    if server.scheme not in ("tcp", "tls"):
        raise InvalidParameter(f"unsupported scheme: '{server.scheme}'")
    if server.path:
        raise InvalidParameter("should not contain a path element")
    return Address(server.scheme, server.host or _HOST, server.port or _PORT, "")
