"""Be woken when something in a directory changes: one inotify instance for the whole engine."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from onggi.errors import System
from onggi.linux.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, IN_ONLYDIR, IN_Q_OVERFLOW, Inotify


class DirectoryWatch:
    """Any number of followers may watch the same directory. Left, it watches no more."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._followers: dict[int, set[asyncio.Event]] = {}

    async def __aenter__(self) -> Self:
        return self

    def _open(self) -> Inotify:
        # With the first follower: a machine that has no instance left shall still run containers.
        if self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError as error:
                raise System(f"can't follow logs: {error.strerror} (see fs.inotify.max_user_instances)") from error
            asyncio.get_running_loop().add_reader(self._inotify, self._wake)
        return self._inotify

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify)
            self._inotify.close()

    @contextmanager
    def watch(self, directory: Path) -> Iterator[asyncio.Event]:
        """The event is set whenever a file in the directory is written to, made or renamed. The caller clears it."""
        changed = asyncio.Event()
        inotify = self._open()
        try:
            number = inotify.add_watch(str(directory), IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR)
        except OSError as error:
            raise System(f"can't follow {directory}: {error.strerror} (see fs.inotify.max_user_watches)") from error
        self._followers.setdefault(number, set()).add(changed)
        try:
            yield changed
        finally:
            followers = self._followers[number]
            followers.discard(changed)
            if not followers:
                del self._followers[number]
                if not inotify.closed:
                    inotify.remove_watch(number)

    def _wake(self) -> None:
        for number, mask, _ in self._inotify.read() if self._inotify is not None else ():
            # An overflow names no watch: whatever was lost may concern anyone.
            woken = self._followers.values() if mask & IN_Q_OVERFLOW else (self._followers.get(number, ()),)
            for followers in woken:
                for changed in followers:
                    changed.set()
