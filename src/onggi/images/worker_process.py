"""The daemon's side of `images.worker`: start the process, feed it, believe nothing but the form of its answer."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import onggi
from onggi.errors import OnggiError, System
from onggi.images.decompress import MOST_TIMES
from onggi.images.worker import MESSAGE_LIMIT_BYTES
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest

_BOOT = "import sys; sys.path[:0] = sys.argv[1].split(':'); from onggi.images.worker import main; main()"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Integrity(OnggiError):
    """Bytes are not what they were named, or an archive is malformed: nothing of it is kept."""


def _import_path() -> str:
    """Where a worker finds this package and the decoders: directories that only the installer writes."""
    ours = str(Path(onggi.__path__[0]).resolve().parent)
    return ":".join([ours, *(entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))])


class WorkerProcess:
    """One job of `images.worker`. Enter it to start the process; left it is gone, whatever it was doing.

    `blob` is a file open for reading, or a socket, borrowed until then; `arguments` are the job's descriptors and
    numbers; `task` says in refusals what is being done. `most_times`: so many times its size a blob may grow, 0: any.
    """

    def __init__(
        self, job: str, blob: Fd | int, *arguments: Fd | int, task: str = "extract the layer",
        most_times: int = MOST_TIMES,
    ) -> None:  # fmt: skip
        self._most_times = most_times
        self._task = task
        self._job = job
        self._blob = blob
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        try:
            with theirs:
                self._process = await asyncio.to_thread(self._start, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        return self

    def _start(self, control: int) -> subprocess.Popen[bytes]:
        passed = [control]
        words = []
        for argument in (self._blob, *self._arguments):
            if isinstance(argument, Fd):
                passed.append(argument.fileno())
                words.append(str(argument.fileno()))
            else:
                words.append(str(argument))
        command = [sys.executable, "-I", "-S", "-c", _BOOT, _import_path(), self._job]
        return subprocess.Popen(
            [*command, str(os.getpid()), str(control), str(self._most_times), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_ENVIRONMENT, cwd="/", pass_fds=passed,
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

    def available(self, size_bytes: int) -> None:
        """The first `size_bytes` of the blob are written. Cheap; never blocks; never less than before."""
        assert self._control is not None, "the worker is not entered"
        try:
            self._control.send(b"a" + size_bytes.to_bytes(8, "little"))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass  # a later message says more; one that ended early tells why when it is asked for its result

    async def result(self, size_bytes: int) -> tuple[Digest, int, int]:
        """The blob has `size_bytes` and is whole: the tar's digest and size, and the size of its files.

        Raises Integrity for what the bytes are to blame for, System for the rest.
        """
        assert self._control is not None, "the worker is not entered"
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._control, b"f" + size_bytes.to_bytes(8, "little"))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended already, and said why
        try:
            message = await loop.sock_recv(self._control, MESSAGE_LIMIT_BYTES + 1)
        except ConnectionResetError:
            # A worker that ended without reading all we sent; what it said before is still there (unix(7)).
            message = await loop.sock_recv(self._control, MESSAGE_LIMIT_BYTES + 1)
        return _read_result(message, self._task)


def _read_result(message: bytes, task: str) -> tuple[Digest, int, int]:
    """The worker may have been taken over: nothing of its message is believed but its form."""
    if message[:1] == b"=":
        words = message[1:].decode("ascii", "replace").split(" ")
        if len(words) == 3 and all(word.isdecimal() and len(word) < 20 for word in words[1:]):
            return Digest(f"sha256:{words[0]}"), int(words[1]), int(words[2])
    if message[:1] == b"!":
        head, _, path = message[1:].partition(b"\0")
        kind, _, sentence = head.decode("ascii", "replace").partition(" ")
        if kind == "machine" and sentence.isdecimal() and len(sentence) < 5:
            number = int(sentence)
            words_of = "no space left on device" if number == errno.ENOSPC else os.strerror(number)
            raise System(f"failed to {task}: {words_of}")
        if kind in ("archive", "compression"):
            where = f": {path.decode('utf-8', 'backslashreplace')!a}" if path else ""
            raise Integrity(f"failed to {task}: {printable(sentence)}{where}")
    raise System(f"failed to {task}: its worker process has ended without a result")


def printable(text: str) -> str:
    """Text from outside without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)[:500]
