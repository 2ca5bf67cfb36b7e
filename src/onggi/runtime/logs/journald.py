"""The `journald` driver: systemd's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), one datagram an entry; what is
too long for a datagram goes as a sealed file in memory."""

import _socket
import array
import errno
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.logs.carrier import Record

_PRIORITIES = {"stdout": b"6", "stderr": b"3"}
_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_F_ADD_SEALS = 1033


class Journald:
    attempts: "int | None" = 2
    wait_s = 0.1
    begins_connected = True

    def __init__(self, order: "dict[str, Any]") -> None:
        self._path: str = order["path"]
        self._fields = b"".join(
            field(name, value.encode("utf-8", "replace")) for name, value in order["fields"].items()
        )
        self._epoch = order["epoch"].encode("ascii")
        self._ordinal = 0
        self._socket: "_socket.socket | None" = None

    def connect(self) -> None:
        socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            socket.connect(self._path)
        except OSError as error:
            socket.close()
            raise OSError(error.errno, "journald is not enabled on this host") from error
        self._socket = socket

    def send(self, records: "list[Record]") -> None:
        try:
            if self._socket is None:
                self.connect()
            while records:  # each is taken off once sent: a second attempt repeats none
                self._send(self.encode(records[0]))
                del records[0]
                self._ordinal += 1
        except OSError:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            raise

    def encode(self, record: "Record") -> bytes:
        entry = self._fields
        entry += field("PRIORITY", _PRIORITIES[record.stream]) + field("MESSAGE", record.line)
        second, fraction = divmod(record.time_ns, 1_000_000_000)
        entry += field("SYSLOG_TIMESTAMP", rfc3339(second, fraction))
        entry += field("CONTAINER_LOG_EPOCH", self._epoch)
        entry += field("CONTAINER_LOG_ORDINAL", b"%d" % (self._ordinal + 1))
        if record.piece is not None:
            if not record.last:
                entry += field("CONTAINER_PARTIAL_MESSAGE", b"true")
            entry += field("CONTAINER_PARTIAL_ID", record.piece.id.encode("ascii"))
            entry += field("CONTAINER_PARTIAL_ORDINAL", b"%d" % record.piece.ordinal)
            entry += field("CONTAINER_PARTIAL_LAST", b"true" if record.last else b"false")
        return entry

    def _send(self, entry: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.send(entry)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            file = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                written = 0
                while written < len(entry):
                    written += os.write(file, entry[written:])
                fcntl.fcntl(file, _F_ADD_SEALS, _SEALS)
                rights = array.array("i", [file])
                self._socket.sendmsg([b""], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            finally:
                os.close(file)


def field(name: str, value: bytes) -> bytes:
    """NAME=value; a value with newlines behind its length instead."""
    head = name.encode("ascii")
    if b"\n" in value:
        return head + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return head + b"=" + value + b"\n"


def rfc3339(second: int, fraction: int) -> bytes:
    """The nanoseconds without the zeros at their end, as Go's RFC3339Nano."""
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + digits + "Z").encode("ascii")
