"""Processes and their attributes: clone with a pidfd, namespaces, prctl, descriptors, keyring (clone(2), prctl(2))."""

import ctypes
import os

from onggi.linux.fd import Fd
from onggi.linux.syscall import check, function, number_of, system_call

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_CLONE_PIDFD = 0x00001000
_CLONE_PARENT = 0x00008000
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17
_CLOSE_RANGE_CLOEXEC = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

_HIGHEST = 0xFFFFFFFF
_UNCHANGED = 0xFFFFFFFF


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("pidfd", ctypes.c_uint64),
        ("child_tid", ctypes.c_uint64),
        ("parent_tid", ctypes.c_uint64),
        ("exit_signal", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("stack_size", ctypes.c_uint64),
        ("tls", ctypes.c_uint64),
        ("set_tid", ctypes.c_uint64),
        ("set_tid_size", ctypes.c_uint64),
        ("cgroup", ctypes.c_uint64),
    ]


_int, _ulong, _text = ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p
_clone = system_call("clone", _ulong, ctypes.c_void_p, ctypes.POINTER(_int), ctypes.c_void_p, ctypes.c_void_p)
_clone3 = system_call("clone3", ctypes.POINTER(_CloneArgs), ctypes.c_size_t)
_prctl = function("prctl", _int, _ulong, _ulong, _ulong, _ulong)
_close_range = system_call("close_range", ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_keyctl = system_call("keyctl", _int, _text)
_setns = function("setns", _int, _int)
_unshare = function("unshare", _int)
_pidfd_send_signal = system_call("pidfd_send_signal", _int, _int, ctypes.c_void_p, ctypes.c_uint)
_sethostname = function("sethostname", _text, ctypes.c_size_t)
_setdomainname = function("setdomainname", _text, ctypes.c_size_t)
_setrlimit = function("setrlimit", _int, ctypes.POINTER(ctypes.c_uint64 * 2))
_personality = function("personality", _ulong)


def clone(flags: int = 0, *, cgroup: "Fd | None" = None, sibling: bool = False) -> "tuple[int, Fd | None]":
    """Fork into new namespaces: (pid, pidfd) in the parent, (0, None) in the child. Only for single-threaded callers.

    `cgroup` is a directory of cgroup v2 that the child is born into. A `sibling` is a child of the caller's parent.
    What Python and libc do around fork(2) is left out: no at-fork handlers run. Source: clone3(2).
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArgs(flags | _CLONE_PIDFD, ctypes.addressof(pidfd), exit_signal=_SIGCHLD)
    if sibling:
        arguments.flags |= _CLONE_PARENT
        arguments.exit_signal = 0  # the caller's own, SIGCHLD, is taken; anything else is EINVAL
    if cgroup is not None:
        arguments.flags |= _CLONE_INTO_CGROUP
        arguments.cgroup = cgroup.fileno()
    pid = check(_clone3(ctypes.byref(arguments), ctypes.sizeof(_CloneArgs)), "clone3")
    return (0, None) if pid == 0 else (pid, Fd(pidfd.value))


def fork_sibling() -> "tuple[int, Fd | None]":
    """Fork a child of the caller's parent: (pid, pidfd), or (0, None) in the child. Only for single-threaded callers.

    By clone(2), whose flags a seccomp filter can see, so that filters let it pass where they refuse `clone3`.
    """
    pidfd = ctypes.c_int(-1)
    pid = check(_clone(_CLONE_PARENT | _CLONE_PIDFD | _SIGCHLD, None, ctypes.byref(pidfd), None, None), "clone")
    return (0, None) if pid == 0 else (pid, Fd(pidfd.value))


def setns(namespace: "Fd | int", kinds: int = 0) -> None:
    """Join a namespace, or those `kinds` of a process when `namespace` is a pidfd. Source: setns(2)."""
    check(_setns(number_of(namespace), kinds), "setns")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones. Source: unshare(2)."""
    check(_unshare(flags), "unshare")


def prctl(operation: int, second: int = 0, third: int = 0) -> int:
    """prctl(2) with numbers; unused arguments are zero."""
    return check(_prctl(operation, second, third, 0, 0), "prctl")


def close_from(first: int, last: int = _HIGHEST, *, on_exec: bool = False) -> None:
    """Close descriptors from `first` to `last`, now or at execve. Source: close_range(2)."""
    if first <= last:
        check(_close_range(first, last, _CLOSE_RANGE_CLOEXEC if on_exec else 0), "close_range")


def join_session_keyring() -> None:
    """A new, empty session keyring: what lies in the caller's is out of reach. Source: keyctl(2)."""
    check(_keyctl(_KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")


def send_signal(pidfd: "Fd | int", number: int) -> None:
    """A signal that cannot hit another process. Raises ProcessLookupError when it is gone."""
    check(_pidfd_send_signal(number_of(pidfd), number, None, 0), "pidfd_send_signal")


def set_hostname(name: str) -> None:
    encoded = os.fsencode(name)
    check(_sethostname(encoded, len(encoded)), "sethostname")


def set_domainname(name: str) -> None:
    encoded = os.fsencode(name)
    check(_setdomainname(encoded, len(encoded)), "setdomainname")


def set_limit(resource: int, soft: int, hard: int) -> None:
    """A resource limit by number; 2**64 - 1 is none. Raises PermissionError above the hard limit that is. setrlimit(2)."""
    check(_setrlimit(resource, ctypes.byref((ctypes.c_uint64 * 2)(soft, hard))), "setrlimit")


def set_personality(persona: int) -> None:
    check(_personality(persona), "personality")


def start_time(pid: int) -> int:
    """Clock ticks since boot at which the process started (proc_pid_stat(5), field 22).

    With the pid it names one process for ever. Raises FileNotFoundError or ProcessLookupError when there is none.
    """
    number = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(number, 4096)
    finally:
        os.close(number)
    return int(text[text.rindex(b")") + 2 :].split()[19])
