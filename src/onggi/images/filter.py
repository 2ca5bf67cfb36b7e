"""The system calls that a worker may make: files beneath its root, its messages, memory, its end. All others: EPERM.

A list by name of the calls that CPython makes for what a worker does; no process, socket, mount, trace or key among
them. Part of the worker's half. (seccomp(2); numbers: arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h)
"""

import errno
import struct

_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17,
    "pwrite64": 18, "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "getpid": 39,
    "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "exit": 60, "fcntl": 72, "ftruncate": 77, "rmdir": 84,
    "unlink": 87, "readlink": 89, "fchmod": 91, "fchown": 93, "fsetxattr": 190, "getxattr": 191, "fgetxattr": 193,
    "flistxattr": 196, "gettid": 186, "futex": 202, "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228,
    "exit_group": 231, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "newfstatat": 262,
    "unlinkat": 263, "linkat": 265, "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "utimensat": 280,
    "getrandom": 318, "statx": 332,
}  # fmt: skip
_AARCH64 = {
    "fsetxattr": 7, "getxattr": 8, "fgetxattr": 10, "flistxattr": 13, "dup": 23, "fcntl": 25, "ioctl": 29,
    "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "ftruncate": 46, "fchmod": 52,
    "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62, "read": 63,
    "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "readlinkat": 78, "newfstatat": 79,
    "fstat": 80, "utimensat": 88, "exit": 93, "exit_group": 94, "futex": 98, "clock_gettime": 113, "sched_yield": 124,
    "restart_syscall": 128, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "getpid": 172,
    "gettid": 178, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215,
    "mremap": 216, "mmap": 222, "madvise": 233, "getrandom": 278, "statx": 291,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM


def program(machine: str) -> bytes:
    """The filter as BPF. Raises OSError on a machine whose numbers are not known."""
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    architecture, numbers = _MACHINES[machine]
    allowed = sorted(numbers.values())
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_JUMP_IF_EQUAL, len(allowed) - at, 0, number) for at, number in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
