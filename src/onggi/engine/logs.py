"""`logs`: the lines of a container's log, from the last N on, between two times, and as they come.

A follower sleeps until inotify says that something in the log's directory has changed, reads to the end, goes on to the
next file after a rotation, and ends with the container.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from onggi.engine.lifecycle import State, is_running
from onggi.engine.log_files import json_format, local_format
from onggi.engine.log_files.entry import Entry, Format
from onggi.engine.log_files.file import LogFile
from onggi.engine.log_files.files import LogFiles, last_records, records_since
from onggi.errors import System, Unsupported
from onggi.runtime.logs import rotation
from onggi.runtime.process import NotRunning

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.watch import DirectoryWatch
    from onggi.runtime.runtime import Runtime

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which part of a log, and how it is shown."""

    stdout: bool
    stderr: bool
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    """Before each line the attributes that the log options `labels` and `env` chose."""
    tail: int | None = None
    """At most this many of the last entries, counted before any other choice is made, as in Docker. None: all."""
    since_ns: int | None = None
    until_ns: int | None = None
    framed: bool = True
    """In frames of 8-byte headers, as for containers without a terminal."""


class NotReadable(Unsupported):
    def __init__(self) -> None:
        super().__init__("configured logging driver does not support reading")


class Rendering:
    """Turns entries into what is sent."""

    def __init__(self, query: LogQuery, format: Format) -> None:
        self._query = query
        self._errors = format.errors
        self._plain = not (query.timestamps or query.details or query.since_ns or query.until_ns)
        header = {"stdout": b"\1\0\0\0", "stderr": b"\2\0\0\0"}
        self._headers = {name: header[name] for name, on in (("stdout", query.stdout), ("stderr", query.stderr)) if on}
        self.past_until = False
        """An entry after `until` was seen: the rest is not wanted."""

    def render(self, found: Sequence[Entry]) -> bytes:
        if not self._plain:
            found = self._within(found)
        pieces: list[bytes] = []
        headers, framed, errors = self._headers, self._query.framed, self._errors
        for entry in found:
            header = headers.get(entry.stream)
            if header is None:
                continue
            text = entry.log if self._plain else self._prefix(entry) + entry.log
            line = text.encode("utf-8", errors)
            if framed:
                pieces.append(header + len(line).to_bytes(4, "big"))
            pieces.append(line)
        return b"".join(pieces)

    def _within(self, found: Sequence[Entry]) -> Sequence[Entry]:
        since, until = self._query.since_ns, self._query.until_ns
        if since is None and until is None:
            return found
        kept = []
        for entry in found:
            stamp = entry.time_ns
            if since is not None and stamp < since:
                continue
            if until is not None and stamp > until:
                self.past_until = True
                break
            kept.append(entry)
        return kept

    def _prefix(self, entry: Entry) -> str:
        prefix = f"{entry.time_text} " if self._query.timestamps else ""
        if self._query.details:
            attributes = sorted((entry.attrs or {}).items())
            prefix += ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in attributes) + " "
        return prefix


class Logs:
    """Reads the logs of an engine's containers."""

    def __init__(self, runtime: "Runtime", watch: "DirectoryWatch") -> None:
        self._runtime = runtime
        self._watch = watch

    def check(self, container: "Container") -> None:
        """Raises NotReadable where no log is kept."""
        if not container.logs_to_file:
            raise NotReadable

    async def clear(self, container: "Container") -> None:
        """Delete what the container's log holds. Who follows it goes on. Raises NotReadable, System."""
        self.check(container)
        try:
            try:
                await self._runtime.clear_log(container.id)
            except NotRunning:
                async with container.lock:  # it must not start, and open the files, meanwhile
                    if is_running(container.state):
                        await self._runtime.clear_log(container.id)
                    else:
                        await asyncio.to_thread(rotation.delete, str(container.log_path))
        except (OSError, NotRunning) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise System(f"can't clear the log of container {container.id}: {reason}") from error

    async def send(self, container: "Container", query: LogQuery, write: Write) -> None:
        """Write what is asked for, in pieces of about 64 KiB; with `follow`, until the container ends.

        As in Docker, following ends with this run of the container, though its policy starts another.
        """
        self.check(container)
        format: Format = json_format if container.host_config.log_config.type == "json-file" else local_format
        reading = _Reading(LogFiles(container.log_path, format), format, query, write)
        try:
            if not (query.follow and container.state in (State.RUNNING, State.PAUSED)):
                await reading.send_present()
                return
            # Watched before the files are opened: what is written from then on wakes us.
            with self._watch.watch(container.log_path.parent) as changed:
                await reading.send_present()
                if not reading.done:
                    await self._follow(container.id, query, reading, changed)
        finally:
            reading.close()

    async def _follow(self, id: str, query: LogQuery, reading: "_Reading", changed: asyncio.Event) -> None:
        over = False

        async def watch_end() -> None:
            nonlocal over
            try:
                await self._runtime.wait(id)
            except NotRunning:
                pass  # it has ended since we looked, and its log is whole
            over = True
            changed.set()

        async def watch_clock(until_ns: int) -> None:
            nonlocal over
            await asyncio.sleep(max(0.0, (until_ns - time.time_ns()) / 1e9))
            over = True
            changed.set()

        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(watch_end())]
            if query.until_ns is not None:
                watchers.append(group.create_task(watch_clock(query.until_ns)))
            while not reading.done:
                changed.clear()
                last = over  # what was written before the end is all read by the round that begins now
                await reading.send_new()
                if last:
                    break
                await changed.wait()
            for watcher in watchers:
                watcher.cancel()


class _Reading:
    """One client's way through the files of one log."""

    def __init__(self, log: LogFiles, format: Format, query: LogQuery, write: Write) -> None:
        self._log = log
        self._format = format
        self._query = query
        self._write = write
        self._rendering = Rendering(query, format)
        self._files: list[LogFile] = []
        """Still to be read, oldest first."""

    @property
    def done(self) -> bool:
        return self._rendering.past_until

    def close(self) -> None:
        for file in self._files:
            file.close()

    async def send_present(self) -> None:
        """Send what is there now."""
        await asyncio.get_running_loop().run_in_executor(None, self._open)
        while self._files and not self.done:
            await self._send_rest(self._files[0])
            if len(self._files) == 1:
                return
            self._files.pop(0).close()

    def _open(self) -> None:
        """Open the files where the answer begins. Blocks on the disk: in one go, since each way to a thread takes as long
        as a short answer does."""
        self._files = self._log.open()
        if self._query.tail is not None:
            self._files = list(last_records(self._files, self._query.tail))
        elif self._query.since_ns is not None and self._files:
            self._files = list(records_since(self._files, self._query.since_ns))

    async def send_new(self) -> None:
        """Send what has come since, through any number of rotations."""
        while not self.done:
            if not self._files:
                self._files = self._log.open()  # the container's first output makes the file
                if not self._files:
                    return
            # Looked up before the read: a file that has a successor is not written to any more.
            following = self._log.successor(self._files[0]) if len(self._files) == 1 else None
            if following is not None:
                self._files.append(following)
            await self._send_rest(self._files[0])
            if len(self._files) == 1:
                return
            self._files.pop(0).close()

    async def _send_rest(self, file: LogFile) -> None:
        """Send what is left of a file, up to its present end."""
        loop = asyncio.get_running_loop()
        while not self.done:
            lines = file.read(cached=True)
            if lines is None:
                lines = await loop.run_in_executor(None, file.read)
            if not lines:
                return
            piece = self._rendering.render(self._format.entries(lines))
            if piece:
                await self._write(piece)
            await asyncio.sleep(0)  # a client that reads fast must not keep the loop from others
