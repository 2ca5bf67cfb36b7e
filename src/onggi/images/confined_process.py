"""A worker's process as the daemon sees it: started with what it may have, spoken to by messages, gone when it is left."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import onggi
from onggi.linux.fd import Fd

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
"""All that a worker gets."""


def command(module: str) -> list[str]:
    """What starts `main` of a module of ours that imports little. Its own arguments come behind."""
    boot = f"import sys; sys.path[:0] = sys.argv[1].split(':'); from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-c", boot, import_path()]


def import_path() -> str:
    """Where a worker finds this package and the decoders: directories that only the installer writes."""
    ours = str(Path(onggi.__path__[0]).resolve().parent)
    return ":".join([ours, *(entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))])


class ConfinedProcess:
    """Enter it to start `module` with `words`, our pid, its end of the socket and `arguments`; left it is gone.

    An `Fd` among the arguments is borrowed until then, and passed on; its number is what the worker reads.
    """

    def __init__(self, module: str, words: Sequence[str], arguments: Sequence[Fd | int]) -> None:
        self._module = module
        self._words = words
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def control(self) -> socket.socket:
        """Our end, non-blocking: SOCK_SEQPACKET keeps messages apart."""
        assert self._control is not None, "the worker is not entered"
        return self._control

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        with theirs:
            # A thread can't be cancelled: what it hands on stays open, and what it starts is ended, all the same.
            starting = asyncio.ensure_future(asyncio.to_thread(self._start, theirs.fileno()))
            try:
                await asyncio.shield(starting)
            except BaseException:
                await asyncio.wait({starting})
                if starting.exception() is None:
                    self._process = starting.result()
                    await self.end()
                ours.close()
                raise
        self._process = starting.result()
        return self

    def _start(self, control: int) -> subprocess.Popen[bytes]:
        numbers = [argument if isinstance(argument, int) else argument.fileno() for argument in self._arguments]
        passed = [argument.fileno() for argument in self._arguments if isinstance(argument, Fd)]
        return subprocess.Popen(
            [*command(self._module), *self._words, *map(str, (os.getpid(), control, *numbers))],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENVIRONMENT, cwd="/", pass_fds=[control, *passed],
        )  # fmt: skip

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """Make an end of the process, whatever it is doing. Idempotent."""
        if self._process is None or self._control is None:
            return
        self._control.close()
        self._process.kill()
        await asyncio.shield(asyncio.to_thread(self._process.wait))

    async def send(self, message: bytes) -> None:
        """One message. A worker that has ended does not read it: it said why."""
        try:
            await asyncio.get_running_loop().sock_sendall(self.control, message)
        except (BrokenPipeError, ConnectionResetError):
            pass

    async def receive(self, limit_bytes: int) -> bytes:
        """The next message, cut after `limit_bytes` + 1; b"" when the process has ended without one."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.sock_recv(self.control, limit_bytes + 1)
        except ConnectionResetError:
            # A worker that ended without reading all we sent; what it said before is still there (unix(7)).
            return await loop.sock_recv(self.control, limit_bytes + 1)
