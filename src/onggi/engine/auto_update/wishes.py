"""What a container asks for by its labels.

io.onggi.auto-update=true               replace it when its image's tag moves
io.containers.autoupdate=registry       the same, in Podman's word (podman-auto-update(1))
io.onggi.auto-update.window=02:00-04:30 only then (local time); `onggi auto-update` does not wait for it
io.onggi.auto-update.order=start-first  or stop-first: whether both run for a moment
io.onggi.auto-update.settle=5           without a health check: seconds that the new one must run (1)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum

from onggi.errors import InvalidParameter

ASKS = "io.onggi.auto-update"
PODMAN = "io.containers.autoupdate"
WINDOW = "io.onggi.auto-update.window"
ORDER = "io.onggi.auto-update.order"
SETTLE = "io.onggi.auto-update.settle"
_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_MOST_SETTLE_S = 3600


class Order(StrEnum):
    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of each day, over midnight too."""

    begins: time
    ends: time

    def holds(self, moment: datetime) -> bool:
        now = moment.time()
        if self.begins <= self.ends:
            return self.begins <= now < self.ends
        return now >= self.begins or now < self.ends


@dataclass(frozen=True, slots=True)
class Wishes:
    window: Window | None = None
    order: Order | None = None
    """None: as is safe; see `replacing.order_of`."""
    settle_s: float = 1.0


def read(labels: Mapping[str, str]) -> Wishes | None:
    """None for a container that asks for nothing. Raises InvalidParameter for what is said wrongly."""
    asks, podman = labels.get(ASKS, "false"), labels.get(PODMAN, "disabled")
    if asks not in ("true", "false"):
        raise InvalidParameter(f"invalid label {ASKS}={asks}: must be true or false")
    window, order, settle = labels.get(WINDOW), labels.get(ORDER), labels.get(SETTLE, "1")
    found = None
    if window is not None:
        match = _WINDOW.fullmatch(window)
        if match is None or match[1] + match[2] == match[3] + match[4]:
            raise InvalidParameter(f"invalid label {WINDOW}={window}: HH:MM-HH:MM is expected")
        found = Window(time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4])))
    if order is not None and order not in tuple(Order):
        raise InvalidParameter(f"invalid label {ORDER}={order}: must be {' or '.join(Order)}")
    if not (settle.isascii() and settle.isdigit() and int(settle) <= _MOST_SETTLE_S):
        raise InvalidParameter(f"invalid label {SETTLE}={settle}: must be 0 to {_MOST_SETTLE_S} seconds")
    # Podman's other policies (`local`, `image`) are about images that nobody pulls: not ours, and none of our business.
    if asks != "true" and podman not in ("registry", "image"):
        return None
    return Wishes(found, Order(order) if order is not None else None, float(settle))
