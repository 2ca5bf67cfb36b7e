"""The C module behind `signal`, which itself imports `enum` (4 ms)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIGINT, SIGTERM = _signal.SIGINT, _signal.SIGTERM
default, ignore = _signal.SIG_DFL, _signal.SIG_IGN
handle = _signal.signal
wake = _signal.set_wakeup_fd


def number(name: str) -> int:
    """SIGHUP and the like by name; 0 where the platform has none."""
    return int(getattr(_signal, name, 0))


def names() -> "dict[int, str]":
    """Number → name without SIG, first name wins: {9: "KILL", …}."""
    found: dict[int, str] = {}
    for name in dir(_signal):
        if name.startswith("SIG") and not name.startswith("SIG_") and name not in ("SIGRTMIN", "SIGRTMAX", "SIGCLD"):
            found.setdefault(int(getattr(_signal, name)), name[3:])
    return found
