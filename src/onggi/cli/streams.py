"""An attached container's streams: the hijacked connection, standard input and output, signals, in one loop.

Everything is waited for at one place (`select.poll`, on Windows `select.select`), so nothing is polled and a signal is
seen wherever the client waits: the wake-up descriptor of `signals.Signals` is among what is waited for.
"""

import sys

from onggi.cli import system, terminal
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.connection import Connection

_DRAIN_S = 2.0
"""How long output may keep silent after the container has ended, before its stream is given up."""


class Signals:
    """Catches signals for as long as it is entered, and hands them out one by one.

    `wanted` tells which; the numbers arrive in `arrived()` after `fileno()` has become readable.
    """

    __slots__ = ("_before", "_reader", "_wake", "_wanted", "_writer")

    def __init__(self, wanted: "list[int]") -> None:
        self._wanted = wanted
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        from onggi.cli import signals

        self._reader, self._writer = system.pipe()
        system.set_blocking(self._reader, False)
        system.set_blocking(self._writer, False)
        self._wake = signals.wake(self._writer)
        for number in self._wanted:
            self._before[number] = signals.handle(number, lambda number, frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        from onggi.cli import signals

        for number, handler in self._before.items():
            signals.handle(number, handler)  # type: ignore[arg-type]
        signals.wake(self._wake)
        system.close(self._reader)
        system.close(self._writer)

    def fileno(self) -> int:
        return self._reader

    def arrived(self) -> "list[int]":
        try:
            return [number for number in system.read(self._reader, 512) if number in self._before]
        except BlockingIOError:
            return []


def forwarded() -> "list[int]":
    """The signals that go on to the container: all that a program can catch, but those about our own children, pipes
    and window, and those that mean a fault of ours."""
    from onggi.cli import signals

    if sys.platform == "win32":
        return [signals.SIGINT, signals.SIGTERM]
    kept = {"CHLD", "PIPE", "KILL", "STOP", "WINCH", "URG", "SEGV", "BUS", "FPE", "ILL", "TRAP", "STKFLT", "SYS"}
    return [number for number, name in signals.names().items() if name not in kept]


class Output:
    """Where the container's output goes: two descriptors, and frames taken apart where it is framed."""

    __slots__ = ("_framed", "_rest")

    def __init__(self, *, framed: bool) -> None:
        self._framed = framed
        self._rest = b""

    def write(self, data: bytes) -> None:
        if not self._framed:
            _write_all(1, data)
            return
        data = self._rest + data
        at = 0
        pieces: list[bytes] = []
        target = 1
        while len(data) - at >= 8:
            size = int.from_bytes(data[at + 4 : at + 8], "big")
            if len(data) - at - 8 < size:
                break
            stream = 2 if data[at] in (2, 3) else 1
            if stream != target and pieces:
                _write_all(target, b"".join(pieces))
                pieces = []
            target = stream
            pieces.append(data[at + 8 : at + 8 + size])
            at += 8 + size
        if pieces:
            _write_all(target, b"".join(pieces))
        self._rest = data[at:]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[system.write(descriptor, view) :]
        except BrokenPipeError:
            raise Failure(f"write /dev/{'stderr' if descriptor == 2 else 'stdout'}: broken pipe") from None
        except BlockingIOError:  # somebody else made our terminal non-blocking
            import select

            select.select([], [descriptor], [])


def wait_readable(descriptors: "list[int]", timeout_s: "float | None") -> "list[int]":
    """Those of `descriptors` that can be read now, or have ended. Waits for one of them, or for the time to pass."""
    import select

    if not hasattr(select, "poll"):
        return select.select(descriptors, [], [], timeout_s)[0]
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


class Session:
    """One attached stream. `carry` runs until it ends; the callables say what signals and the end of input mean."""

    def __init__(
        self,
        connection: "Connection",
        *,
        stdin: bool,
        output: bool,
        tty: bool,
        keys: bytes = terminal.DEFAULT_KEYS,
        signals: "Signals | None" = None,
        on_signal: "Callable[[int], None] | None" = None,
        ended: "Connection | None" = None,
    ) -> None:
        self._connection = connection
        self._stdin = stdin
        self._output = output
        self._tty = tty
        self._keys = terminal.KeySequence(keys if tty else b"")
        self._signals = signals
        self._on_signal = on_signal
        self._ended = ended

    def carry(self) -> bool:
        """Until the stream ends. False where the user typed the detach keys: the container goes on."""
        raw = self._stdin and self._tty and terminal.is_terminal(0)
        sys.stdout.flush()
        if not raw:
            return self._carry()
        with terminal.Raw(0):
            return self._carry()

    def _input(self) -> int:
        if not self._stdin:
            return -1
        return _bridge_console() if sys.platform == "win32" else 0

    def _carry(self) -> bool:
        output = Output(framed=not self._tty)
        socket = self._connection.fileno()
        source = self._input()
        wake = self._signals.fileno() if self._signals else -1
        ended = self._ended.fileno() if self._ended else -1
        if self._connection.ahead:
            output.write(self._connection.receive())
        over = bool(self._ended and self._ended.ahead)  # it came together with the head of the answer
        while True:
            waited = [number for number in (socket, source, wake, ended) if number >= 0]
            pending = getattr(self._connection.socket, "pending", None)  # TLS has read ahead of us
            ready = [socket] if pending is not None and pending() else wait_readable(waited, _DRAIN_S if over else None)
            if not ready:
                return True
            if wake in ready and self._signals and self._on_signal:
                for number in self._signals.arrived():
                    self._on_signal(number)
            if socket in ready:
                data = self._receive()
                if not data:
                    return True
                if self._output:
                    output.write(data)
            if source in ready and source >= 0:
                source = self._pass_input(source)
                if source == _DETACHED:
                    return False
            if ended in ready and ended >= 0:
                over, ended, source = True, -1, -1

    def _receive(self) -> bytes:
        try:
            return self._connection.receive()
        except ConnectionResetError:
            return b""

    def _pass_input(self, source: int) -> int:
        """Read and pass on. Returns the descriptor to read from next: -1 at the end of input."""
        try:
            data = system.read(source, 65536)
        except OSError:  # EIO: the terminal is gone, or we are in the background
            data = b""
        if not data:
            self._connection.close_writing()
            return -1
        data, detached = self._keys.feed(data)
        if data:
            try:
                self._connection.socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                return -1
        return _DETACHED if detached else source


_DETACHED = -2


def _bridge_console() -> int:
    """Windows can wait for sockets only: a thread copies standard input into one."""
    import _socket
    import _thread
    import socket

    ours, theirs = socket.socketpair()

    def copy() -> None:
        while data := system.read(0, 65536):
            theirs.sendall(data)
        theirs.shutdown(_socket.SHUT_WR)

    _thread.start_new_thread(copy, ())
    return ours.detach()
