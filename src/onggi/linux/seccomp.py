"""Load a compiled seccomp filter (seccomp(2)). Compiling is `onggi.runtime.seccomp_compiler`'s work."""

import ctypes

from onggi.linux.syscall import check, system_call

SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread: nothing to synchronise
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}
INSTRUCTION_BYTES = 8
_SET_MODE_FILTER = 1
_MOST_INSTRUCTIONS = 4096


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


_seccomp = system_call("seccomp", ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(_Program))


def load(program: bytes, flags: int) -> None:
    """Put the filter on the calling thread, for ever. Needs no_new_privs or CAP_SYS_ADMIN.

    Raises ValueError for what cannot be a program, so that a damaged one never means no filter.
    """
    length, rest = divmod(len(program), INSTRUCTION_BYTES)
    if rest or not 0 < length <= _MOST_INSTRUCTIONS:
        raise ValueError("a seccomp program is damaged")
    buffer = ctypes.create_string_buffer(program, len(program))
    loaded = _Program(length, ctypes.addressof(buffer))
    check(_seccomp(_SET_MODE_FILTER, flags, ctypes.byref(loaded)), "seccomp")
