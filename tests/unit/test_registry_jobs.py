"""Jobs: done once, again after a failure or a death, never twice at once; events and their jobs go together."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onggi.registry import jobs
from onggi.registry.database import Connection, Database, SqliteDatabase
from onggi.registry.events import Event, EventKind, Events
from onggi.registry.jobs import Handler, Job, Postpone, Runner

SOON = timedelta(milliseconds=5)


def with_database(tmp_path: Path, work: Callable[[Database], Awaitable[None]]) -> None:
    async def walk() -> None:
        async with SqliteDatabase(tmp_path / "registry.db") as database:
            async with asyncio.timeout(60):
                await work(database)

    asyncio.run(walk())


async def states(database: Database) -> list[tuple[str, int, str]]:
    rows = await database.read(lambda connection: connection.execute("SELECT * FROM jobs ORDER BY id").fetchall())
    return [(row["state"], row["attempts"], row["error"]) for row in rows]


async def ended(database: Database, runner: Runner) -> None:
    """Until nothing waits or runs."""
    while any(state in ("waiting", "running") for state, _, _ in await states(database)):
        runner.nudge()
        await asyncio.sleep(0.005)


def test_a_failing_job_comes_again_and_then_fails(tmp_path: Path) -> None:
    attempts: list[int] = []

    async def fail(job: Job) -> None:
        attempts.append(job.attempt)
        raise OSError(f"attempt {job.attempt}")

    async def work(database: Database) -> None:
        await database.write(lambda connection: jobs.enqueue(connection, "k", {"a": 1}))
        async with Runner(database, {"k": Handler(fail, attempts=3, first_delay=SOON)}) as runner:
            await ended(database, runner)
        assert await states(database) == [("failed", 3, "OSError: attempt 3")]

    with_database(tmp_path, work)
    assert attempts == [1, 2, 3]


def test_jobs_go_on_after_the_database_has_failed(tmp_path: Path) -> None:
    """A full disk must not end the runner: nobody would see that nothing is scanned or delivered any more."""

    class Failing:
        """A database whose writes fail while `full`."""

        def __init__(self, inner: Database) -> None:
            self.inner, self.full, self.refused = inner, True, asyncio.Event()

        async def read(self, work: Any) -> Any:
            return await self.inner.read(work)

        async def write(self, work: Any) -> Any:
            if self.full:
                self.refused.set()
                raise sqlite3.OperationalError("database or disk is full")
            return await self.inner.write(work)

    async def nothing(_: Job) -> None:
        """The job."""

    async def work(database: Database) -> None:
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}))
        failing = Failing(database)
        async with Runner(failing, {"k": Handler(nothing)}) as runner:  # type: ignore[arg-type]
            await failing.refused.wait()
            failing.full = False
            await ended(database, runner)
        assert await states(database) == [("done", 1, "")]

    with_database(tmp_path, work)


def test_postponed_is_no_failure(tmp_path: Path) -> None:
    seen: list[int] = []

    async def wait(job: Job) -> None:
        seen.append(job.attempt)
        if len(seen) < 4:
            raise Postpone(SOON)

    async def work(database: Database) -> None:
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}))
        async with Runner(database, {"k": Handler(wait, attempts=1)}) as runner:
            await ended(database, runner)
        assert await states(database) == [("done", 1, "")]

    with_database(tmp_path, work)
    assert seen == [1, 1, 1, 1]


def test_a_job_whose_runner_died_is_taken_when_its_lease_ends(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}))
        lost = await database.write(lambda connection: jobs.claim(connection, "k", timedelta(hours=1)))
        assert lost is not None
        assert await database.write(lambda connection: jobs.claim(connection, "k", SOON)) is None
        await database.write(lambda connection: connection.execute("UPDATE jobs SET leased_until = '2020'"))
        again = await database.write(lambda connection: jobs.claim(connection, "k", SOON))
        assert again is not None
        assert (again.id, again.attempt) == (lost.id, 2)

    with_database(tmp_path, work)


def test_a_stopped_job_is_due_again_at_once(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        begun = asyncio.Event()

        async def hang(_: Job) -> None:
            begun.set()
            await asyncio.Event().wait()

        await database.write(lambda connection: jobs.enqueue(connection, "k", {}))
        async with Runner(database, {"k": Handler(hang)}):
            await begun.wait()
        assert await states(database) == [("waiting", 0, "the registry was stopped")]

    with_database(tmp_path, work)


def test_one_of_a_subject_waits_at_a_time(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        def enqueue(connection: Connection) -> None:
            for _ in range(3):
                jobs.enqueue(connection, "k", {}, subject="s")
                jobs.enqueue(connection, "k", {})

        await database.write(enqueue)
        assert len(await states(database)) == 4
        await database.write(lambda connection: jobs.claim(connection, "k", SOON))
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}, subject="s"))
        assert len(await states(database)) == 5  # what is running may have begun too early for what came since

    with_database(tmp_path, work)


def test_side_by_side_each_job_once(tmp_path: Path) -> None:
    done: list[int] = []

    async def note(job: Job) -> None:
        await asyncio.sleep(0)
        done.append(job.payload["n"])

    async def work(database: Database) -> None:
        def enqueue(connection: Connection) -> None:
            for number in range(50):
                jobs.enqueue(connection, "k", {"n": number})

        await database.write(enqueue)
        handler = {"k": Handler(note, at_once=4)}
        async with Runner(database, handler) as first, Runner(database, handler):
            await ended(database, first)

    with_database(tmp_path, work)
    assert sorted(done) == list(range(50))


def test_an_event_and_what_it_enqueues_come_together_or_not_at_all(tmp_path: Path) -> None:
    def on_event(connection: Connection, event: Event) -> None:
        jobs.enqueue(connection, "k", {"digest": event.digest})

    async def work(database: Database) -> None:
        events = Events([on_event])
        event = Event(EventKind.PUSH, "team/app", "someone", "v1", "sha256:1")

        def publish_and_fail(connection: Connection) -> None:
            events.publish(connection, event)
            raise ValueError("the push failed")

        with pytest.raises(ValueError, match="the push failed"):
            await database.write(publish_and_fail)
        assert await states(database) == []
        await database.write(lambda connection: events.publish(connection, event))
        rows = await database.read(lambda connection: connection.execute("SELECT project, kind FROM events").fetchall())
        assert [(row["project"], row["kind"]) for row in rows] == [("team", "push")]
        assert [state for state, _, _ in await states(database)] == ["waiting"]

    with_database(tmp_path, work)


def test_a_job_that_takes_the_registry_along_is_given_up(tmp_path: Path) -> None:
    """Its lease lapses, and another runner takes it: not for ever."""

    async def never(_: Job) -> None:
        raise AssertionError("it has been tried often enough")

    async def work(database: Database) -> None:
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}))
        for _ in range(3):
            await database.write(lambda connection: jobs.claim(connection, "k", timedelta(seconds=-1)))
        async with Runner(database, {"k": Handler(never, attempts=3, first_delay=SOON)}) as runner:
            await ended(database, runner)
        assert await states(database) == [("failed", 4, "the registry ended each time while this ran")]

    with_database(tmp_path, work)


def test_a_job_that_failed_is_run_again_when_somebody_says_so(tmp_path: Path) -> None:
    """With all its attempts; not one that waits, is done or is unknown, nor beside another that does the same."""
    good = False

    async def run(job: Job) -> None:
        if not good:
            raise OSError(f"attempt {job.attempt}")

    async def work(database: Database) -> None:
        nonlocal good
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}, subject="s"))
        with pytest.raises(jobs.JobNotFailed):
            await database.write(lambda connection: jobs.retry(connection, 1))
        async with Runner(database, {"k": Handler(run, attempts=2, first_delay=SOON)}) as runner:
            await ended(database, runner)
            assert await states(database) == [("failed", 2, "OSError: attempt 2")]
            await database.write(lambda connection: jobs.retry(connection, 1))
            await ended(database, runner)
            assert await states(database) == [("failed", 2, "OSError: attempt 2")]
            good = True
            await database.write(lambda connection: jobs.retry(connection, 1))
            await ended(database, runner)
            [(state, attempts, _)] = await states(database)
            assert (state, attempts) == ("done", 1)
            with pytest.raises(jobs.JobNotFailed):
                await database.write(lambda connection: jobs.retry(connection, 1))
            with pytest.raises(jobs.JobUnknown):
                await database.write(lambda connection: jobs.retry(connection, 2))
        await database.write(lambda connection: connection.execute("UPDATE jobs SET state = 'failed'"))
        await database.write(lambda connection: jobs.enqueue(connection, "k", {}, subject="s"))
        with pytest.raises(jobs.JobWaitsAlready):
            await database.write(lambda connection: jobs.retry(connection, 1))

    with_database(tmp_path, work)
