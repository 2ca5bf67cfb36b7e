"""The carrier: carries one container's output from the shim to a remote logging driver's server.

A process of its own, so that it may wait for a network as long as it takes: what it does not read holds up the program
(in blocking mode) and nothing else. It ends with the channel. What its server does not take in time is lost there, and
counted; `docker logs` reads the copy that the shim keeps.
"""

import _socket
import ctypes
import os
import select
import time

from onggi.linux import process
from onggi.runtime.logs.long_line import LongLine, LongLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Driver(Protocol):
        attempts: "int | None"
        """How often a batch is tried; None: until it has arrived."""
        wait_s: float
        """Between two attempts."""
        begins_connected: bool
        """The container does not start while the server can't be reached."""

        def connect(self) -> None:
            """Reach the server. Raises OSError, `strerror` in Docker's words."""

        def send(self, records: "list[Record]") -> None:
            """Send them, connecting first where it is not. Raises OSError; then the connection is closed."""


_NAME = ctypes.create_string_buffer(b"onggi-log")
_PACKET = 65536
_REST_S = 1.0
"""For how long a server that did not answer is left alone; and before a carrier that has died begins anew."""
_LAST_S = 10.0
"""How long after the channel's end records are still tried (as dockerd: loggerCloseTimeout)."""


class Record:
    """One line, or a piece of a long one."""

    __slots__ = ("last", "line", "piece", "stream", "time_ns")

    def __init__(self, stream: str, time_ns: int, line: bytes, piece: "LongLine | None", *, last: bool) -> None:
        self.stream = stream
        self.time_ns = time_ns if piece is None else piece.time_ns
        """Nanoseconds since 1970; of a long line's pieces, when the first was written."""
        self.line = line
        """Without its newline."""
        self.piece = piece
        """The long line it belongs to, numbered; None for a whole line."""
        self.last = last
        """It has its end."""


def serve(channel: int, order: "dict[str, Any]", told: int, *, first: bool) -> None:
    """Carry until the channel ends. On the pipe `told` says why the driver can't begin; nothing: it has begun."""
    process.prctl(process.PR_SET_NAME, ctypes.addressof(_NAME))
    driver = _driver(order)
    if not first:
        time.sleep(_REST_S)  # it has died once: not as fast as it can
    elif driver.begins_connected:
        try:
            driver.connect()
        except OSError as error:
            os.write(told, (error.strerror or str(error)).encode("utf-8", "replace"))
            return
    os.close(told)
    socket = _socket.socket(fileno=channel)
    records = Records()
    delivery = Delivery(driver, ended=lambda: _ended(channel))
    while packet := socket.recv(_PACKET):
        delivery.send(records.unpack(packet))
    if delivery.lost:
        _say(f"{delivery.lost} lines did not reach the {order['driver']} server")


class Records:
    """Turns the channel's packets into records."""

    def __init__(self) -> None:
        self._long_lines = LongLines()

    def unpack(self, packet: bytes) -> "list[Record]":
        stream = "stdout" if packet[:1] == b"1" else "stderr"
        time_ns = int.from_bytes(packet[1:9], "little")
        ended = packet.endswith(b"\n")
        lines = packet[9 : -1 if ended else None].split(b"\n")
        found = []
        for number, line in enumerate(lines):
            last = ended or number < len(lines) - 1
            found.append(Record(stream, time_ns, line, self._long_lines.piece(stream, time_ns, last=last), last=last))
        return found


class Delivery:
    """Tries as often as the driver says; then leaves its server alone for a while, and the records are lost to it."""

    def __init__(self, driver: "Driver", *, ended: "Callable[[], bool]") -> None:
        """`ended`: the channel has ended; what is not delivered soon never is."""
        self._driver = driver
        self._ended = ended
        self._give_up_at: "float | None" = None
        self._rests_until = 0.0
        self.lost = 0
        """Records."""

    def send(self, records: "list[Record]") -> None:
        if time.monotonic() < self._rests_until:
            self.lost += len(records)
            return
        attempt = 0
        while True:
            try:
                self._driver.send(records)
                return
            except OSError as error:
                attempt += 1
                exhausted = self._driver.attempts is not None and attempt >= self._driver.attempts
                if exhausted or self._too_late():
                    _say(error.strerror or str(error))
                    self.lost += len(records)
                    self._rests_until = time.monotonic() + _REST_S
                    return
            time.sleep(self._driver.wait_s)

    def _too_late(self) -> bool:
        if self._give_up_at is None and self._ended():
            self._give_up_at = time.monotonic() + _LAST_S
        return self._give_up_at is not None and time.monotonic() > self._give_up_at


def _ended(channel: int) -> bool:
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


def _say(text: str) -> None:
    """To the daemon's log."""
    os.write(2, f"onggi-log: {text}\n".encode("utf-8", "replace"))


def _driver(order: "dict[str, Any]") -> "Driver":
    match order["driver"]:
        case "syslog":
            from onggi.runtime.logs.syslog import Syslog

            return Syslog(order)
        case "gelf":
            from onggi.runtime.logs.gelf import Gelf

            return Gelf(order)
        case "fluentd":
            from onggi.runtime.logs.fluentd import Fluentd

            return Fluentd(order)
        case "journald":
            from onggi.runtime.logs.journald import Journald

            return Journald(order)
        case other:
            raise ValueError(f"no such driver: {other}")
