"""The five capability sets by name (capabilities(7))."""

import ctypes

from onggi.linux.process import PR_CAP_AMBIENT, PR_CAPBSET_DROP, prctl
from onggi.linux.syscall import check, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""By number: NAMES[0] is capability 0."""

NUMBERS = {name: number for number, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_capget = system_call("capget", ctypes.POINTER(_Header), ctypes.POINTER(_Data * 2))
_capset = system_call("capset", ctypes.POINTER(_Header), ctypes.POINTER(_Data * 2))


def mask(names: "Iterable[str]") -> int:
    """Capabilities as bits. Raises KeyError with an unknown name."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def last() -> int:
    """The highest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


def permitted() -> int:
    """The caller's permitted set, as bits."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    check(_capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    return int(data[0].permitted) | int(data[1].permitted) << 32


def limit_bounding(allowed: int, highest: int) -> None:
    """Drop from the bounding set, up to capability `highest`, what is not in `allowed`. Needs CAP_SETPCAP."""
    for number in range(highest + 1):
        if not allowed >> number & 1:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """Set the caller's three sets, as bits. Source: capset(2)."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    for half in (0, 1):
        shift = 32 * half
        data[half].effective = effective >> shift & 0xFFFFFFFF
        data[half].permitted = permitted >> shift & 0xFFFFFFFF
        data[half].inheritable = inheritable >> shift & 0xFFFFFFFF
    check(_capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def set_ambient(names: int) -> None:
    """Make exactly these the ambient set; each must be permitted and inheritable."""
    prctl(PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    for number in range(names.bit_length()):
        if names >> number & 1:
            prctl(PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
