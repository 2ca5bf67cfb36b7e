"""Docker's progress lines for layers: `{"status": "Downloading", "progressDetail": {…}, "progress": "[=> ] …", "id": …}`.

Clients draw one row for each `id` from the last line that they saw of it. (moby: pkg/jsonmessage, pkg/progress)
"""

import time
from collections.abc import Callable
from typing import Any

Progress = Callable[[dict[str, Any]], None]
"""Takes one line of Docker's progress stream. It must not block."""

_INTERVAL_S = 0.1
_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class LayerRow:
    """One layer's row, told to everybody who watches; who comes later is told its latest line first.

    Without `identity` its lines belong to no row (`Importing`).
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._watchers: list[Progress] = []
        self._latest: dict[str, Any] | None = None
        self._moved_at = 0.0

    def watch(self, report: Progress) -> None:
        self._watchers.append(report)
        if self._latest is not None:
            report(self._latest)

    def leave(self, report: Progress) -> None:
        self._watchers.remove(report)

    def say(self, status: str) -> None:
        self._tell(line(status, self._identity))
        self._moved_at = 0.0

    def move(self, status: str, current: int, total: int) -> None:
        """Progress in bytes; what comes too fast after the last is left out, but never the end."""
        now = time.monotonic()
        if current < total and now - self._moved_at < _INTERVAL_S:
            return
        self._moved_at = now
        self._tell(
            {
                "status": status,
                "progressDetail": {"current": current, "total": total},
                "progress": bar(current, total),
                **({"id": self._identity} if self._identity else {}),
            }
        )

    def _tell(self, message: dict[str, Any]) -> None:
        self._latest = message
        for report in self._watchers:
            report(message)


def line(status: str, identity: str) -> dict[str, Any]:
    """A layer's line without numbers."""
    return {"status": status, "progressDetail": {}, "id": identity}


def bar(current: int, total: int) -> str:
    """`[=====>     ]  36.45kB/1.099MB`, as an old client shows it as it is."""
    if total <= 0:
        return f"{human_size(current):>8}"
    filled = min(int(current / total * 100) // 2, _WIDTH)
    numbers = f"{human_size(current):>8}" + (f"/{human_size(total)}" if current <= total else "")
    return f"[{'=' * filled}>{' ' * (_WIDTH - filled)}] {numbers}"


def human_size(size_bytes: float) -> str:
    """Four digits and a decimal unit: `1.099MB`. (docker/go-units, HumanSize)"""
    unit = 0
    while size_bytes >= 1000 and unit < len(_UNITS) - 1:
        size_bytes /= 1000
        unit += 1
    return f"{size_bytes:.4g}{_UNITS[unit]}"
