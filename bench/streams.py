"""Rows about logs and attached streams. Clients read the API by themselves, so that no command line's own cost counts."""

import time
from collections.abc import Callable

from tests.http import UnixConnection

from bench.sides import Row, Side

IMAGE = "busybox:latest"

LINES = 500_000
MANY_LINES = 3_000_000
ATTACHED_BYTES = 200 << 20
ROTATION = ["--log-opt", "max-size=10m", "--log-opt", "max-file=3"]
_WAIT = "mkfifo /tmp/go; read go < /tmp/go; "
_NAME = "bench-stream"


def _read(side: Side, query: str) -> int:
    """Read the log of the container; how many bytes came."""
    connection = UnixConnection(side.socket, 120)
    try:
        connection.request("GET", f"/v1.51/containers/{_NAME}/logs?stdout=1&{query}")
        answer = connection.getresponse()
        total = 0
        while piece := answer.read1(1 << 20):
            total += len(piece)
        return total
    finally:
        connection.close()


def _write(*words: str) -> Callable[[Side], float]:
    """From the moment the container begins to write until it and its log are done."""

    def measure(side: Side) -> float:
        side.stock("run", "-d", "--name", _NAME, *words, IMAGE, "sh", "-c", f"{_WAIT} exec seq 1 {LINES}")
        begun = time.perf_counter()
        side.stock("exec", _NAME, "sh", "-c", "echo > /tmp/go")
        side.stock("wait", _NAME)
        taken = (time.perf_counter() - begun) * 1000
        side.stock("rm", _NAME)
        return taken

    return measure


def _follow(side: Side) -> float:
    """The same while somebody follows, until that one has got all. Without rotation: Docker's followers lose lines to it."""
    side.stock("run", "-d", "--name", _NAME, IMAGE, "sh", "-c", f"{_WAIT} exec seq 1 {LINES}")
    begun = time.perf_counter()
    side.stock("exec", "-d", _NAME, "sh", "-c", "echo > /tmp/go")
    got = _read(side, "follow=1")
    taken = (time.perf_counter() - begun) * 1000
    side.stock("rm", _NAME)
    expected = sum(8 + len(str(number)) + 1 for number in range(1, LINES + 1))
    if got != expected:
        raise SystemExit(f"{side.name}: the follower got {got} of {expected} bytes")
    return taken


def _remove(side: Side) -> None:
    if side.stock("ps", "-aq", "--filter", f"name={_NAME}").stdout:
        side.stock("rm", "-f", _NAME)


def _prepare(lines: int, *words: str) -> Callable[[Side], None]:
    def prepare(side: Side) -> None:
        side.stock("run", "-d", "--name", _NAME, *words, IMAGE, "seq", "1", str(lines))
        side.stock("wait", _NAME)

    return prepare


def _timed(query: str) -> Callable[[Side], float]:
    def measure(side: Side) -> float:
        begun = time.perf_counter()
        if not _read(side, query):
            raise SystemExit(f"{side.name}: nothing came")
        return (time.perf_counter() - begun) * 1000

    return measure


def _attach(side: Side) -> float:
    words = ("dd", "if=/dev/zero", "bs=64k", f"count={ATTACHED_BYTES >> 16}")
    return side.timed("run", "--rm", "--log-driver", "none", IMAGE, *words, stock=True)


ROWS: dict[str, Row] = {
    "log-write": Row(f"{LINES:,} lines into json-file", _write(*ROTATION), 2 / 3, rounds=5, warm_up=1, clean=_remove),
    "log-write-local": Row(
        f"{LINES:,} lines into local", _write("--log-driver", "local"), 2 / 3, rounds=5, warm_up=1, clean=_remove
    ),
    "log-read": Row(
        f"{LINES:,} lines read", _timed(""), 2 / 3, rounds=5, warm_up=1, prepare=_prepare(LINES), clean=_remove
    ),
    "log-read-local": Row(
        f"{LINES:,} lines read from local", _timed(""), 2 / 3, rounds=5, warm_up=1,
        prepare=_prepare(LINES, "--log-driver", "local"), clean=_remove,
    ),
    "log-tail": Row(
        f"--tail 10 of {MANY_LINES:,} lines", _timed("tail=10"), 1, prepare=_prepare(MANY_LINES), clean=_remove
    ),
    "log-follow": Row(f"{LINES:,} lines followed", _follow, 2 / 3, rounds=5, warm_up=1, clean=_remove),
    "attach": Row("200 MB attached", _attach, 1, rounds=5, warm_up=1, clean=_remove),
}  # fmt: skip
