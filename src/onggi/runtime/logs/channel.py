"""The shim's end of what goes to a remote logging driver. The other end is a process of its own, the carrier, which may
wait for networks as it likes; it is forked here, and forked anew when it has died.

    record()  ──►  (waiting)  ──►  SEQPACKET socket  ──►  carrier

Each message is a moment's output of one stream: "1" or "2" (stdout, stderr), the nanoseconds since 1970 as eight bytes,
little end first, and one of the parts that `ContainerLog` makes. We hold the carrier's end open too, so that what it
has not read outlives it.

In blocking mode the program waits while something is waiting here. In non-blocking mode up to `buffer_bytes` wait, and
what comes on top is lost and counted (moby: daemon/logger/ring.go).
"""

import _socket
import os
import sys
from _collections import deque

from onggi.linux import message, process
from onggi.runtime.poll import OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.linux.fd import Fd
    from onggi.runtime.poll import Poll

_WITHOUT_CARRIER_BYTES = 1 << 20
"""How much waits in blocking mode while no carrier can be forked."""
_FLUSH_S = 10
"""How long after the program's end the carrier may take to take what is waiting here (as dockerd: loggerCloseTimeout)."""


class RemoteRefused(OSError):
    """The driver can't begin: its server refuses or can't be found. `strerror` says why, in Docker's words."""


class Channel:
    """`record`, then `close`. `drained` is called whenever nothing is waiting any more."""

    __slots__ = ("_buffer_bytes", "_carrier", "_dropped", "_order", "_ours", "_poll", "_theirs", "_waiting",
                 "_waiting_bytes", "drained")  # fmt: skip

    def __init__(self, order: "dict[str, Any]", buffer_bytes: "int | None", poll: "Poll") -> None:
        """`buffer_bytes`: how much may wait in non-blocking mode; None: blocking. Raises RemoteRefused, OSError."""
        self._order = order
        self._buffer_bytes = buffer_bytes
        self._poll = poll
        self._waiting: "deque[bytes]" = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self.drained: "Callable[[], None] | None" = None
        self._ours, self._theirs = message.pair()
        try:
            self._carrier = self._fork(first=True)
        except OSError:
            self._ours.close()
            self._theirs.close()
            raise
        os.set_blocking(self._ours.fileno(), False)

    @property
    def full(self) -> bool:
        return self._buffer_bytes is None and bool(self._waiting) and self._carrier != 0

    def record(self, stream: str, parts: "list[bytes]", time_ns: int) -> None:
        if not self._carrier:
            self._begin_anew()
        head = (b"1" if stream == "stdout" else b"2") + time_ns.to_bytes(8, "little")
        for part in parts:
            self._put(head + part)

    def _put(self, packet: bytes) -> None:
        if not self._waiting:
            try:
                os.write(self._ours.fileno(), packet)
                return
            except OSError:  # full, or the kernel has no memory just now
                self._poll.watch(self._ours.fileno(), OUT, self._writable)
        limit = _WITHOUT_CARRIER_BYTES if self._buffer_bytes is None and not self._carrier else self._buffer_bytes
        if limit is not None and self._waiting and self._waiting_bytes + len(packet) > limit:
            self._dropped += 1
            return
        self._waiting.append(packet)
        self._waiting_bytes += len(packet)

    def _writable(self, descriptor: int, events: int) -> None:
        try:
            while self._waiting:
                os.write(descriptor, self._waiting[0])
                self._waiting_bytes -= len(self._waiting.popleft())
        except OSError:
            return
        self._poll.unwatch(descriptor)
        if self.drained is not None:
            self.drained()

    def child_ended(self, pid: int) -> None:
        if pid == self._carrier:
            print("onggi-shim: the process that carries the log has died; begun anew", file=sys.stderr, flush=True)
            self._begin_anew()

    def _begin_anew(self) -> None:
        try:
            self._carrier = self._fork(first=False)
        except OSError as error:
            self._carrier = 0  # the program goes on; the next output tries again
            print(f"onggi-shim: no process to carry the log: {error.strerror}", file=sys.stderr, flush=True)
            if self.drained is not None:
                self.drained()

    def close(self) -> None:
        """The carrier reads to the end of the channel and ends; a child sees to what is still waiting here, so that
        nobody waits for it."""
        if self._dropped:
            print(f"onggi-shim: {self._dropped} parts of a log found its buffer full", file=sys.stderr, flush=True)
        self._theirs.close()
        if self._waiting:
            self._poll.unwatch(self._ours.fileno())
            if os.fork() == 0:
                self._flush()
        self._ours.close()

    def _flush(self) -> None:
        """In the child; never returns."""
        try:
            _only(self._ours)
            socket = _socket.socket(fileno=self._ours.take())
            socket.settimeout(_FLUSH_S)
            while self._waiting:
                socket.send(self._waiting.popleft())
        except OSError:
            os.write(2, b"onggi-shim: the end of a log was not taken in time\n")
        finally:
            os._exit(0)

    def _fork(self, *, first: bool) -> int:
        """Begin a carrier. `first`: wait until it has reached its server, and raise RemoteRefused when it can't."""
        told, tell = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _only(self._theirs, tell)
                from onggi.runtime.logs import carrier

                carrier.serve(self._theirs.take(), self._order, tell, first=first)
                status = 0
            except BaseException as error:
                # Like the shim, the carrier never leaves the host's root: a traceback may be printed.
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(status)
        os.close(tell)
        try:
            refused = b""
            while first and (piece := os.read(told, 4096)):
                refused += piece
        finally:
            os.close(told)
        if refused:
            os.waitpid(pid, 0)
            raise RemoteRefused(0, refused.decode("utf-8", "replace"))
        return pid


def _only(*kept: "Fd | int") -> None:
    """In a child: close every descriptor but these and 0, 1, 2. A pipe's or client's end must not live on with it."""
    numbers = sorted(number if isinstance(number, int) else number.fileno() for number in kept)
    begin = 3
    for number in numbers:
        process.close_from(begin, number - 1)
        begin = number + 1
    process.close_from(begin)
