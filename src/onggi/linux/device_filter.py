"""Attach an eBPF program that decides on device access to a v2 control group (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE)."""

import ctypes
import os

from onggi.linux.fd import Fd
from onggi.linux.syscall import check, system_call

INSTRUCTION_BYTES = 8
_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ALLOW_MULTI = 2


class _Load(ctypes.Structure):
    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 96),
    ]


class _Attach(ctypes.Structure):
    _fields_ = [
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 104),
    ]


_bpf = system_call("bpf", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


def attach(directory: str, program: bytes) -> None:
    """Load `program` and attach it to the group at `directory`, which keeps it alive; ancestors' programs still count.

    Raises OSError: EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL or EACCES for a program the verifier refuses.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    load = _Load(
        _TYPE_CGROUP_DEVICE,
        len(program) // INSTRUCTION_BYTES,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
    )
    with (
        Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as group,
        Fd(check(_bpf(_PROG_LOAD, ctypes.byref(load), ctypes.sizeof(load)), "bpf: load")) as loaded,
    ):
        attached = _Attach(group.fileno(), loaded.fileno(), _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
        check(_bpf(_PROG_ATTACH, ctypes.byref(attached), ctypes.sizeof(attached)), "bpf: attach", directory)
