"""The caller's terminal: raw mode, size, detach keys."""

import sys

from onggi.cli import system
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_KEYS = b"\x10\x11"
"""ctrl-p, ctrl-q."""


def is_terminal(descriptor: int) -> bool:
    try:
        return system.isatty(descriptor)
    except OSError:
        return False


def size(descriptor: int = 1) -> "tuple[int, int]":
    """Rows and columns; (0, 0) where there is no terminal."""
    try:
        columns, rows = system.get_terminal_size(descriptor)
    except OSError:
        return 0, 0
    return rows, columns


def detach_keys(text: str) -> bytes:
    """From "ctrl-p,ctrl-q" or "a,b". Raises Failure in Docker's words."""
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif (
            key.startswith("ctrl-")
            and len(key) == 6
            and ((key[5].isascii() and key[5].islower()) or key[5] in "@[\\]^_")
        ):
            keys.append(ord(key[5].upper()) & 0x1F)
        else:
            raise Failure(f"invalid detach keys ({text}): Unknown character: '{key}'")
    return bytes(keys)


class Raw:
    """The terminal on a descriptor in raw mode, as a context; what it was is restored at the end."""

    __slots__ = ("_before", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None

    def __enter__(self) -> "Raw":
        if sys.platform == "win32":
            return self  # a console takes keys as they come when they are read one by one
        import termios

        self._before = termios.tcgetattr(self._descriptor)
        mode = termios.tcgetattr(self._descriptor)
        mode[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR
                     | termios.IGNCR | termios.ICRNL | termios.IXON)  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
            self._before = None


class KeySequence:
    """Looks for the detach keys in what is typed. Keys that may be its beginning are held back until that is clear."""

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> "tuple[bytes, bool]":
        """What to pass on, and whether the sequence is complete."""
        if not self._keys:
            return data, False
        out = bytearray()
        for number in range(len(data)):
            byte = data[number : number + 1]
            if self._keys.startswith(self._held + byte):
                self._held += byte
                if self._held == self._keys:
                    self._held = b""
                    return bytes(out), True
                continue
            out += self._held
            if self._keys.startswith(byte):
                self._held = byte
            else:
                out += byte
                self._held = b""
        return bytes(out), False
