"""The `fluentd` driver: Fluentd's forward protocol, version 1, message mode, in MessagePack
(https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1)."""

import errno
import os
import time

from onggi.runtime.logs.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.logs.carrier import Record


class Fluentd:
    def __init__(self, order: "dict[str, Any]") -> None:
        self._transport = Transport(order, send_s=order["write_timeout_s"] or None)
        self._tag: bytes = text(order["tag"].encode("utf-8", "replace"))
        self._common: "dict[str, str]" = order["common"]
        self._exact: bool = order["sub_second_precision"]
        self._acknowledged: bool = order["request_ack"]
        self.attempts: "int | None" = order["max_retries"] + 1
        self.wait_s: float = order["retry_wait_s"]
        self.begins_connected: bool = not order["async"]
        self._renew_s: float = order["reconnect_interval_s"]
        self._connected_at = 0.0

    def connect(self) -> None:
        self._transport.connect()
        self._connected_at = time.monotonic()

    def send(self, records: "list[Record]") -> None:
        if self._renew_s and time.monotonic() > self._connected_at + self._renew_s:
            self.connect()  # its name may stand for another address by now
        if not self._acknowledged:
            self._transport.send([self.encode(record) for record in records])
            return
        while records:  # each is taken off once its receipt is there: a second attempt repeats none that has arrived
            chunk = os.urandom(16).hex().encode("ascii")
            self._transport.send([self.encode(records[0], chunk)])
            if text(chunk) not in self._transport.receive():
                self._transport.close()
                raise OSError(errno.EPROTO, "fluentd: the server's acknowledgement is not ours")
            del records[0]

    def encode(self, record: "Record", chunk: "bytes | None" = None) -> bytes:
        values: "dict[str, bytes]" = {
            "container_id": self._common["container_id"].encode("utf-8", "replace"),
            "container_name": self._common["container_name"].encode("utf-8", "replace"),
            "source": record.stream.encode("ascii"),
            "log": record.line,
        }
        values.update({name: value.encode("utf-8", "replace") for name, value in self._common.items()})
        if record.piece is not None:
            values["partial_message"] = b"true"
            values["partial_id"] = record.piece.id.encode("ascii")
            values["partial_ordinal"] = b"%d" % record.piece.ordinal
            values["partial_last"] = b"true" if record.last else b"false"
        body = b"".join(text(name.encode("utf-8", "replace")) + text(value) for name, value in values.items())
        options = b"\x80" if chunk is None else b"\x81" + text(b"chunk") + text(chunk)
        return b"\x94" + self._tag + self._time(record) + _map(len(values)) + body + options

    def _time(self, record: "Record") -> bytes:
        second, fraction = divmod(record.time_ns, 1_000_000_000)
        if self._exact:
            return b"\xd7\x00" + second.to_bytes(4, "big") + fraction.to_bytes(4, "big")
        return (
            b"\xd2" + second.to_bytes(4, "big", signed=True)
            if second < 1 << 31
            else b"\xcf" + second.to_bytes(8, "big")
        )


def text(data: bytes) -> bytes:
    """A MessagePack string; bytes that are not UTF-8 are passed on as they are, as Docker does."""
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    if size < 1 << 8:
        return b"\xd9" + size.to_bytes(1, "big") + data
    if size < 1 << 16:
        return b"\xda" + size.to_bytes(2, "big") + data
    return b"\xdb" + size.to_bytes(4, "big") + data


def _map(count: int) -> bytes:
    return bytes((0x80 | count,)) if count < 16 else b"\xde" + count.to_bytes(2, "big")
