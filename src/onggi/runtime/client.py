"""One attached client in the shim: what it reads of the container, what it types.

The connection is the client's own socket, so a client stays attached while the daemon is dead. Output is raw with a
terminal, else in frames: stream (1 stdout, 2 stderr), three zeros, the length as 32 bits, big end first
(Docker Engine API, "Attach to a container").
"""

import _socket
import os

from onggi.runtime.spool import Spool

_CHUNK = 65536
_LEFT_READS = 64
"""A TCP client that goes on sending is not listened to for ever."""


class Client:
    """Owns `descriptor`, the client's connection (a stream socket), which is made non-blocking."""

    __slots__ = (
        "_keys",
        "_matched",
        "_socket",
        "_spool",
        "descriptor",
        "finishing",
        "framed",
        "stderr",
        "stdin",
        "stdout",
    )

    def __init__(
        self, descriptor: int, *, stdin: bool, stdout: bool, stderr: bool, framed: bool, detach_keys: bytes, spool: str
    ) -> None:
        self._socket = _socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self.descriptor = descriptor
        self.stdin = stdin
        """Its input still goes to the container."""
        self.stdout = stdout
        self.stderr = stderr
        self.framed = framed
        self.finishing = False
        """Gets what is queued and nothing more; then its connection is closed."""
        self._keys = detach_keys
        self._matched = 0
        self._spool = Spool(spool)

    @property
    def waiting(self) -> bool:
        """Something is queued: tell when the connection takes more."""
        return bool(self._spool)

    @property
    def full(self) -> bool:
        return self._spool.full

    def output(self, stream: str, data: bytes) -> None:
        """Give it what the container wrote, if it wants that stream. Raises OSError when the client is gone."""
        if self.finishing or not (self.stdout if stream == "stdout" else self.stderr):
            return
        if self.framed:
            data = (b"\x01\0\0\0" if stream == "stdout" else b"\x02\0\0\0") + len(data).to_bytes(4, "big") + data
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send or queue bytes as they are. Raises OSError when the client is gone."""
        if not self._spool:
            try:
                sent = os.write(self.descriptor, data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._spool.put(data)

    def flush(self) -> None:
        """Send of the queue what the connection takes. Raises OSError when the client is gone."""
        try:
            self._spool.send(self.descriptor)
        except BlockingIOError:
            return

    def read(self) -> "bytes | None":
        """What the client sent, b"" at its end, None when there is nothing now. Raises OSError when it is gone."""
        try:
            return os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return None

    def typed(self, data: bytes) -> "tuple[bytes, bool]":
        """Take the detach keys out of what was typed: what goes to the container, and whether the client detached.
        Keys may come in several reads; the beginning of them is held back until it is clear what they are."""
        keys = self._keys
        if not keys:
            return data, False
        out = bytearray()
        for byte in data:
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    return bytes(out), True
                continue
            # Held keys were typed after all, but for their tail that may begin the sequence anew.
            held = keys[: self._matched] + bytes((byte,))
            self._matched = next(size for size in range(len(held) - 1, -1, -1) if held.endswith(keys[:size]))
            out += held[: len(held) - self._matched]
        return bytes(out), False

    def close(self) -> None:
        """End the connection, even where the daemon holds a copy of it. What was sent still arrives: bytes that the
        client typed in vain are taken off first, since a close that leaves some would reset the connection."""
        self._spool.close()
        try:
            self._socket.shutdown(_socket.SHUT_RDWR)
            for _ in range(_LEFT_READS):
                if not self._socket.recv(_CHUNK):
                    break
        except OSError:
            pass  # the client was first
        self._socket.close()
