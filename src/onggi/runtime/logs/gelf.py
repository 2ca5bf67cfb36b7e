"""The `gelf` driver: Graylog Extended Log Format 1.1 (https://go2docs.graylog.org, "GELF"), over UDP or TCP."""

import errno
import os

from onggi import jsontext
from onggi.runtime.logs.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.logs.carrier import Record

_CHUNK = 1420
"""A datagram that no usual network has to cut, as Docker's."""
_CHUNK_HEAD = b"\x1e\x0f"
_MOST_CHUNKS = 128
_LEVELS = {"stdout": 6, "stderr": 3}


class Gelf:
    begins_connected = True

    def __init__(self, order: "dict[str, Any]") -> None:
        self._order = order
        self._transport = Transport(order)
        self._host: str = order["hostname"]
        self._extra: "dict[str, Any]" = order["extra"]
        self._compression: str = order["compression"]
        self._level: int = order["level"]
        self._udp = order["network"] == "udp"
        self.attempts: "int | None" = 2 if self._udp else order["reconnects"] + 1
        self.wait_s: float = 0.0 if self._udp else order["delay_s"]

    def connect(self) -> None:
        try:
            self._transport.connect()
        except OSError as error:
            where = f"{self._order['host']}:{self._order['port']}"
            raise OSError(error.errno, f"gelf: cannot connect to GELF endpoint: {where} {error.strerror}") from error

    def send(self, records: "list[Record]") -> None:
        packets: "list[bytes]" = []
        for record in records:
            if not record.line:
                continue  # GELF has no message without a text, and Docker sends none
            if self._udp:
                packets += chunks(self._compressed(self.encode(record)))
            else:
                packets.append(self.encode(record) + b"\0")
        self._transport.send(packets)

    def encode(self, record: "Record") -> bytes:
        message = {
            "version": "1.1",
            "host": self._host,
            "short_message": record.line.decode("utf-8", "replace"),
            "timestamp": record.time_ns // 1_000_000 / 1000,
            "level": _LEVELS[record.stream],
            **self._extra,
        }
        return jsontext.dumps(message).encode("ascii")

    def _compressed(self, message: bytes) -> bytes:
        if self._compression == "none":
            return message
        import zlib

        window = zlib.MAX_WBITS + (16 if self._compression == "gzip" else 0)
        deflate = zlib.compressobj(self._level, zlib.DEFLATED, window)
        return deflate.compress(message) + deflate.flush()


def chunks(message: bytes) -> "list[bytes]":
    """One datagram, or the chunks of a long message: magic, ID, number, count. Raises OSError EMSGSIZE."""
    if len(message) <= _CHUNK:
        return [message]
    size = _CHUNK - 12
    count = -(-len(message) // size)
    if count > _MOST_CHUNKS:
        raise OSError(errno.EMSGSIZE, f"gelf: a message of {len(message)} bytes needs more than {_MOST_CHUNKS} chunks")
    head = _CHUNK_HEAD + os.urandom(8)
    return [head + bytes((number, count)) + message[number * size : (number + 1) * size] for number in range(count)]
