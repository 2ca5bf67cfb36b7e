"""The command line that others see of this process (proc_pid_cmdline(5)): memory of its own, and so can be rewritten."""

import ctypes

_area: "tuple[int, int] | None" = None
"""Address and length of the arguments; forks inherit it."""


def find() -> None:
    """Remember where the arguments lie (proc_pid_stat(5), fields 48 and 49). Before anything foreign is entered."""
    global _area
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    _area = (start, end - start)


def show(words: "list[str]") -> None:
    """Show these as the command line, as many as there is room for. Without `find` nothing changes."""
    if _area is None:
        return
    start, length = _area
    text = b"\0".join(word.encode("utf-8", "surrogateescape") for word in words)[: length - 1]
    ctypes.memmove(start, text.ljust(length, b"\0"), length)
