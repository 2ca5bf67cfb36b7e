"""`onggi --trace run …`: what each phase of a start took, ours and the engine's."""

import sys
import time


class Trace:
    """Marks in time, printed at the end on stderr."""

    def __init__(self) -> None:
        self._last = self._first = time.perf_counter()
        self._lines: list[tuple[str, str]] = []

    def mark(self, name: str, engine: str = "") -> None:
        """The phase `name` has ended. `engine` is its Onggi-Trace header: `phase;dur=MILLISECONDS, …`."""
        now = time.perf_counter()
        self._lines.append((name, f"{(now - self._last) * 1000:9.2f}"))
        self._last = now
        for part in engine.split(","):
            phase, _, took = part.strip().partition(";dur=")
            if phase:
                self._lines.append((f"  engine: {phase}", f"{float(took or 0):9.2f}"))

    def print(self) -> None:
        self._lines.append(("total", f"{(self._last - self._first) * 1000:9.2f}"))
        widest = max(len(name) for name, _ in self._lines)
        sys.stdout.flush()
        for name, took in self._lines:
            sys.stderr.write(f"{name.ljust(widest)} {took} ms\n")
