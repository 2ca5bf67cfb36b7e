"""What containers cost that run already: statistics of many, and events told to many."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.http import Api

from bench.sides import LABEL, Row, Side, engine_pids, remove_all

IMAGE = "busybox:latest"

RUNNING = 100
STREAM_S = 5.0
SUBSCRIBERS = 50
EVENTS = 200


def _prepare_running(side: Side) -> None:
    def start(_: int) -> None:
        side.stock("run", "-d", "--label", LABEL, "--network", "none", IMAGE, "sleep", "1000000")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(RUNNING)))


def _ids(api: Api) -> list[str]:
    listed = api.ok("GET", "/containers/json", filters=f'{{"label":["{LABEL}"]}}').json()
    return [entry["Id"] for entry in listed]


def _measure_one_shots(side: Side) -> float:
    """One sample of each, asked for by ten clients at a time."""
    api = Api(side.socket)
    ids = _ids(api)

    def ask(container_id: str) -> None:
        found = api.ok("GET", f"/containers/{container_id}/stats", stream=0, **{"one-shot": 1}).json()
        assert found["pids_stats"]["current"] == 1

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, ids[:10]))  # the threads themselves
        begun = time.perf_counter()
        list(pool.map(ask, ids))
        return (time.perf_counter() - begun) * 1000


def _cpu_ms(pids: list[int]) -> float:
    """Processor time that these have used, children that have ended included."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def _measure_streams(side: Side) -> float:
    """Processor time of the engine in a second in which it tells a sample of each to a client."""
    api = Api(side.socket)
    with ExitStack() as stack:
        streams = [stack.enter_context(api.stream(f"/containers/{id}/stats")) for id in _ids(api)]
        for stream in streams:
            stream.readline()
        samples = 0
        lock = threading.Lock()
        over = time.perf_counter() + STREAM_S

        def read(stream: object) -> None:
            nonlocal samples
            while time.perf_counter() < over:
                stream.readline()  # type: ignore[attr-defined]
                with lock:
                    samples += 1

        pids = engine_pids(side)
        begun, before = time.perf_counter(), _cpu_ms(pids)
        with ThreadPoolExecutor(RUNNING) as pool:
            list(pool.map(read, streams))
        used, taken = _cpu_ms(pids) - before, time.perf_counter() - begun
    assert samples >= RUNNING * (STREAM_S - 1), f"{side.name}: only {samples} samples in {taken:.1f} s"
    return used / taken


def _prepare_renamed(side: Side) -> None:
    side.stock("create", "--label", LABEL, "--name", "bench-renamed", IMAGE, "true")


def _measure_events(side: Side) -> float:
    """From the first of many events until each of many subscribers has been told the last."""
    api = Api(side.socket)
    container_id = api.ok("GET", "/containers/bench-renamed/json").json()["Id"]
    with ExitStack() as stack:
        path = f"/events?filters=%7B%22container%22:%5B%22{container_id}%22%5D%7D"
        streams = [stack.enter_context(api.stream(path)) for _ in range(SUBSCRIBERS)]

        def read(stream: object) -> None:
            for _ in range(EVENTS):
                stream.readline()  # type: ignore[attr-defined]

        with ThreadPoolExecutor(SUBSCRIBERS) as pool:
            begun = time.perf_counter()
            readers = [pool.submit(read, stream) for stream in streams]
            for number in range(EVENTS):
                api.ok("POST", f"/containers/{container_id}/rename", name=f"bench-renamed-{number}")
            for reader in readers:
                reader.result()
            taken = (time.perf_counter() - begun) * 1000
        api.ok("POST", f"/containers/{container_id}/rename", name="bench-renamed")
    return taken


def _row(title: str, measure: Callable[[Side], float], prepare: Callable[[Side], None], *, rounds: int) -> Row:
    return Row(title, measure, 1, rounds=rounds, warm_up=1, prepare=prepare, clean=remove_all)


ROWS = {
    "stats": _row(f"stats of {RUNNING}, one sample each", _measure_one_shots, _prepare_running, rounds=5),
    "stats-stream": _row(f"stats of {RUNNING}, processor ms a second", _measure_streams, _prepare_running, rounds=3),
    "events": _row(f"{EVENTS} events to {SUBSCRIBERS} subscribers", _measure_events, _prepare_renamed, rounds=5),
}
