"""Lines longer than one record: who keeps them apart numbers their pieces (moby: daemon/logger/copier.go)."""

import os


class LongLine:
    """The line that a stream is in the middle of. Its pieces share `id` and `time_ns`, and count `ordinal` up from 1."""

    __slots__ = ("id", "ordinal", "time_ns")

    def __init__(self, time_ns: int) -> None:
        self.id = os.urandom(32).hex()
        self.ordinal = 0
        self.time_ns = time_ns


class LongLines:
    """For each stream the long line it is in, if any."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: "dict[str, LongLine]" = {}

    def piece(self, stream: str, time_ns: int, *, last: bool) -> "LongLine | None":
        """The next line of a stream. `last`: it has its end. None: a whole line that no piece came before."""
        line = self._open.pop(stream, None)
        if last and line is None:
            return None
        if line is None:
            line = LongLine(time_ns)
        line.ordinal += 1
        if not last:
            self._open[stream] = line
        return line
