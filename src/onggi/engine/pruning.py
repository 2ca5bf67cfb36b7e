"""`container prune`."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onggi.engine.container import Container
from onggi.engine.filters import Filters
from onggi.engine.lifecycle import State
from onggi.errors import Conflict, InvalidParameter, NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

FILTERS = frozenset({"label", "label!", "until"})
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def moment(text: str) -> float:
    """A point in time as Docker's `until` and `since` take it, in seconds since 1970: a duration before now, a
    number of seconds, or a date. Raises InvalidParameter."""
    duration = "".join(match[0] for match in _DURATION.finditer(text))
    if duration and duration == text:
        return time.time() - sum(float(match[1]) * _UNITS_S[match[2]] for match in _DURATION.finditer(text))
    try:
        return float(text)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidParameter(f'invalid time "{text}": use a duration, seconds since 1970 or a date') from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def matches(container: Container, filters: Filters, until: float | None) -> bool:
    labels = container.config.labels or {}
    return (
        container.state in (State.CREATED, State.EXITED, State.DEAD)
        and (until is None or container.created_at.timestamp() < until)
        and filters.labels("label", labels)
        and not (filters.has("label!") and filters.labels("label!", labels))
    )


async def prune(engine: "Engine", filters: Filters) -> dict[str, Any]:
    """Remove every container that does not run and matches. The answer of POST /containers/prune."""
    limits = filters["until"]
    if len(limits) > 1:
        raise InvalidParameter("more than one until filter specified")
    until = moment(limits[0]) if limits else None
    deleted, freed = [], 0
    for container in engine.containers.all():
        if not matches(container, filters, until):
            continue
        size = await engine.snapshots.written_bytes(container.id)
        try:
            await engine.containers.remove(container.id)
        except (Conflict, NotFound):
            continue  # started or removed meanwhile
        deleted.append(container.id)
        freed += size
        await asyncio.sleep(0)  # thousands of them must not hold up others
    if deleted:
        engine.events.publish("container", "prune", "", {"reclaimed": str(freed)})
    return {"ContainersDeleted": deleted or None, "SpaceReclaimed": freed}
