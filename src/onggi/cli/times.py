"""Times on the wire: RFC 3339 with nanoseconds, Unix seconds, and what Docker prints of them."""

import time

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: "never"."""


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 (Howard Hinnant's days_from_civil)."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def parse(text: str) -> "tuple[int, int]":
    """Seconds since 1970 and nanoseconds of an RFC 3339 time. Raises ValueError."""
    date, _, rest = text.partition("T")
    year, month, day = (int(part) for part in date.split("-"))
    sign, offset = 0, "0:0"
    for mark in ("Z", "+", "-"):
        if mark in rest:
            rest, _, offset = rest.partition(mark)
            sign = {"Z": 0, "+": 1, "-": -1}[mark]
            break
    clock, _, fraction = rest.partition(".")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    total = _days(year, month, day) * 86400 + hours * 3600 + minutes * 60 + seconds
    if sign:
        total -= sign * (int(offset.partition(":")[0]) * 3600 + int(offset.partition(":")[2] or 0) * 60)
    return total, int((fraction + "0" * 9)[:9]) if fraction else 0


def ago(seconds: float) -> float:
    """How long ago a Unix time was."""
    return time.time() - seconds


def local(seconds: int) -> str:
    """ "2026-12-01 00:33:21 +0000 UTC", as Go prints a time of the local zone."""
    moment = time.localtime(seconds)
    zone = moment.tm_zone or "UTC"
    offset = moment.tm_gmtoff or 0
    sign = "-" if offset < 0 else "+"
    shown = f"{sign}{abs(offset) // 3600:02d}{abs(offset) % 3600 // 60:02d}"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', moment)} {shown} {zone}"


def local_rfc3339(seconds: int) -> str:
    """ "2026-12-01T00:33:21Z" or "…+09:00": the local zone."""
    moment = time.localtime(seconds)
    offset = moment.tm_gmtoff or 0
    sign = "-" if offset < 0 else "+"
    zone = f"{sign}{abs(offset) // 3600:02d}:{abs(offset) % 3600 // 60:02d}" if offset else "Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + zone


def timestamp(text: str, option: str = "") -> str:
    """What --since and --until take, as the engine takes it: seconds with a fraction. Raises Failure.

    A duration ("42m") is counted back from now; a date or time without a zone is local (moby: api/types/time).
    """
    from onggi.cli.failure import Failure
    from onggi.cli.values import duration

    try:
        nanoseconds = time.time_ns() - duration(text)
        return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
    except ValueError:
        pass
    whole, dot, fraction = text.partition(".")
    if whole.removeprefix("-").isdigit() and (not dot or fraction.isdigit()):
        return text
    try:
        return _moment(text)
    except (ValueError, OverflowError):
        lead = f'invalid value for "{option}": ' if option else ""
        raise Failure(f'{lead}failed to parse value as time or duration: "{text}"') from None


def _moment(text: str) -> str:
    date, _, clock = text.partition("T")
    if clock[-1:] == "Z" or "+" in clock or "-" in clock:
        short = clock.count(":") - (clock[-6:-5] in ("+", "-")) < 2
        if short:
            at = min(at for at in (clock.find("Z"), clock.find("+"), clock.find("-")) if at >= 0)
            clock = ":".join([*clock[:at].split(":"), "00", "00"][:3]) + clock[at:]
        seconds, nanoseconds = parse(f"{date}T{clock}")
        return f"{seconds}.{nanoseconds:09d}"
    hours, fraction = clock.partition(".")[::2]
    full = ":".join([*(part for part in hours.split(":") if part), "00", "00", "00"][:3])
    moment = time.strptime(f"{date}T{full}", "%Y-%m-%dT%H:%M:%S")
    return f"{int(time.mktime(moment))}.{(fraction + '0' * 9)[:9]}"
