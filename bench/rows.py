"""What is measured: each row prepares a side, measures it once at a time, and cleans it up."""

import time
from concurrent.futures import ThreadPoolExecutor

from bench import container_rows, image_rows, streams
from bench.sides import LABEL, Row, Side, own_pids, pss_mib, remove_all

IMAGE = "busybox:latest"


def _sleeper(side: Side) -> None:
    side.stock("run", "-d", "--label", LABEL, "--name", "bench-sleeper", IMAGE, "sleep", "1000000")


IDLE = 20
_before: dict[str, float] = {}


def _prepare_idle(side: Side) -> None:
    _before[side.name] = pss_mib(own_pids(side))
    for _ in range(IDLE):
        side.stock("run", "-d", "--label", LABEL, "--network", "none", IMAGE, "sleep", "1000000")


def _measure_idle(side: Side) -> float:
    return (pss_mib(own_pids(side)) - _before[side.name]) / IDLE


AT_ONCE = 50


def _measure_at_once(side: Side) -> float:
    """From the first request until all run: created and started by as many threads as containers."""

    def create_and_start(_: int) -> None:
        import docker  # the SDK keeps the command line's own cost out of the measurement

        with_client = docker.DockerClient(base_url=f"unix://{side.socket}", timeout=120)
        try:
            container = with_client.api.create_container(IMAGE, ["sleep", "1000000"], labels=[LABEL])
            with_client.api.start(container["Id"])
        finally:
            with_client.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: None, range(AT_ONCE)))  # the threads themselves
        begun = time.perf_counter()
        list(pool.map(create_and_start, range(AT_ONCE)))
        taken = (time.perf_counter() - begun) * 1000
    running = len(side.stock("ps", "-q", "--filter", f"label={LABEL}").stdout.split())
    if running < AT_ONCE:
        raise SystemExit(f"{side.name}: only {running} of {AT_ONCE} run")
    remove_all(side)
    return taken


MANY = 1000


def _prepare_many(side: Side) -> None:
    import docker

    client = docker.DockerClient(base_url=f"unix://{side.socket}", timeout=120)
    for number in range(MANY):
        client.api.create_container(IMAGE, ["true"], name=f"bench-{number}", labels=[LABEL])
    client.close()


LINES = 300_000


def _measure_logs(side: Side) -> float:
    """Write the lines and read them back."""
    begun = time.perf_counter()
    side.stock("run", "--label", LABEL, "--name", "bench-lines", "-d", IMAGE, "seq", str(LINES))
    side.stock("wait", "bench-lines")
    seen = side.stock("logs", "bench-lines").stdout.count(b"\n")
    taken = (time.perf_counter() - begun) * 1000
    if seen != LINES:
        raise SystemExit(f"{side.name}: {seen} of {LINES} lines")
    side.stock("rm", "bench-lines")
    return taken


ROWS: dict[str, Row] = {
    "run-bridge": Row("run --rm busybox true (bridge)", lambda side: side.timed("run", "--rm", IMAGE, "true"), 1 / 10),
    "run-none": Row(
        "run --rm --network none", lambda side: side.timed("run", "--rm", "--network", "none", IMAGE, "true"), 1 / 10
    ),
    "run-stock": Row(
        "docker run, stock command", lambda side: side.timed("run", "--rm", IMAGE, "true", stock=True), 1 / 5
    ),
    "exec": Row(
        "exec c true",
        lambda side: side.timed("exec", "bench-sleeper", "true"),
        1 / 4,
        prepare=_sleeper,
        clean=remove_all,
    ),
    "at-once": Row(
        f"{AT_ONCE} created and started at once", _measure_at_once, 1 / 10, rounds=3, warm_up=1, clean=remove_all
    ),
    "version": Row("version", lambda side: side.timed("version"), 1),
    "ps": Row(f"ps -a with {MANY}", lambda side: side.timed("ps", "-a"), 1, prepare=_prepare_many, clean=remove_all),
    "logs": Row(f"{LINES} log lines, write and read", _measure_logs, 2 / 3, rounds=3, warm_up=0, clean=remove_all),
    "idle": Row(
        "idle container, our processes",
        _measure_idle,
        1 / 4,
        unit="MB",
        rounds=3,
        warm_up=0,
        prepare=_prepare_idle,
        clean=remove_all,
    ),
    **image_rows.ROWS,
    **streams.ROWS,
    **container_rows.ROWS,
    "engine": Row(
        "the engine, no container", lambda side: pss_mib(own_pids(side)), 1 / 2, unit="MB", rounds=3, warm_up=0
    ),
}
