"""The libc handle, call numbers, and the one place where errno becomes OSError.

Prototypes are declared once, at import. After a foreign root has been entered nothing here opens a file: the handle is
the running process itself (`dlopen(NULL)`).
"""

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

libc = ctypes.CDLL(None, use_errno=True)

MACHINE = os.uname().machine

_GENERIC = {
    "clone": 220,
    "add_key": 217,
    "pivot_root": 41,
    "keyctl": 219,
    "seccomp": 277,
    "capget": 90,
    "capset": 91,
    "bpf": 280,
}
_NUMBERS = {
    "x86_64": {
        "clone": 56,
        "add_key": 248,
        "pivot_root": 155,
        "keyctl": 250,
        "seccomp": 317,
        "capget": 125,
        "capset": 126,
        "bpf": 321,
    },
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
}
_NUMBERS_OF_ALL = {  # the same on every architecture since Linux 5.0
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
NUMBERS: "dict[str, int]" = {**_NUMBERS_OF_ALL, **_NUMBERS.get(MACHINE, {})}
"""Numbers of the calls that the C library does not wrap (asm/unistd.h)."""


def function(name: str, *argument_types: "Any", result: "Any" = ctypes.c_int) -> "Callable[..., int]":
    """A function of the C library with its prototype."""
    found = libc[name]
    found.argtypes = argument_types
    found.restype = result
    return found


def system_call(name: str, *argument_types: "Any") -> "Callable[..., int]":
    """A system call by number, with its prototype. Calling it fails with ENOSYS where the number is not known."""
    found = libc["syscall"]
    found.argtypes = (ctypes.c_long, *argument_types)
    found.restype = ctypes.c_long
    number = NUMBERS.get(name, -1)

    def call(*arguments: "Any") -> int:
        return found(number, *arguments)  # type: ignore[no-any-return]

    return call


def check(result: int, call: str, path: "str | None" = None) -> int:
    """`result`, unless it is negative: then OSError of errno, with `path` as its filename and the call as a note."""
    if result < 0:
        code = ctypes.get_errno()
        error = OSError(code, os.strerror(code), path) if path is not None else OSError(code, os.strerror(code))
        error.add_note(f"system call: {call}")
        raise error
    return result


def number_of(descriptor: "Any") -> int:
    """The number of an Fd, of any object with `fileno()`, or of a number."""
    return descriptor if isinstance(descriptor, int) else descriptor.fileno()
