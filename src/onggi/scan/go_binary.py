"""What a Go program says it is made of: the build information that the linker puts into it. (debug/buildinfo)

Read from the stream, a piece at a time: the header stands at a multiple of 16 somewhere in the data segment, and since
Go 1.18 its two texts follow it. Part of the worker's half.
"""

MAGIC = b"\xff Go buildinf:"
_INLINE = 2
_HEADER_BYTES = 32
MOST_TEXT_BYTES = 4 << 20
_START, _END = 16, 16
"""The module text stands between two marks of so many bytes."""


class BuildInfo:
    """Feed it the pieces of a file in order; `modules` is what was found, `version` the compiler's."""

    __slots__ = ("_kept", "_wanted", "done", "modules", "version")

    def __init__(self) -> None:
        self._kept = b""
        self._wanted = False
        self.done = False
        self.modules = b""
        self.version = b""

    def feed(self, piece: bytes) -> None:
        if self.done:
            return
        data = self._kept + piece
        if not self._wanted:
            at = data.find(MAGIC)
            if at < 0:
                self._kept = data[-len(MAGIC) + 1 :]
                return
            data = data[at:]
            self._wanted = True
        self._kept = data
        self._parse()

    def _parse(self) -> None:
        data = self._kept
        if len(data) < _HEADER_BYTES:
            return
        if not data[15] & _INLINE:
            self.done = True  # before Go 1.18: pointers into a data segment that is not kept
            return
        version = _text(data, _HEADER_BYTES)
        modules = _text(data, version[1]) if version is not None else None
        if version is not None and modules is not None:
            self.version = version[0]
            self.modules = modules[0][_START:-_END]
            self.done = True
            self._kept = b""
        elif len(data) > 2 * MOST_TEXT_BYTES:
            self.done = True
            self._kept = b""


def _text(data: bytes, at: int) -> "tuple[bytes, int] | None":
    """A length as varint, and so many bytes; with where they end. None when they are not all there."""
    length = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            return None
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if length > MOST_TEXT_BYTES or at + length > len(data):
        return None
    return data[at : at + length], at + length


def modules(info: BuildInfo) -> "list[tuple[str, str]]":
    """Module and version of the program itself and of all it was linked from, replacements followed."""
    found: list[tuple[str, str]] = []
    if info.version.startswith(b"go"):
        found.append(("stdlib", info.version[2:].split(b" ")[0].decode("ascii", "replace")))
    for line in info.modules.split(b"\n"):
        words = line.decode("utf-8", "replace").split("\t")
        if words[0] in ("mod", "dep") and len(words) >= 3:
            found.append((words[1], words[2]))
        elif words[0] == "=>" and len(words) >= 3 and found:
            found[-1] = (words[1], words[2])
    return [(name[:300], version[:300]) for name, version in found if version and version != "(devel)"]
