"""Work that is done once, later, even if the registry is killed meanwhile: a table, and one runner.

    jobs.enqueue(connection, "scan", {"repository": …, "digest": …}, subject=f"{repository}@{digest}")

A job is taken by a lease; a runner that dies lets it lapse, and another takes it. So a handler may run twice: it must
not mind. A handler that raises is run again after a while that doubles (`Handler.attempts` times), then the job is
`failed` and keeps its error. At most one job of a kind and subject waits at a time; an empty subject is never merged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import msgspec

from onggi.errors import Conflict, NotFound, OnggiError
from onggi.registry import clock
from onggi.registry.database import Connection, Database
from onggi.registry.jsonform import encode

log = logging.getLogger("onggi.registry.jobs")
_decode = msgspec.json.Decoder(dict[str, Any]).decode
KEPT = timedelta(days=14)
"""How long finished jobs stay to be looked at."""


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class JobUnknown(NotFound):
    def __init__(self, number: int) -> None:
        super().__init__(f"there is no job {number}: finished ones are kept for {KEPT.days} days")


class JobNotFailed(Conflict):
    def __init__(self, number: int, state: str) -> None:
        super().__init__(f"job {number} is {state}: only a job that failed is run again")


class JobWaitsAlready(Conflict):
    def __init__(self, number: int) -> None:
        super().__init__(f"another job does the same as {number}, and waits already")


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    kind: str
    subject: str
    payload: Mapping[str, Any]
    attempt: int
    """1 for the first."""


class Postpone(Exception):  # no error: a handler's way to say "again, then"
    """Raised by a handler: run the job again after `delay`; it does not count as an attempt that failed."""

    def __init__(self, delay: timedelta) -> None:
        super().__init__(f"again in {delay}")
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Handler:
    """How jobs of one kind are done."""

    run: Callable[[Job], Awaitable[None]]
    attempts: int = 8
    first_delay: timedelta = timedelta(seconds=2)
    most_delay: timedelta = timedelta(hours=1)
    at_once: int = 1
    """How many of this kind run side by side on one node."""
    lease: timedelta = timedelta(minutes=10)
    """One attempt is ended after this time, and counts as failed; unless it is renewed."""
    renewed: bool = False
    """The lease is renewed for as long as the handler runs: for work of any length, taken up soon after a crash."""

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after the `attempt`th failure."""
        return min(self.first_delay * (1 << min(attempt - 1, 20)), self.most_delay)


def enqueue(
    connection: Connection, kind: str, payload: Mapping[str, Any], *, subject: str = "", delay: timedelta = timedelta()
) -> None:
    """Note a job, in the caller's transaction."""
    at = clock.now()
    connection.execute(
        "INSERT INTO jobs (kind, subject, payload, state, run_at, created_at) VALUES (?, ?, ?, 'waiting', ?, ?)"
        " ON CONFLICT (kind, subject) WHERE state = 'waiting' AND subject != '' DO NOTHING",
        (kind, subject, encode(payload), clock.stamp(at + delay), clock.stamp(at)),
    )


def claim(connection: Connection, kind: str, lease: timedelta) -> Job | None:
    """Take the next job of `kind` that is due, or whose runner has died."""
    now = clock.now()
    row = connection.execute(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, leased_until = ? WHERE id = ("
        "  SELECT id FROM jobs WHERE kind = ? AND ((state = 'waiting' AND run_at <= ?)"
        "     OR (state = 'running' AND leased_until < ?)) ORDER BY run_at, id LIMIT 1)"
        " RETURNING id, kind, subject, payload, attempts",
        (clock.stamp(now + lease), kind, clock.stamp(now), clock.stamp(now)),
    ).fetchone()
    if row is None:
        return None
    return Job(row["id"], row["kind"], row["subject"], _decode(row["payload"]), row["attempts"])


def renew(connection: Connection, job: Job, lease: timedelta) -> None:
    """The job's runner is alive."""
    connection.execute(
        "UPDATE jobs SET leased_until = ? WHERE id = ? AND state = 'running'",
        (clock.stamp(clock.now() + lease), job.id),
    )


def release_all(connection: Connection) -> None:
    """Whatever ran has died with its runner: there is no other node. It may be taken at once."""
    connection.execute("UPDATE jobs SET leased_until = '' WHERE state = 'running'")


def cancel(connection: Connection, kind: str, subject: str) -> None:
    """Forget a job that waits."""
    connection.execute("DELETE FROM jobs WHERE kind = ? AND subject = ? AND state = 'waiting'", (kind, subject))


def retry(connection: Connection, number: int) -> Any:
    """Have a job that failed run again, with all its attempts; gives its row.

    Raises JobUnknown, JobNotFailed, JobWaitsAlready.
    """
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise JobUnknown(number)
    if row["state"] != JobState.FAILED:
        raise JobNotFailed(number, row["state"])
    if _waits(connection, row["kind"], row["subject"]):
        raise JobWaitsAlready(number)
    connection.execute(
        "UPDATE jobs SET state = 'waiting', attempts = 0, run_at = ?, finished_at = '' WHERE id = ? AND state = 'failed'",
        (clock.stamp(), number),
    )
    return row


def _waits(connection: Connection, kind: str, subject: str) -> bool:
    """True when a job that would be merged with one of these waits."""
    row = connection.execute(
        "SELECT 1 FROM jobs WHERE kind = ? AND subject = ? AND subject != '' AND state = 'waiting'", (kind, subject)
    ).fetchone()
    return row is not None


def _finish(connection: Connection, job: Job, state: JobState, error: str = "") -> None:
    connection.execute(
        "UPDATE jobs SET state = ?, error = ?, finished_at = ?, leased_until = '' WHERE id = ?",
        (state, error[:2000], clock.stamp(), job.id),
    )


def _again(connection: Connection, job: Job, delay: timedelta, error: str, *, failed: bool) -> None:
    # Another of the kind and subject may wait by now: it does this one's work too.
    if _waits(connection, job.kind, job.subject):
        _finish(connection, job, JobState.DONE, error)
        return
    connection.execute(
        "UPDATE jobs SET state = 'waiting', error = ?, run_at = ?, leased_until = '', attempts = attempts - ?"
        " WHERE id = ?",
        (error[:2000], clock.stamp(clock.now() + delay), 0 if failed else 1, job.id),
    )


class Runner:
    """Runs due jobs. Enter it to start; leave it to stop: what runs is cancelled and is due again at once."""

    IDLE_S = 5.0
    """How often a node looks for jobs that other nodes enqueued, or whose runner died."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._handlers = dict(handlers)
        self._news: list[asyncio.Event] = []
        self._task: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        """There may be work now. Called on the loop, after each transaction that may have enqueued some."""
        for event in self._news:
            event.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._serve(), name="jobs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, handler in self._handlers.items():
                for number in range(handler.at_once):
                    group.create_task(self._work(kind, handler), name=f"jobs {kind} {number}")

    async def _work(self, kind: str, handler: Handler) -> None:
        news = asyncio.Event()
        self._news.append(news)
        while True:
            news.clear()
            try:
                job = await self._database.write(lambda connection: claim(connection, kind, handler.lease))
                if job is not None:
                    await self._run(job, handler)
                    continue
                wait_s = await self._database.read(lambda connection: _seconds_to_next(connection, kind))
            except Exception:  # the edge: a full disk, say, ends nobody's work for good; the lease brings the job back
                log.exception("jobs of the kind %s could not be taken, or not be noted", kind)
                wait_s = self.IDLE_S
            try:
                async with asyncio.timeout(min(wait_s, self.IDLE_S)):
                    await news.wait()
            except TimeoutError:
                pass  # time to look again

    async def _attempt(self, job: Job, handler: Handler) -> None:
        if not handler.renewed:
            async with asyncio.timeout(handler.lease.total_seconds()):
                await handler.run(job)
            return
        renewing = asyncio.create_task(self._renew(job, handler.lease), name=f"lease of job {job.id}")
        try:
            await handler.run(job)
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _renew(self, job: Job, lease: timedelta) -> None:
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                await self._database.write(lambda connection: renew(connection, job, lease))
            except Exception:  # the edge: the next time, then; if none comes in time another node takes the job
                log.exception("the lease of job %d could not be renewed", job.id)

    async def _run(self, job: Job, handler: Handler) -> None:
        if job.attempt > handler.attempts:
            # It never got so far as to fail: each time the registry ended while it ran, perhaps because of it.
            sentence = "the registry ended each time while this ran"
            await self._database.write(lambda connection: _finish(connection, job, JobState.FAILED, sentence))
            return
        try:
            await self._attempt(job, handler)
        except asyncio.CancelledError:
            await self._database.write(
                lambda connection: _again(connection, job, timedelta(), "the registry was stopped", failed=False)
            )
            raise
        except Postpone as postponed:
            delay = postponed.delay
            await self._database.write(lambda connection: _again(connection, job, delay, "", failed=False))
        except Exception as error:  # the edge: whatever a handler meets is noted with the job
            sentence = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            log.warning("job %d (%s %s), attempt %d: %s", job.id, job.kind, job.subject, job.attempt, sentence,
                        exc_info=not isinstance(error, OnggiError | OSError | TimeoutError))  # fmt: skip
            if job.attempt >= handler.attempts:
                await self._database.write(lambda connection: _finish(connection, job, JobState.FAILED, sentence))
            else:
                delay = handler.delay(job.attempt)
                await self._database.write(lambda connection: _again(connection, job, delay, sentence, failed=True))
        else:
            await self._database.write(lambda connection: _finish(connection, job, JobState.DONE))


def _seconds_to_next(connection: Connection, kind: str) -> float:
    row = connection.execute(
        "SELECT MIN(run_at) AS due FROM jobs WHERE kind = ? AND state = 'waiting'", (kind,)
    ).fetchone()
    if row["due"] is None:
        return Runner.IDLE_S
    return max(0.0, (clock.moment(row["due"]) - clock.now()).total_seconds())


def forget_finished(connection: Connection, age: timedelta = KEPT) -> None:
    """Delete jobs that ended longer than `age` ago."""
    connection.execute("DELETE FROM jobs WHERE state IN ('done', 'failed') AND finished_at < ?", (clock.ago(age),))
