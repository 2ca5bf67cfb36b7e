"""The progress of a pull, push, load or import: bars on a terminal, plain lines elsewhere. After moby: pkg/jsonmessage."""

import sys

from onggi.cli import terminal
from onggi.cli.failure import Failure
from onggi.cli.output import safe
from onggi.cli.units import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO


def _duration(seconds: int) -> str:
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    text = f"{seconds % 60}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def bar(detail: "dict[str, Any]", columns: int) -> str:
    """ "[====>    ] 1.2MB/3.4MB", as much of it as the terminal has room for."""
    current, total, units = detail.get("current") or 0, detail.get("total") or 0, detail.get("units") or ""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{current} {units}" if units else f"{decimal(current):>8}"
    filled = min(int(current / total * 100) // 2, 50)
    text = f"[{'=' * filled}>{' ' * (50 - filled)}] " if columns > 110 else ""
    if not detail.get("hidecounts"):
        if not units:
            text += f"{decimal(current):>8}" + (f"/{decimal(total)}" if current <= total else "")
        else:
            text += f"{current}/{total} {units}" if current <= total else f"{current} {units}"
    start = detail.get("start") or 0
    if columns > 50 and current > 0 and start > 0 and filled < 50:
        import time

        text += " " + _duration(round((time.time() - start) / current * (total - current)))
    return text


class Display:
    """Prints messages to a stream. On a terminal each ID keeps its line."""

    def __init__(self, stream: "TextIO") -> None:
        self._stream = stream
        self._bars = stream.isatty()
        self._lines: dict[str, int] = {}
        self._columns = terminal.size(stream.fileno())[1] if self._bars else 200

    def show(self, message: "dict[str, Any]") -> None:
        """One message. Raises Failure where it is an error."""
        error = message.get("errorDetail") or ({"message": message["error"]} if message.get("error") else None)
        if error:
            raise Failure(safe(str(error.get("message") or ""), "\n"))
        name = str(message.get("id") or "")
        detail = message.get("progressDetail")
        below = 0
        if name and detail is not None:
            if name not in self._lines:
                self._lines[name] = len(self._lines)
                if self._bars:
                    self._stream.write("\n")
            below = len(self._lines) - self._lines[name]
        else:
            self._lines.clear()
        text = self._text(message, name, detail)
        if text and self._bars and below:
            text = f"\x1b[{below}A{text}\x1b[{below}B"
        self._stream.write(text)
        if self._bars:
            self._stream.flush()

    def _text(self, message: "dict[str, Any]", name: str, detail: "dict[str, Any] | None") -> str:
        if "stream" in message:
            return safe(str(message["stream"]), "\n\t")
        status = safe(str(message.get("status") or ""))
        lead = f"{safe(name)}: " if name else ""
        if detail is not None and self._bars:
            return f"\x1b[2K\r{lead}{status} {bar(detail, self._columns or 200)}\r"
        if detail and bar(detail, 200):
            return ""
        return f"{lead}{status}\n"


def show(
    messages: "Iterable[Any]", stream: "TextIO | None" = None, *, aux: "Callable[[Any], None] | None" = None
) -> None:
    """Print all messages of an answer. `aux` gets what is meant for programs. Raises Failure for an error among them."""
    display = Display(stream or sys.stdout)
    for message in messages:
        if not isinstance(message, dict):
            continue
        if message.get("aux") is not None:
            if aux is not None:
                aux(message["aux"])
            continue
        display.show(message)
    (stream or sys.stdout).flush()
