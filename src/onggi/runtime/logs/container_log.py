"""A container's log as the shim's streams see it: output goes in as it comes, and is cut into lines and recorded."""

import time

from onggi.runtime.logs.json_file import JsonFile
from onggi.runtime.logs.rotation import RotatingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from onggi.runtime.logs.channel import Channel
    from onggi.runtime.poll import Poll

    class Format(Protocol):
        file: RotatingFile

        def record(self, stream: str, parts: "list[bytes]", time_ns: int) -> None:
            """Each part is whole lines, or one piece of a long line without its end."""


PIECE = 16384
"""The longest piece of a line in one record, in bytes."""


def pieces(data: bytes, *, last: bool) -> "tuple[bytes, list[int]]":
    """Cut `data` into what can be written now and a rest. Returns the rest and the ends of the parts to be written:
    each part is whole lines, or one piece of 16 KiB of a line that is longer, cut between two UTF-8 characters."""
    ends: list[int] = []
    position = 0
    size = len(data)
    while size - position > PIECE:
        end = data.rfind(b"\n", position, position + PIECE + 1) + 1
        if not end:
            end = position + PIECE
            for back in range(1, 4):
                byte = data[end - back]
                if byte >= 0xC0:  # the character that begins here may end behind the cut: leave it for the next piece
                    if byte >= (0xC0, 0xE0, 0xF0)[back - 1]:
                        end -= back
                    break
                if byte < 0x80:
                    break
        ends.append(end)
        position = end
    end = size if last else data.rfind(b"\n", position) + 1
    if end > position:
        ends.append(end)
        position = end
    return data[position:], ends


class ContainerLog:
    """The log of one container, for both of its streams. `close()` ends the duty."""

    __slots__ = ("_channel", "_files", "_rest")

    def __init__(self, order: "dict[str, Any]", poll: "Poll") -> None:
        """`order`: see `onggi.runtime.request.Log`. Raises OSError, and RemoteRefused when the driver's remote side
        can't be reached."""
        self._rest = {"stdout": b"", "stderr": b""}
        self._files: "Format | None" = None
        self._channel: "Channel | None" = None
        # The remote side first: where it can't be reached, no file is made.
        if order["remote"]:
            from onggi.runtime.logs.channel import Channel

            self._channel = Channel(order["remote"], order["buffer_bytes"], poll)
        if order["file"]:
            self._files = _format(order["file"])

    @property
    def full(self) -> bool:
        """The remote side takes no more now: let the program wait."""
        return self._channel is not None and self._channel.full

    def when_not_full(self, callback: "Callable[[], None]") -> None:
        """Call back whenever `full` has become false."""
        if self._channel is not None:
            self._channel.drained = callback

    @property
    def lost(self) -> int:
        """Bytes of records that the disk refused."""
        return self._files.file.lost if self._files is not None else 0

    def write(self, stream: str, data: bytes) -> None:
        """Record what the program wrote just now; an unfinished line waits for its end."""
        if self._rest[stream]:
            data = self._rest[stream] + data
        self._record(stream, data, last=False)

    def end(self, stream: str) -> None:
        """The program will write no more to this stream: record an unfinished line."""
        self._record(stream, self._rest[stream], last=True)

    def clear(self) -> None:
        """Forget what has been recorded. Raises OSError."""
        if self._files is not None:
            self._files.file.clear()

    def child_ended(self, pid: int, status: int) -> None:
        """A child of the shim has ended that is not the program."""
        if self._files is not None:
            self._files.file.child_ended(pid, status)
        if self._channel is not None:
            self._channel.child_ended(pid)

    def close(self) -> None:
        """No more comes. What the remote side has not taken yet is still sent: see `Channel.close`."""
        for stream in ("stdout", "stderr"):
            self.end(stream)
        if self._files is not None:
            self._files.file.close()
        if self._channel is not None:
            self._channel.close()

    def _record(self, stream: str, data: bytes, *, last: bool) -> None:
        self._rest[stream], ends = pieces(data, last=last)
        if not ends:
            return
        begin = 0
        parts = []
        for end in ends:
            parts.append(data[begin:end])
            begin = end
        now_ns = time.time_ns()
        if self._files is not None:
            self._files.record(stream, parts, now_ns)
        if self._channel is not None:
            self._channel.record(stream, parts, now_ns)


def _format(order: "dict[str, Any]") -> "Format":
    file = RotatingFile(order["path"], order["max_size_bytes"], order["max_files"], compress=order["compress"])
    if order["format"] == "local":
        from onggi.runtime.logs.local_file import LocalFile

        return LocalFile(file)
    return JsonFile(file, order["attributes"])
