"""The `syslog` driver: RFC 3164, RFC 5424 and what Unix daemons write to /dev/log, over what `transport` connects."""

import errno
import os
import time

from onggi.runtime.logs.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.logs.carrier import Record

LOCAL_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Where the machine's own syslog may listen, by datagrams or by a stream."""
_SEVERITIES = {"stdout": 6, "stderr": 3}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Syslog:
    attempts: "int | None" = 2
    wait_s = 0.0
    begins_connected = True

    def __init__(self, order: "dict[str, Any]") -> None:
        self._order = order
        self._format: str = order["format"]
        self._facility: int = order["facility"]
        # A tag may show an image's label: it must not begin a record of its own.
        self._tag = "".join(letter if letter.isprintable() else "?" for letter in order["tag"])
        self._hostname: str = order["hostname"]
        self._pid = os.getpid()
        self._transport = Transport(order) if order["network"] else None
        # RFC 5425: over TLS the length stands before each message.
        self._counted = order["network"] == "tcp+tls" and self._format.startswith("rfc5424")

    def connect(self) -> None:
        if self._order["network"]:
            assert self._transport is not None
            self._transport.connect()
            return
        for network in ("unixgram", "unix"):
            for path in LOCAL_SOCKETS:
                local = Transport({"network": network, "path": path})
                try:
                    local.connect()
                except OSError:
                    continue  # not this one
                self._transport = local
                return
        raise OSError(errno.ECONNREFUSED, "Unix syslog delivery error")

    def send(self, records: "list[Record]") -> None:
        if self._transport is None:
            self.connect()
        assert self._transport is not None
        self._transport.send([self.encode(record) for record in records if record.line])  # as Docker: no empty lines

    def encode(self, record: "Record") -> bytes:
        head = self._head(self._facility | _SEVERITIES[record.stream], record.time_ns)
        text = head.encode("utf-8", "replace") + record.line + b"\n"
        return b"%d %s" % (len(text), text) if self._counted else text

    def _head(self, priority: int, time_ns: int) -> str:
        second = time_ns // 1_000_000_000
        at = time.localtime(second)
        if self._format in ("", "rfc3164"):
            stamp = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
            host = f"{self._hostname} " if self._format else ""
            return f"<{priority}>{stamp} {host}{self._tag}[{self._pid}]: "
        fraction = f".{time_ns // 1000 % 1_000_000:06d}" if self._format == "rfc5424micro" else ""
        minutes = abs(at.tm_gmtoff) // 60
        sign = "-" if at.tm_gmtoff < 0 else "+"
        zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "Z"
        stamp = f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
        return f"<{priority}>1 {stamp}{fraction}{zone} {self._hostname} {self._tag} {self._pid} {self._tag} - "
