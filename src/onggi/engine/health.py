"""Health checks: a command run in the container again and again, and what follows from its exit status.

A monitor lives as long as its container runs. Between `start` and the first success the container is "starting"; a
success makes it "healthy", `retries` failures in a row "unhealthy". Failures within the start period do not count.
The rules, the defaults and the words are those of moby's daemon/health.go.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from onggi.engine.container_config import HealthConfig

LOG_ENTRIES = 5
OUTPUT_BYTES = 4096
"""What an entry keeps of a probe's output."""
SECOND_NS = 1_000_000_000
DEFAULT_INTERVAL_NS = 30 * SECOND_NS
DEFAULT_TIMEOUT_NS = 30 * SECOND_NS
DEFAULT_START_INTERVAL_NS = 5 * SECOND_NS
DEFAULT_RETRIES = 3
DEFAULT_SHELL = ("/bin/sh", "-c")


class HealthStatus(StrEnum):
    """Docker's words."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe, as `inspect` shows it. Exit code -1: it did not end in time or could not be run."""

    start: datetime
    end: datetime
    exit_code: int
    output: str


class Probe(Protocol):
    """Runs a command in the container, as its user and with its environment."""

    def __call__(self, command: Sequence[str], timeout_s: float, limit_bytes: int, /) -> Awaitable[tuple[int, bytes]]:
        """Exit status and the first `limit_bytes` of its output, stdout and stderr together.

        Raises TimeoutError when it has not ended in time (it is killed then), OSError or OnggiError when it can't run.
        """
        ...


@dataclass(slots=True)
class Health:
    """The state of one container's checks."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    log: list[ProbeResult] = field(default_factory=list)
    """The last five, oldest first."""


def command_of(test: Sequence[str], shell: Sequence[str] | None) -> list[str] | None:
    """The command that a HEALTHCHECK's `test` means; None: no check (none given, or NONE)."""
    if not test or test[0] == "NONE":
        return None
    if test[0] == "CMD":
        return list(test[1:])
    if test[0] == "CMD-SHELL":
        return [*(shell or DEFAULT_SHELL), *test[1:]]
    return None


def record(health: Health, result: ProbeResult, config: HealthConfig, started_at: datetime) -> bool:
    """Note a result. Returns whether the status has changed. Pure but for `health`."""
    health.log = [*health.log, result][-LOG_ENTRIES:]
    before = health.status
    if result.exit_code == 0:
        health.failing_streak = 0
        health.status = HealthStatus.HEALTHY
    else:
        start_period = timedelta(microseconds=config.start_period / 1000)
        in_start_period = before == HealthStatus.STARTING and result.start - started_at < start_period
        if not in_start_period:
            health.failing_streak += 1
            if health.failing_streak >= (config.retries or DEFAULT_RETRIES):
                health.status = HealthStatus.UNHEALTHY
    return health.status != before


def pause_s(health: Health, config: HealthConfig, started_at: datetime, now: datetime) -> float:
    """How long to wait for the next probe: in the start period the start interval counts, if it is shorter."""
    interval = config.interval or DEFAULT_INTERVAL_NS
    if health.status == HealthStatus.STARTING and config.start_period:
        start_interval = config.start_interval or DEFAULT_START_INTERVAL_NS
        if now - started_at < timedelta(microseconds=config.start_period / 1000) and start_interval < interval:
            interval = start_interval
    return interval / SECOND_NS


async def probe_once(probe: Probe, command: Sequence[str], config: HealthConfig) -> ProbeResult:
    """Run one probe; whatever goes wrong with it is its result."""
    timeout_s = (config.timeout or DEFAULT_TIMEOUT_NS) / SECOND_NS
    start = datetime.now(UTC)
    try:
        exit_code, output = await probe(command, timeout_s, OUTPUT_BYTES)
        text = output[:OUTPUT_BYTES].decode(errors="replace")
    except TimeoutError:
        exit_code, text = -1, f"Health check exceeded timeout ({_duration(timeout_s)})"
    return ProbeResult(start, datetime.now(UTC), exit_code, text)


async def monitor(
    health: Health,
    config: HealthConfig,
    started_at: datetime,
    command: Sequence[str],
    probe: Probe,
    changed: Callable[[HealthStatus], None],
) -> None:
    """Probe until cancelled, which whoever sees the container end must do. `changed` hears of each new status."""
    while True:
        await asyncio.sleep(pause_s(health, config, started_at, datetime.now(UTC)))
        result = await probe_once(probe, command, config)
        if record(health, result, config, started_at):
            changed(health.status)


def _duration(seconds: float) -> str:
    """As Go prints a duration of whole milliseconds: 1m30s, 2s, 1.5s, 200ms."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"
