"""Health checks: when a container counts as healthy, and what a probe's end means."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from onggi.engine.container_config import HealthConfig
from onggi.engine.health import (
    SECOND_NS,
    Health,
    HealthStatus,
    ProbeResult,
    command_of,
    monitor,
    pause_s,
    probe_once,
    record,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def result(exit_code: int, after_s: float = 100.0) -> ProbeResult:
    moment = START + timedelta(seconds=after_s)
    return ProbeResult(moment, moment, exit_code, "")


def test_three_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    health, config = Health(), HealthConfig()
    assert [record(health, result(1), config, START) for _ in range(3)] == [False, False, True]
    assert (health.status, health.failing_streak) == (HealthStatus.UNHEALTHY, 3)
    assert record(health, result(0), config, START)
    assert (health.status, health.failing_streak) == (HealthStatus.HEALTHY, 0)
    record(health, result(1), config, START)
    record(health, result(0), config, START)
    assert not record(health, result(1), config, START)
    assert health.failing_streak == 1


def test_failures_in_the_start_period_do_not_count() -> None:
    health, config = Health(), HealthConfig(retries=1, start_period=10 * SECOND_NS)
    assert not record(health, result(1, after_s=5), config, START)
    assert health.failing_streak == 0
    assert record(health, result(1, after_s=11), config, START)
    assert health.status == HealthStatus.UNHEALTHY


def test_after_a_success_the_start_period_is_over() -> None:
    health, config = Health(), HealthConfig(retries=1, start_period=100 * SECOND_NS)
    record(health, result(0, after_s=1), config, START)
    assert record(health, result(1, after_s=2), config, START)
    assert health.status == HealthStatus.UNHEALTHY


def test_the_last_five_results_are_kept() -> None:
    health = Health()
    for number in range(8):
        record(health, result(number), HealthConfig(), START)
    assert [entry.exit_code for entry in health.log] == [3, 4, 5, 6, 7]


def test_the_start_interval_counts_within_the_start_period() -> None:
    config = HealthConfig(interval=20 * SECOND_NS, start_period=60 * SECOND_NS, start_interval=2 * SECOND_NS)
    assert pause_s(Health(), config, START, START + timedelta(seconds=5)) == 2
    assert pause_s(Health(), config, START, START + timedelta(seconds=61)) == 20
    assert pause_s(Health(HealthStatus.HEALTHY), config, START, START + timedelta(seconds=5)) == 20


@pytest.mark.parametrize(
    ("test", "shell", "command"),
    [
        ([], None, None),
        (["NONE"], None, None),
        (["CMD", "a", "b c"], None, ["a", "b c"]),
        (["CMD-SHELL", "a | b"], None, ["/bin/sh", "-c", "a | b"]),
        (["CMD-SHELL", "a"], ["/bin/bash", "-ec"], ["/bin/bash", "-ec", "a"]),
    ],
)
def test_what_a_check_runs(test: list[str], shell: list[str] | None, command: list[str] | None) -> None:
    assert command_of(test, shell) == command


def test_a_probe_that_takes_too_long() -> None:
    async def never(command: Sequence[str], timeout_s: float, limit_bytes: int) -> tuple[int, bytes]:
        raise TimeoutError

    found = asyncio.run(probe_once(never, ["x"], HealthConfig(timeout=90 * SECOND_NS)))
    assert (found.exit_code, found.output) == (-1, "Health check exceeded timeout (1m30s)")


def test_the_monitor_tells_each_change_once() -> None:
    answers = iter([1, 1, 0, 0, 1])
    heard: list[HealthStatus] = []

    async def answer(command: Sequence[str], timeout_s: float, limit_bytes: int) -> tuple[int, bytes]:
        return next(answers), b"said"  # StopIteration ends the monitor: a RuntimeError from a coroutine

    config = HealthConfig(interval=1, retries=2)
    health = Health()
    with pytest.raises(RuntimeError):
        asyncio.run(monitor(health, config, datetime.now(UTC), ["x"], answer, heard.append))
    assert heard == [HealthStatus.UNHEALTHY, HealthStatus.HEALTHY]
    assert health.log[-1].output == "said"
