"""Moments as the database and JSON hold them: UTC text of fixed width, so that text order is time order."""

from datetime import UTC, datetime, timedelta

_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """`moment`, or this one, as `2026-01-02T03:04:05.000006Z`."""
    return (moment or now()).strftime(_FORM)


def moment(text: str) -> datetime:
    """What `stamp` wrote. Raises ValueError."""
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)


def ago(age: timedelta) -> str:
    return stamp(now() - age)
