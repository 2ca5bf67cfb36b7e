"""The daemon's side of the launcher: start it, start it anew when it has died, hand it orders."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onggi import jsontext
from onggi.errors import System
from onggi.linux import message
from onggi.linux.fd import Fd
from onggi.linux.interpreter import sealed_interpreter
from onggi.runtime import bytecode

log = logging.getLogger(__name__)

_BOOT = "import sys; sys.path.insert(0, {root!r}); from onggi.runtime.launcher import main; main({descriptor})"


class Connection:
    """One end of a SEQPACKET pair to a shim, on the event loop.

    `heard(kind, values, descriptors)` gets each message, and owns the descriptors; `ended()` is called once, when the
    other side has closed or died.
    """

    __slots__ = ("_ended", "_heard", "_loop", "_socket")

    def __init__(
        self, socket: Fd, heard: Callable[[str, list[Any], list[Fd]], None], ended: Callable[[], None]
    ) -> None:
        os.set_blocking(socket.fileno(), False)
        self._socket = socket
        self._heard = heard
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        return self._socket.closed

    async def send(self, content: list[Any], descriptors: Sequence[Fd] = ()) -> None:
        """Raises BrokenPipeError or ConnectionResetError when the shim is gone."""
        if self._socket.closed:
            raise BrokenPipeError("the shim is gone")
        await send(self._socket, jsontext.dumps(content).encode("ascii"), descriptors)

    def close(self) -> None:
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _readable(self) -> None:
        # Until there is no more: "exited" and the end of the connection often come together.
        while not self._socket.closed:
            try:
                heard = message.receive(self._socket)
            except BlockingIOError:
                return
            except ConnectionResetError:
                heard = None
            except (OSError, ValueError) as error:
                log.error("a shim's message cannot be received: %s", error)  # no descriptors left, perhaps
                heard = None
            if heard is None:
                self.close()
                self._ended()
                return
            kind, *values = jsontext.loads(heard.payload)
            self._heard(kind, values, heard.descriptors)


async def send(socket: Fd, payload: bytes, descriptors: Sequence[Fd] = ()) -> None:
    """Send a message on a non-blocking socket, waiting while it is full.

    Raises BrokenPipeError or ConnectionResetError when the other side is gone, or ours was closed meanwhile.
    """
    while True:
        if socket.closed:
            raise BrokenPipeError("the connection was closed")
        try:
            message.send(socket, payload, descriptors)
            return
        except BlockingIOError:
            await _writable(socket)


async def _writable(socket: Fd) -> None:
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    # By a descriptor of its own: the loop keeps one callback for each, and many starts may wait for one socket.
    with socket.duplicate() as own:
        loop.add_writer(own.fileno(), _resolve, writable)
        try:
            await writable
        finally:
            loop.remove_writer(own.fileno())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Launcher:
    """The one zygote of an engine. An async context manager; leaving it ends the launcher, not its shims."""

    def __init__(self, exec_root: Path) -> None:
        """`exec_root` shows in the process list whose launcher and shims these are."""
        self._exec_root = exec_root
        self._interpreter: Fd | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: Fd | None = None
        self._pidfd: Fd | None = None
        self._starting = asyncio.Lock()
        self.generation = 0
        """How many launchers there have been: an order that was lost with one may be given to the next."""

    async def __aenter__(self) -> "Launcher":
        self._interpreter = await asyncio.to_thread(sealed_interpreter)
        try:
            await self._running()
        except BaseException:
            self._interpreter.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        self._forget()
        if process is not None:
            await asyncio.to_thread(process.wait)  # it ends when its socket does
        if self._interpreter is not None:
            self._interpreter.close()

    @property
    def pid(self) -> int | None:
        """The running launcher; None while there is none."""
        return None if self._process is None or self._orders is None else self._process.pid

    def died_since(self, generation: int) -> bool:
        """Whether the launcher that had this number is dead."""
        return self.generation != generation or self._process is None or self._process.poll() is not None

    async def order(self, order: dict[str, Any], plan: list[Any] | dict[str, Any], descriptors: Sequence[Fd]) -> None:
        """Hand an order to an idle shim. The first descriptor is the shim's end of the connection.

        Raises System when no launcher can be started.
        """
        payload = f"{jsontext.dumps(order)}\n{jsontext.dumps(plan)}".encode("ascii")
        while True:
            socket = await self._running()
            try:
                await send(socket, payload, descriptors)
                return
            except (BrokenPipeError, ConnectionResetError):
                # The launcher and every idle shim have died, which its pidfd has not told yet.
                if self._orders is socket:
                    self._forget()

    async def _running(self) -> Fd:
        if self._orders is not None:
            return self._orders
        async with self._starting:
            if self._orders is None:
                try:
                    await self._start()
                except OSError as error:
                    raise System(f"the launcher cannot be started: {error.strerror or error}") from error
            assert self._orders is not None
            return self._orders

    async def _start(self) -> None:
        assert self._interpreter is not None
        ours, theirs = message.pair()
        with theirs:
            try:
                self._process = await asyncio.to_thread(self._execute, self._interpreter.fileno(), theirs.fileno())
                self._pidfd = Fd(os.pidfd_open(self._process.pid))
            except BaseException:
                ours.close()
                raise
        os.set_blocking(ours.fileno(), False)
        self._orders = ours
        self.generation += 1
        asyncio.get_running_loop().add_reader(self._pidfd.fileno(), self._died)

    def _execute(self, interpreter: int, orders: int) -> subprocess.Popen[bytes]:
        bytecode.compile_stale()
        boot = _BOOT.format(root=str(Path(__file__).resolve().parents[2]), descriptor=orders)
        return subprocess.Popen(
            [os.path.realpath(sys.executable), "-I", "-S", "-c", boot, str(self._exec_root)],
            executable=f"/proc/self/fd/{interpreter}",
            pass_fds=(interpreter, orders),
            stdin=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd="/",
            start_new_session=True,
        )

    def _died(self) -> None:
        assert self._process is not None
        log.warning("the launcher (pid %d) has died; the next start begins a new one", self._process.pid)
        self._process.wait()  # a zombie already: does not block
        self._forget()

    def _forget(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd.fileno())
            self._pidfd.close()
            self._pidfd = None
        if self._orders is not None:
            self._orders.close()
            self._orders = None
