"""Signals by the names and numbers that Docker takes: `KILL`, `SIGKILL`, `9`, `RTMIN+3`."""

import signal

from onggi.errors import InvalidParameter

_NUMBERS = {name.removeprefix("SIG"): int(number) for name, number in signal.Signals.__members__.items()}
_NUMBERS |= {"CLD": int(signal.SIGCHLD), "IOT": int(signal.SIGABRT), "UNUSED": int(signal.SIGSYS)}
# The C library keeps the first two real-time signals for itself; Docker names them as the kernel counts.
_NUMBERS |= {"RTMIN": 34, "RTMAX": 64}
_NUMBERS |= {f"RTMIN+{step}": 34 + step for step in range(1, 16)} | {
    f"RTMAX-{step}": 64 - step for step in range(1, 15)
}


def number(text: str) -> int:
    """The number of a signal. Raises InvalidParameter with Docker's sentence."""
    if text.isascii() and text.isdigit():
        value = int(text[:4])
        if value == 0 or value > 64:
            raise InvalidParameter(f"invalid signal: {text}")
        return value
    value_by_name = _NUMBERS.get(text.upper().removeprefix("SIG"))
    if value_by_name is None:
        raise InvalidParameter(f"invalid signal: {text}")
    return value_by_name
