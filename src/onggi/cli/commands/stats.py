"""`stats`: what containers use, live. After docker/cli: cli/command/container/stats_helpers.go."""

import sys
import time

from onggi.cli import units
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.output import Listing, render
from onggi.jsontext import loads
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client, Connection
    from onggi.cli.main import Invocation

HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "MemCache": "WITH CACHE / CACHE",
    "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_INTERVAL_S = 0.5
_NOTHING = "--"


class Line:
    """One container's line. `found` is its last sample, None before the first and after the container has gone."""

    __slots__ = ("found", "given")

    def __init__(self, given: str) -> None:
        self.given = given
        self.found: dict[str, Any] | None = None


def _cpu(found: "dict[str, Any]") -> float:
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    system = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ())
    return used / system * cpus * 100 if used > 0 and system > 0 else 0.0


def _memory(found: "dict[str, Any]") -> "tuple[float, float]":
    """Used without the cache that can be dropped, and the limit."""
    memory = found.get("memory_stats") or {}
    used, details = memory.get("usage") or 0, memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return (used - cache if cache < used else used), memory.get("limit") or 0


def _with_cache(found: "dict[str, Any]") -> str:
    memory = found.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = details.get("total_cache", details.get("cache", details.get("file", 0)))
    return f"{units.binary(memory.get('usage') or 0)} / {units.binary(cache)}"


def _network(found: "dict[str, Any]") -> "tuple[int, int]":
    networks = (found.get("networks") or {}).values()
    return sum(network["rx_bytes"] for network in networks), sum(network["tx_bytes"] for network in networks)


def _blocks(found: "dict[str, Any]") -> "tuple[int, int]":
    entries = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    read = sum(entry["value"] for entry in entries if entry["op"][:1] in ("r", "R"))
    return read, sum(entry["value"] for entry in entries if entry["op"][:1] in ("w", "W"))


def _two(values: "tuple[int, int]") -> str:
    return f"{units.decimal(values[0], 3)} / {units.decimal(values[1], 3)}"


def _memory_text(found: "dict[str, Any]") -> str:
    used, limit = _memory(found)
    return f"{units.binary(used)} / {units.binary(limit)}"


def _memory_share(found: "dict[str, Any]") -> str:
    used, limit = _memory(found)
    return f"{used / limit * 100 if limit else 0:.2f}%"


def _row_type(*, whole: bool, cache: bool) -> RowType:
    def sampled(show: "Callable[[dict[str, Any]], str]", empty: str) -> "Callable[[Any], Any]":
        return lambda line: empty if line.found is None else show(line.found)

    def identity(found: "dict[str, Any]") -> str:
        return str(found.get("id") or "") if whole else str(found.get("id") or "")[:12]

    fields: dict[str, Callable[[Any], Any]] = {
        "Container": lambda line: line.given,
        "ID": sampled(identity, _NOTHING),
        "Name": sampled(lambda found: str(found.get("name") or "")[1:], _NOTHING),
        "CPUPerc": sampled(lambda found: f"{_cpu(found):.2f}%", _NOTHING),
        "MemUsage": sampled(_memory_text, f"{_NOTHING} / {_NOTHING}"),
        "MemPerc": sampled(_memory_share, _NOTHING),
        "NetIO": sampled(lambda found: _two(_network(found)), _NOTHING),
        "BlockIO": sampled(lambda found: _two(_blocks(found)), _NOTHING),
        "PIDs": sampled(lambda found: str((found.get("pids_stats") or {}).get("current") or 0), _NOTHING),
    }
    if cache:
        fields["MemCache"] = sampled(_with_cache, f"{_NOTHING} / {_NOTHING}")
    return RowType("*container.statsContext", fields)


def stats(invocation: "Invocation", found: "Arguments") -> int:
    client = invocation.client
    form = found.text("format") or invocation.config.text("statsFormat")
    cache = found.flag("cache")
    rows = _row_type(whole=found.flag("no-trunc"), cache=cache)
    listing = Listing(rows, HEADERS, (*COLUMNS[:5], "MemCache", *COLUMNS[5:]) if cache else COLUMNS)
    names = list(found.words)
    if not names:
        query = {"all": True} if found.flag("all") else {}
        names = [container["Id"] for container in client.get("/containers/json", query)]
    if found.flag("no-stream"):
        lines = _once(client, names)
        sys.stdout.write(render(listing, lines, form))
        return 0
    _Screen(invocation, listing, form, follow=not found.words).run(names)
    return 0


def _once(client: "Client", names: "list[str]") -> "list[Line]":
    """One sample of each. All are asked for at once: a sample takes the engine a second."""
    under_way = [(name, client.begin("GET", f"/containers/{name}/stats", {"stream": False})) for name in names]
    lines, failures = [], []
    for name, connection in under_way:
        try:
            line = Line(name)
            line.found = client.finish(connection).json()
            lines.append(line)
        except ResponseError as error:
            failures.append(str(error))
    if failures:
        raise Failure("\n".join(failures))
    return lines


class _Feed:
    """The stream of one container's samples."""

    __slots__ = ("answer", "line", "pieces", "rest")

    def __init__(self, client: "Client", name: str) -> None:
        self.line = Line(name)
        self.answer = client.call("GET", f"/containers/{name}/stats", {"stream": True})
        self.pieces = self.answer.pieces()
        self.rest = b""

    def read(self) -> bool:
        """Take in what has come. False when the stream has ended."""
        try:
            data = next(self.pieces, b"")
        except Failure:
            data = b""
        *whole, self.rest = (self.rest + data).split(b"\n")
        for text in whole:
            if text.strip():
                self.line.found = loads(text)
        if not data:
            self.line.found = None
        return bool(data)


class _Screen:
    """The table, drawn anew while samples come in."""

    def __init__(self, invocation: "Invocation", listing: Listing, form: str, *, follow: bool) -> None:
        self._client = invocation.client
        self._listing = listing
        self._form = form
        self._follow = follow
        self._feeds: dict[int, _Feed] = {}

    def _add(self, name: str) -> None:
        feed = _Feed(self._client, name)
        self._feeds[feed.answer.connection.fileno()] = feed

    def run(self, names: "list[str]") -> None:
        """Until all streams have ended, or for ever where new containers are followed."""
        from onggi.cli.connection import filters
        from onggi.cli.streams import wait_readable

        events = None
        if self._follow:
            query = {"filters": filters(["type=container", "event=start"])}
            events = self._client.call("GET", "/events", query)
            starts = events.objects()
        for name in names:
            try:
                self._add(name)
            except ResponseError as error:
                if not self._follow:
                    raise
                if error.code != 404:
                    raise
        drawn = 0.0
        self._draw(first=True)
        while self._feeds or events:
            watched: list[Connection] = [feed.answer.connection for feed in self._feeds.values()]
            if events:
                watched.append(events.connection)
            due = max(0.0, drawn + _INTERVAL_S - time.monotonic())
            ready = wait_readable([connection.fileno() for connection in watched], due if drawn else None)
            for number in ready:
                if number in self._feeds:
                    if not self._feeds[number].read():
                        self._feeds.pop(number).answer.close()
                elif events and (started := next(starts, None)):
                    self._add(str(started["id"]))
            if time.monotonic() >= drawn + _INTERVAL_S:
                self._draw()
                drawn = time.monotonic()
                wait_readable([], _INTERVAL_S / 10)  # samples of one moment come one by one
        self._draw()

    def _draw(self, *, first: bool = False) -> None:
        text = render(self._listing, [feed.line for feed in self._feeds.values()], self._form)
        if sys.stdout.isatty():
            start = "\033[2J\033[H" if first else "\033[H"
            text = start + text.replace("\n", "\033[K\n") + "\033[J"
        elif first:
            return
        sys.stdout.write(text)
        sys.stdout.flush()
