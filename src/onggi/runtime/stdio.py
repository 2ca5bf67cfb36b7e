"""A container's standard streams in the shim: pipes or a terminal, the log, and the clients attached to them.

    program's stdout, stderr ──► log
                            └──► each client that wants the stream
    program's stdin ◄── each client that types

The program is never held up by a log in files, nor by a client that reads slowly until that one's spool is full. It is
held up by a remote logging driver in blocking mode, and as it would be by a pipe when it writes faster than the shim can
read. Clients are held up while the program does not
read its stdin.
"""

import fcntl
import os
import sys

from onggi.linux.terminal import set_size
from onggi.runtime.client import Client
from onggi.runtime.poll import GONE, IN, OUT, Poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.runtime.logs.container_log import ContainerLog

_CHUNK = 65536
_TIOCGPTPEER = 0x5441


class Stdio:
    """The shim's ends of the streams. `prepare`, then `begin` when the program runs, then `finish` when it has ended.

    `detached` is called when a client has used its detach keys, `abandoned` when the last one has left in another way.
    """

    __slots__ = (
        "_abandoned",
        "_clients",
        "_closing_stdin",
        "_console",
        "_detached",
        "_input",
        "_poll",
        "_sources",
        "_stdin",
        "_stdin_once",
        "_theirs",
        "_typed",
        "log",
    )

    def __init__(
        self,
        poll: Poll,
        *,
        open_stdin: bool,
        stdin_once: bool,
        detached: "Callable[[], None]",
        abandoned: "Callable[[], None] | None" = None,
    ) -> None:
        self._poll = poll
        self.log: "ContainerLog | None" = None
        """Where the output is recorded; ours to close."""
        self._input = open_stdin
        self._stdin_once = stdin_once
        self._detached = detached
        self._abandoned = abandoned
        self._clients: "list[Client]" = []
        self._sources: "dict[int, str]" = {}
        self._theirs: "list[int]" = []
        self._console = -1
        self._stdin = -1
        self._typed = b""
        self._closing_stdin = False

    def prepare(self) -> "dict[str, int]":
        """Make the pipes of a program without a terminal. Returns its ends, which stay ours until `begin`."""
        if self._input:
            stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        stdout_ours, stdout = os.pipe2(os.O_CLOEXEC)
        stderr_ours, stderr = os.pipe2(os.O_CLOEXEC)
        self._sources = {stdout_ours: "stdout", stderr_ours: "stderr"}
        self._theirs = [stdin, stdout, stderr]
        return {"stdin": stdin, "stdout": stdout, "stderr": stderr}

    def begin(self, console: int = -1) -> None:
        """The program runs: carry its streams. `console`: the master of its terminal, ours from now on."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs = []
        if console >= 0:
            # Held open, the other side never tells "hung up" while the program has its terminal closed for a while.
            self._theirs = [fcntl.ioctl(console, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)]
            self._console = console
            self._sources = {console: "stdout"}
            if self._input:
                self._stdin = console
        for descriptor in self._sources:
            os.set_blocking(descriptor, False)
        if self.log is not None:
            self.log.when_not_full(self._watch_sources)
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
        self._watch_sources()

    def attach(self, client: Client, initial: bytes, received: bytes) -> None:
        """A client joins: it gets `initial`, then what the program writes from now on; `received` is its first input."""
        self._clients.append(client)
        try:
            if initial:
                client.send(initial)
        except OSError:
            self._drop(client)
            return
        self._watch_client(client)
        if received and client.stdin:
            self._type(client, received)

    def resize(self, rows: int, columns: int) -> None:
        """Nothing happens without a terminal."""
        if self._console >= 0:
            set_size(self._console, rows, columns)

    def finish(self) -> None:
        """The program has ended: take what it has left in its pipes, close all streams, let each client go when it
        has got everything."""
        for descriptor in list(self._sources):
            # What the program wrote is all there. A process elsewhere that was handed the pipe may write for ever:
            # that is not waited for.
            while descriptor in self._sources:
                data = _read(descriptor)
                if not data:
                    self._close_source(descriptor)
                else:
                    self._deliver(self._sources[descriptor], data)
        self._close_stdin()
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs = []
        if self.log is not None:
            self.log.close()
            if self.log.lost:
                print(f"onggi-shim: the disk refused {self.log.lost} bytes of a log", file=sys.stderr, flush=True)
            self.log = None
        self._abandoned = None
        for client in list(self._clients):
            self._let_go(client)

    # The program's output

    def _watch_sources(self) -> None:
        held = any(client.full for client in self._clients) or (self.log is not None and self.log.full)
        for descriptor in self._sources:
            events = 0 if held else IN
            if descriptor == self._stdin and self._typed:
                events |= OUT
            if events:
                self._poll.watch(descriptor, events, self._source_ready)
            else:
                self._poll.unwatch(descriptor)  # a pipe without writers would wake us all the time

    def _source_ready(self, descriptor: int, events: int) -> None:
        if events & (IN | GONE):
            data = _read(descriptor)
            if data:
                self._deliver(self._sources[descriptor], data)
            elif data is not None:
                self._close_source(descriptor)
                return
        if events & OUT:
            self._write_stdin(blocked=True)

    def _deliver(self, stream: str, data: bytes) -> None:
        if self.log is not None:
            self.log.write(stream, data)
            if self.log.full:
                self._watch_sources()
        for client in list(self._clients):
            waited = client.waiting
            try:
                client.output(stream, data)
            except OSError:
                self._drop(client)
                continue
            if client.waiting and not waited:
                self._watch_client(client)
            if client.full:
                self._watch_sources()

    def _close_source(self, descriptor: int) -> None:
        stream = self._sources.pop(descriptor)
        self._poll.unwatch(descriptor)
        if descriptor == self._stdin:
            self._stdin = -1
            self._typed = b""
        os.close(descriptor)
        if self.log is not None:
            # An unfinished line is recorded at the end: what the program wrote elsewhere until then comes before it.
            for other, name in list(self._sources.items()):
                if data := _read(other):
                    self._deliver(name, data)
            self.log.end(stream)

    # The program's input

    def _type(self, client: Client, data: bytes) -> None:
        data, detached = client.typed(data)
        if data and self._stdin >= 0 and not self._closing_stdin:
            blocked = bool(self._typed)
            self._typed += data
            self._write_stdin(blocked=blocked)
        if detached:
            self._abandoned = None  # who detaches wants it to go on
            self._let_go(client)
            self._detached()

    def _write_stdin(self, *, blocked: bool) -> None:
        try:
            self._typed = self._typed[os.write(self._stdin, self._typed) :]
        except BlockingIOError:
            pass  # its pipe is full: poll tells when it has read
        except OSError:
            # It has closed its stdin and does not want the rest.
            self._typed = b""
            self._closing_stdin = True
        if blocked != bool(self._typed):
            self._watch_stdin()
        if self._closing_stdin and not self._typed:
            self._close_stdin()

    def _watch_stdin(self) -> None:
        if self._stdin in self._sources:
            self._watch_sources()
        elif self._stdin >= 0:
            if self._typed:
                self._poll.watch(self._stdin, OUT, self._stdin_ready)
            else:
                self._poll.unwatch(self._stdin)
        for client in self._clients:
            self._watch_client(client)

    def _stdin_ready(self, descriptor: int, events: int) -> None:
        self._write_stdin(blocked=True)

    def _end_stdin(self) -> None:
        """The client that typed has ended: the program reads what is still on its way, then the end."""
        self._closing_stdin = True
        if not self._typed:
            self._close_stdin()

    def _close_stdin(self) -> None:
        if self._stdin >= 0 and self._stdin not in self._sources:
            self._poll.unwatch(self._stdin)
            os.close(self._stdin)
        self._stdin = -1
        self._typed = b""

    # The clients

    def _watch_client(self, client: Client) -> None:
        events = OUT if client.waiting else 0
        if client.stdin and not self._typed:
            events |= IN
        self._poll.watch(client.descriptor, events, self._client_ready)

    def _client_ready(self, descriptor: int, events: int) -> None:
        client = next(client for client in self._clients if client.descriptor == descriptor)
        try:
            if events & OUT:
                held = client.full
                client.flush()
                if not client.waiting:
                    if client.finishing:
                        self._drop(client)
                        return
                    self._watch_client(client)
                if held and not client.full:
                    self._watch_sources()
            if events & IN:
                self._read_client(client)
            elif events & GONE:
                self._drop(client)
        except OSError:
            self._drop(client)

    def _read_client(self, client: Client) -> None:
        data = client.read()
        if data:
            self._type(client, data)
        elif data is not None:
            client.stdin = False
            if self._stdin_once and self._console < 0:
                self._end_stdin()
                self._watch_client(client)
            else:
                self._let_go(client)  # as Docker: who attached to type, and ends typing, ends the attachment

    def _let_go(self, client: Client) -> None:
        client.stdin = False
        client.finishing = True
        if client.waiting:
            self._watch_client(client)
        else:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        """Close a client's connection, whatever is queued for it."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._poll.unwatch(client.descriptor)
        held = client.full
        typed = client.stdin
        client.close()
        if typed and self._stdin_once and self._console < 0:
            self._end_stdin()
        if held:
            self._watch_sources()
        if self._abandoned is not None and not self._clients:
            self._abandoned()


def _read(descriptor: int) -> "bytes | None":
    """What is there now; None: nothing yet; b"": the end."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:  # EIO: a terminal whose other side is closed
        return b""
