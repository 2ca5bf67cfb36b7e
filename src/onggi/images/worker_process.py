"""The daemon's side of `images.worker`: start the process, feed it, believe nothing but the form of its answer."""

import errno
import os

from onggi.errors import OnggiError, System
from onggi.images.confined_process import ConfinedProcess
from onggi.images.decompress import MOST_TIMES
from onggi.images.worker import MESSAGE_LIMIT_BYTES
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest


class Integrity(OnggiError):
    """Bytes are not what they were named, or an archive is malformed: nothing of it is kept."""


class WorkerProcess(ConfinedProcess):
    """One job of `images.worker`. Enter it to start the process; left it is gone, whatever it was doing.

    `blob` is a file open for reading, or a socket, borrowed until then; `arguments` are the job's descriptors and
    numbers; `task` says in refusals what is being done. `most_times`: so many times its size a blob may grow, 0: any.
    """

    def __init__(
        self, job: str, blob: Fd | int, *arguments: Fd | int, task: str = "extract the layer",
        most_times: int = MOST_TIMES,
    ) -> None:  # fmt: skip
        super().__init__("onggi.images.worker", [job], [most_times, blob, *arguments])
        self._task = task

    def available(self, size_bytes: int) -> None:
        """The first `size_bytes` of the blob are written. Cheap; never blocks; never less than before."""
        try:
            self.control.send(b"a" + size_bytes.to_bytes(8, "little"))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass  # a later message says more; one that ended early tells why when it is asked for its result

    async def result(self, size_bytes: int) -> tuple[Digest, int, int]:
        """The blob has `size_bytes` and is whole: the tar's digest and size, and the size of its files.

        Raises Integrity for what the bytes are to blame for, System for the rest.
        """
        await self.send(b"f" + size_bytes.to_bytes(8, "little"))
        message = await self.receive(MESSAGE_LIMIT_BYTES)
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
