"""Which kernel parameters a container may set: those of namespaces that are its own (namespaces(7))."""

from collections.abc import Mapping

from onggi.errors import InvalidParameter

_IPC = frozenset(
    {
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    }
)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:@/")


def checked(values: Mapping[str, str], own: set[str]) -> dict[str, str]:
    """Keys as paths below /proc/sys, each one of a namespace in `own` (`ipc`, `network`, `uts`).

    Raises InvalidParameter for a key or value that is malformed or would change the host.
    """
    return {_path(key, own): _value(key, value) for key, value in values.items()}


def _path(key: str, own: set[str]) -> str:
    first = next((letter for letter in key if letter in "./"), ".")
    # `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x` name the same: the first separator decides.
    path = key if first == "/" else key.translate(str.maketrans("./", "/."))
    parts = path.split("/")
    if not _LETTERS.issuperset(key) or any(part in {"", ".", ".."} for part in parts):
        raise InvalidParameter(f"invalid sysctl {key!r}")
    if path in _IPC or path.startswith("fs/mqueue/"):
        needed = "ipc"
    elif path.startswith("net/"):
        needed = "network"
    elif path == "kernel/domainname":
        needed = "uts"
    else:
        raise InvalidParameter(f"sysctl {key!r} is not in a separate kernel namespace")
    if needed not in own:
        raise InvalidParameter(f"sysctl {key!r} is not allowed: the container shares the host's {needed} namespace")
    return path


def _value(key: str, value: str) -> str:
    if not value.isprintable() or len(value) > 4096:
        raise InvalidParameter(f"invalid value for sysctl {key!r}")
    return value
