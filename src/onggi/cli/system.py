"""What every command needs of `os`, by the same names, from the C module behind it.

`import os` takes 0.7 ms (it makes Python's abstract collections), a tenth of what a command takes to start. Modules that
only some options load use `os` itself.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING or sys.platform == "win32":
    import os as _os
else:
    import posix as _os

O_BINARY: int = getattr(_os, "O_BINARY", 0)
O_RDONLY = _os.O_RDONLY
close = _os.close
exit_now = _os._exit
get_terminal_size = _os.get_terminal_size
getpid = _os.getpid
isatty = _os.isatty
kill = _os.kill
open_file = _os.open
pipe = _os.pipe
read = _os.read
set_blocking = _os.set_blocking
unlink = _os.unlink
urandom = _os.urandom
write = _os.write


def environment(name: str) -> "str | None":
    """A variable of the environment; None where it is not set."""
    loaded = sys.modules.get("os")
    if loaded is not None:  # there it may have been changed since the start
        changed: "str | None" = loaded.environ.get(name)
        return changed
    value: "Any" = _os.environ.get(name.encode())  # type: ignore[call-overload]  # `posix` has bytes
    return None if value is None else str(value, sys.getfilesystemencoding(), "surrogateescape")


def home() -> str:
    """The user's home directory: $HOME, else what the system knows."""
    found = environment("HOME") if sys.platform != "win32" else None
    if found:
        return found.rstrip("/") or "/"
    import os

    return os.path.expanduser("~")
