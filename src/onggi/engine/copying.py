"""`cp`: archives out of and into a container's file system, by a confined worker (engine.copy_worker).

A running container is entered as it is, with its volumes and what it has mounted. One that does not run is mounted
for the worker alone; while that one writes, the container cannot be started.
"""

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine.copy_worker import MESSAGE_LIMIT_BYTES
from onggi.engine.lifecycle import State
from onggi.errors import Conflict, InvalidParameter, NotFound, OnggiError, System
from onggi.images.confined_process import ConfinedProcess
from onggi.linux import process
from onggi.linux.fd import Fd

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine

PIECE_BYTES = 256 * 1024
_SPOOLED_BYTES = 1024 * 1024


class NoSuchPath(NotFound):
    def __init__(self, path: str, container: str) -> None:
        super().__init__(f"Could not find the file {path} in container {container}")


class PathStat(msgspec.Struct, frozen=True, rename="camel"):
    """What lies at a path, as the header X-Docker-Container-Path-Stat tells it."""

    name: str
    size: int
    mode: int
    """Go's os.FileMode."""
    mtime: str
    link_target: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where an archive goes and how."""

    path: str
    strict: bool = False
    """No file replaces a directory, nor a directory a file."""
    owned_by_user: bool = False
    """Everything is given to the container's user."""


class Copying:
    """Copies in and out of the containers of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def stat(self, container: "Container", name: str, path: str) -> PathStat:
        """What lies at `path`. `name` is what the client called the container; refusals repeat it."""
        async with self._worker(container, {"job": "stat", "path": path}, Fd(-1)) as worker:
            return _path_stat(await worker.reply(name, path))

    @asynccontextmanager
    async def read(
        self, container: "Container", name: str, path: str
    ) -> "AsyncIterator[tuple[PathStat, AsyncIterator[bytes]]]":
        """What lies at `path`, and its archive in pieces. They end by an error when the archive is not whole."""
        async with self._reader(container, {"job": "read", "path": path}, name) as (found, pieces):
            self._publish(container, "archive-path")
            yield _path_stat(found), pieces

    @asynccontextmanager
    async def export(self, container: "Container") -> "AsyncIterator[AsyncIterator[bytes]]":
        """The container's whole file system as an archive in pieces, without volumes and other mounts."""
        async with self._reader(container, {"job": "export", "path": "/"}, container.name) as (_, pieces):
            self._publish(container, "export")
            yield pieces

    @asynccontextmanager
    async def _reader(
        self, container: "Container", request: dict[str, Any], name: str
    ) -> "AsyncIterator[tuple[dict[str, Any], AsyncIterator[bytes]]]":
        ours, theirs = socket.socketpair()
        with ours, Fd(theirs.detach()) as stream:
            ours.setblocking(False)
            async with self._worker(container, request, stream) as worker:
                stream.close()  # its end must be seen here when the worker ends
                found = await worker.reply(name, request["path"])

                async def pieces() -> AsyncIterator[bytes]:
                    loop = asyncio.get_running_loop()
                    while data := await loop.sock_recv(ours, PIECE_BYTES):
                        yield data
                    await worker.reply(name, request["path"])

                yield found, pieces()

    async def write(self, container: "Container", name: str, target: Target, archive: AsyncIterator[bytes]) -> None:
        """Lay an archive, compressed or not, over the directory `target.path`."""
        if container.state in (State.RUNNING, State.PAUSED):
            await self._write(container, name, target, archive)
            return
        # No start may meet our mount: received first, so that a slow client does not keep the container from starting.
        loop = asyncio.get_running_loop()
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES, dir=str(self._engine.settings.data_root)) as spool:
            async for piece in archive:
                if spool.tell() + len(piece) <= _SPOOLED_BYTES:
                    spool.write(piece)
                else:
                    await loop.run_in_executor(None, spool.write, piece)
            spool.seek(0)

            async def spooled() -> AsyncIterator[bytes]:
                while data := await loop.run_in_executor(None, spool.read, PIECE_BYTES):
                    yield data

            async with container.lock:
                await self._write(container, name, target, spooled())

    async def _write(self, container: "Container", name: str, target: Target, archive: AsyncIterator[bytes]) -> None:
        request = {
            "job": "write",
            "path": target.path,
            "strict": target.strict,
            "user": container.config.user if target.owned_by_user else "",
        }
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with Fd(theirs.detach()) as stream:
                async with self._worker(container, request, stream) as worker:
                    stream.close()
                    loop = asyncio.get_running_loop()
                    try:
                        async for piece in archive:
                            await loop.sock_sendall(ours, piece)
                        ours.shutdown(socket.SHUT_WR)
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # it has ended, and says why
                    await worker.reply(name, target.path)
        self._publish(container, "extract-to-dir")

    def _publish(self, container: "Container", action: str) -> None:
        self._engine.events.publish("container", action, container.id, container.attributes())

    @asynccontextmanager
    async def _worker(
        self, container: "Container", request: dict[str, Any], stream: Fd
    ) -> "AsyncIterator[_CopyWorker]":
        with ExitStack() as stack:
            place = await asyncio.get_running_loop().run_in_executor(None, self._place, container, request, stack)
            async with _CopyWorker(request, stream, place) as worker:
                await worker.ask()
                yield worker

    def _place(self, container: "Container", request: dict[str, Any], stack: ExitStack) -> Sequence[Fd]:
        """Tell the worker how to get into the container, and open what it needs for that."""
        if container.state in (State.RUNNING, State.PAUSED):
            try:
                pidfd = stack.enter_context(Fd(os.pidfd_open(container.pid)))
                # The pid may be another process's by now; the descriptor's is this one's from here on.
                same = process.start_time(container.pid) == container.pid_start
            except (FileNotFoundError, ProcessLookupError):
                same = False
            if not same:
                raise Conflict(f"container {container.id} is not running")
            request["running"] = True
            return (pidfd,)
        if container.state in (State.REMOVING, State.DEAD):
            raise Conflict(f"container {container.id} is being removed")
        root = self._engine.snapshots.root(container.id)
        request |= {
            "running": False,
            "lower": root.lower,
            "upper": root.upper,
            "work": root.work,
            "one_by_one": self._engine.host.overlay_one_by_one,
            "read_only": container.host_config.readonly_rootfs,
        }
        ground = str(self._engine.settings.exec_root)
        request["place"] = ground
        place = [_open_directory(ground, stack)]
        mounts = []
        # Outer mount points first: an inner one lies in what is mounted there.
        for point in sorted(container.mounts, key=lambda point: point.destination.count("/")):
            if point.type == "tmpfs" or not point.source or request["job"] == "export":
                continue  # what it held has gone with the container's last run
            try:
                place.append(stack.enter_context(Fd(os.open(point.source, os.O_PATH | os.O_CLOEXEC))))
            except FileNotFoundError:
                continue
            mounts.append({"destination": point.destination, "writable": point.rw})
        request["mounts"] = mounts
        return place


class _CopyWorker(ConfinedProcess):
    """The worker of one copy. Left, it is gone, whatever it was doing."""

    def __init__(self, request: dict[str, Any], stream: Fd, place: Sequence[Fd]) -> None:
        super().__init__("onggi.engine.copy_worker", (), (-1 if stream.closed else stream, *place))
        self._request = request

    async def ask(self) -> None:
        """Tell it what to do."""
        await self.send(msgspec.json.encode(self._request))

    async def reply(self, container_name: str, path: str) -> dict[str, Any]:
        """The next message. Raises what it refuses. Nothing of it is believed but its form: it may be taken over."""
        message = await self.receive(MESSAGE_LIMIT_BYTES)
        if message[:1] == b"=":
            try:
                return msgspec.json.decode(message[1:], type=dict[str, Any])
            except msgspec.MsgspecError as error:
                raise System("the copy's worker process answers nonsense") from error
        raise _refusal(message, container_name, path)


def _refusal(message: bytes, container_name: str, path: str) -> OnggiError:
    kind, _, sentence = message.decode("utf-8", "replace").partition(" ")
    if kind == "!missing":
        return NoSuchPath(path, container_name)
    shown = "".join(character if character.isprintable() else "?" for character in sentence)[:500]
    if kind == "!invalid":
        return InvalidParameter(shown)
    if kind == "!machine" and sentence.isdecimal() and len(sentence) < 5:
        number = int(sentence)
        words = "no space left on device" if number == errno.ENOSPC else os.strerror(number).lower()
        return System(f"failed to copy {path}: {words}")
    return System("the copy's worker process has ended without a result")


def _path_stat(found: dict[str, Any]) -> PathStat:
    try:
        seconds, nanoseconds = found["mtime"]
        stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
        return msgspec.convert(
            {**found, "mtime": f"{stamp}{fraction}Z", "linkTarget": found.get("linkTarget", "")}, PathStat
        )
    except (KeyError, ValueError, TypeError, OverflowError, msgspec.ValidationError) as error:
        raise System("the copy's worker process answers nonsense") from error


def _open_directory(path: str, stack: ExitStack) -> Fd:
    return stack.enter_context(Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))
