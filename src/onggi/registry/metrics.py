"""Counters, gauges and histograms in Prometheus' text form. (prometheus.io, "Text-based format", 0.0.4)"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

Labels = tuple[str, ...]
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _labels(names: Labels, values: Labels, extra: str = "") -> str:
    escaped = [
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34)).replace(chr(10), chr(92) + "n")}"'
        for name, value in zip(names, values, strict=True)
    ]
    if extra:
        escaped.append(extra)
    return "{" + ",".join(escaped) + "}" if escaped else ""


class Counter:
    """Only grows. Label values come from small closed sets: never a name that a client chose."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *values: str, amount: float = 1.0) -> None:
        self._values[values] = self._values.get(values, 0.0) + amount

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} counter"
        for values, total in sorted(self._values.items()):
            yield (
                f"{self.name}{_labels(self.labels, values)} {total:g}"
                if total < 1e6
                else (f"{self.name}{_labels(self.labels, values)} {total:.0f}")
            )


class Gauge:
    """A value that is asked for when it is read."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self.name, self.text, self._read = name, text, read

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} gauge"
        yield f"{self.name} {self._read():.15g}"


class Histogram:
    def __init__(self, name: str, text: str, *labels: str, bounds: tuple[float, ...] = LATENCIES_S) -> None:
        self.name, self.text, self.labels, self._bounds = name, text, labels, bounds
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, amount: float, *values: str) -> None:
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, amount)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + amount

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        for values, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                total += count
                text = "+Inf" if bound == float("inf") else f"{bound:g}"
                mark = f'le="{text}"'
                yield f"{self.name}_bucket{_labels(self.labels, values, mark)} {total}"
            yield f"{self.name}_sum{_labels(self.labels, values)} {self._sums[values]:.9g}"
            yield f"{self.name}_count{_labels(self.labels, values)} {total}"


class Metrics:
    """The registry's own. Features add theirs by `add`."""

    def __init__(self) -> None:
        self.requests = Counter("onggi_registry_requests_total", "Requests answered.", "method", "kind", "status")
        self.latency = Histogram("onggi_registry_request_seconds", "From a request's head to its answer.", "kind")
        self.received = Counter("onggi_registry_received_bytes_total", "Bytes of blobs received.")
        self.sent = Counter("onggi_registry_sent_bytes_total", "Bytes of blobs sent.")
        self.refused_sign_ins = Counter("onggi_registry_refused_sign_ins_total", "Passwords and tokens refused.")
        self._all: list[Counter | Gauge | Histogram] = [
            self.requests, self.latency, self.received, self.sent, self.refused_sign_ins,
        ]  # fmt: skip

    def add(self, metric: Counter | Gauge | Histogram) -> None:
        self._all.append(metric)

    def text(self) -> str:
        return "\n".join(line for metric in self._all for line in metric.lines()) + "\n"
