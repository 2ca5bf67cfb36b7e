"""One process under a shim, as the daemon knows it: a container's init, or an exec."""

import asyncio
import os
import signal as signals
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from onggi.errors import Conflict
from onggi.linux.fd import Fd
from onggi.runtime.failure import failure
from onggi.runtime.init import StartFailure
from onggi.runtime.launch import Connection
from onggi.runtime.request import Attachment, ExitStatus, Started

PHASES = ("order", "prepare", "execute", "report")


class NotRunning(Conflict):
    """The process has ended, or its shim has."""


class ShimVanished(Exception):
    """The shim ended before it said whether the process runs."""


def flags(attachment: Attachment) -> list[Any]:
    """An attachment as the shim is told of it, beside its connection."""
    return [
        attachment.stdin,
        attachment.stdout,
        attachment.stderr,
        attachment.framed,
        attachment.initial.decode("latin-1"),
        attachment.received.decode("latin-1"),
        attachment.detach_keys.decode("latin-1"),
    ]


class Process:
    """What its shim has told. `describe` names it in refusals: `container abc`."""

    __slots__ = (
        "_answer",
        "_clearing",
        "_connection",
        "_describe",
        "_detached",
        "_ended",
        "_exec",
        "_lost",
        "_settled",
        "begun_ns",
        "clean",
        "pidfd",
        "started",
        "status",
    )

    def __init__(
        self,
        socket: Fd,
        *,
        describe: str,
        exec: bool,
        detached: Callable[[], None],
        lost: "Callable[[Process], None]",
        begun_ns: int = 0,
    ) -> None:
        """`lost` is called when the shim has ended without a word about the process; it must lead to `end`."""
        self._describe = describe
        self._exec = exec
        self._detached = detached
        self._lost = lost
        self._answer: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._settled = asyncio.Event()
        self.begun_ns = begun_ns
        self.started: Started | None = None
        self.status: ExitStatus | None = None
        self.pidfd: Fd | None = None
        self.clean = False
        """The shim has removed the cgroup."""
        self._clearing: list[asyncio.Future[int]] = []
        self._connection = Connection(socket, self._heard, self._closed)

    async def answer(self) -> Started:
        """Wait until the process runs. Raises what `failure` makes of a failed start, and ShimVanished."""
        return await asyncio.shield(self._answer)

    async def ended(self) -> ExitStatus:
        """Wait until the process has ended."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    async def settled(self) -> None:
        """Wait until the shim touches nothing of the container any more."""
        await self._settled.wait()

    def end(self, status: ExitStatus) -> None:
        """The process has ended. Only the first status counts."""
        if self.status is None:
            self.status = status
            self._ended.set()
            if self.pidfd is not None:
                self.pidfd.close()

    def settle(self) -> None:
        self._settled.set()

    def close(self) -> None:
        """Leave the shim to itself; a later daemon may find it."""
        self._connection.close()
        if self.pidfd is not None:
            self.pidfd.close()

    def signal(self, number: int) -> None:
        """Raises NotRunning."""
        if self.pidfd is None or self.pidfd.closed:
            raise self.not_running()
        try:
            signals.pidfd_send_signal(self.pidfd.fileno(), number)
        except ProcessLookupError as error:
            raise self.not_running() from error

    async def attach(self, attachment: Attachment) -> None:
        """Hand a client over. Raises NotRunning, and leaves the client alone then."""
        await self._tell(["attach", *flags(attachment)], [attachment.connection])
        attachment.connection.close()

    async def resize(self, rows: int, columns: int) -> None:
        await self._tell(["resize", rows, columns])

    async def clear_log(self) -> None:
        """Raises NotRunning, OSError."""
        cleared: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._clearing.append(cleared)  # answered in the order of the questions
        try:
            await self._tell(["clear"])
        except NotRunning:
            self._clearing.remove(cleared)
            raise
        if code := await cleared:
            raise OSError(code, os.strerror(code))

    async def _tell(self, content: list[Any], descriptors: Sequence[Fd] = ()) -> None:
        if self.status is not None:
            raise self.not_running()
        try:
            await self._connection.send(content, descriptors)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.not_running() from error

    def not_running(self) -> NotRunning:
        return NotRunning(f"{self._describe} is not running")

    def _heard(self, kind: str, values: list[Any], descriptors: list[Fd]) -> None:
        match kind:
            case "started":
                pid, start_time, stamps = values
                self.pidfd = descriptors[0]
                self.started = Started(pid, start_time, self._phases(stamps))
                self._answer.set_result(self.started)
            case "failed":
                self._answer.set_exception(failure(StartFailure.load(values), exec=self._exec))
            case "exited":
                code, oom_killed, finished_at_ns = values
                self.end(exit_status(code, oom_killed, finished_at_ns))
            case "settled":
                self.clean = True
            case "cleared":
                cleared = self._clearing.pop(0)
                if not cleared.done():
                    cleared.set_result(values[0])
            case "detached":
                self._detached()

    def _closed(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(ShimVanished())
        for cleared in self._clearing:
            if not cleared.done():
                cleared.set_exception(self.not_running())
        self._clearing.clear()
        if self.status is None and self.started is not None:
            self._lost(self)
        else:
            self._settled.set()

    def _phases(self, stamps: list[int]) -> tuple[tuple[str, int], ...]:
        if not stamps:
            return ()
        moments = [self.begun_ns, *stamps, time.monotonic_ns()]
        return tuple((name, moments[at + 1] - moments[at]) for at, name in enumerate(PHASES))


def exit_status(code: int, oom_killed: bool, finished_at_ns: int) -> ExitStatus:
    """What a shim tells or writes, as the engine gets it."""
    seconds, nanoseconds = divmod(finished_at_ns, 1_000_000_000)
    finished_at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
    return ExitStatus(code, oom_killed, finished_at)


def lost_status() -> ExitStatus:
    """The shim was killed: its container is killed as well."""
    return ExitStatus(128 + signals.SIGKILL, oom_killed=False, finished_at=datetime.now(UTC), lost=True)
