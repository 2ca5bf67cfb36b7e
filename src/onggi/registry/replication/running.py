"""The jobs: carry out a run, begin runs by the clock; and the subscriber that begins them when something happens."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

from onggi.distribution.client import Client
from onggi.distribution.failure import Answer, AnswerBusy
from onggi.distribution.repository import Repository, repositories
from onggi.errors import NotFound, OnggiError
from onggi.registry import audit, tags
from onggi.registry import repositories as here
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.glob import fits
from onggi.registry.jobs import Handler, Job, Postpone
from onggi.registry.metrics import Counter
from onggi.registry.names import project_of, repository_name
from onggi.registry.replication import rules, runs
from onggi.registry.replication.copying import Copier, about
from onggi.registry.replication.pulling import Pull
from onggi.registry.replication.pushing import Push
from onggi.registry.replication.rules import Direction, Rule
from onggi.registry.replication.runs import KIND, SCHEDULE, Act, Cause, Outcome, Run, State
from onggi.registry.service import Service
from onggi.registry.tags import TagAction

log = logging.getLogger("onggi.registry.replication")
ATTEMPTS = 8
AT_ONCE = 4
LEASE = timedelta(seconds=20)
"""So soon another node takes up what a dead one did. Run twice, a run does nothing twice."""
MOST_WAIT_S = 3600.0


class Incomplete(OnggiError):
    """Some images were not copied: again, later."""


class _RuleGone(Exception):
    """The rule was deleted while it ran, and its run with it: nobody wants the rest."""


class CatalogueNeeded(OnggiError):
    def __init__(self, namespace: str, error: OnggiError) -> None:
        super().__init__(
            f"{namespace} does not list its repositories ({error}): name them in the rule, without * and ?"
        )


class Runs:
    """Carries out the runs of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._outcomes = Counter("onggi_registry_replication_total", "Images replicated.", "direction", "outcome")
        self._bytes = Counter("onggi_registry_replication_bytes_total", "Bytes of blobs replicated.", "direction")
        service.metrics.add(self._outcomes)
        service.metrics.add(self._bytes)

    async def carry_out(self, job: Job) -> None:
        number = int(job.payload["run"])

        def start(connection: Connection) -> tuple[Run, Rule] | None:
            run = runs.start(connection, number)
            rule = rules.by_id(connection, run.rule_id) if run is not None else None
            return (run, rule) if run is not None and rule is not None else None

        found = await self._service.database.write(start)
        if found is None:
            return  # deleted with its rule
        run, rule = found
        if not rule.enabled and not run.dry_run:
            await self._finish(run, State.FAILED, "the rule is switched off")
            return
        try:
            failed, wait_s = await _Work(self._service, rule, run, self._count).all()
        except _RuleGone:
            return
        except OnggiError as error:
            last = job.attempt >= ATTEMPTS
            await self._finish(run, State.FAILED if last else State.WAITING, str(error))
            raise
        if not failed:
            await self._finish(run, State.DONE)
            return
        sentence = f"{failed} image{'s' if failed > 1 else ''} could not be replicated"
        if wait_s is not None:
            await self._finish(run, State.WAITING, f"{sentence}: the remote asks to wait {wait_s:.0f} seconds")
            raise Postpone(timedelta(seconds=min(max(wait_s, 1.0), MOST_WAIT_S)))
        await self._finish(run, State.FAILED if job.attempt >= ATTEMPTS else State.WAITING, sentence)
        raise Incomplete(sentence)

    async def _finish(self, run: Run, state: State, error: str = "") -> None:
        await self._service.database.write(lambda connection: runs.finish(connection, run, state, error))

    def _count(self, rule: Rule, outcome: Outcome, size_bytes: int) -> None:
        self._outcomes.add(rule.direction.value, outcome.value)
        if size_bytes:
            self._bytes.add(rule.direction.value, amount=size_bytes)

    async def schedule(self, job: Job) -> None:
        """A rule's time has come. Its next job is made by this one, as long as the rule wants it."""
        rule_id = int(job.payload["rule"])

        def again(connection: Connection) -> None:
            rule = rules.by_id(connection, rule_id)
            if rule is None or not rule.enabled or not rule.every_s:
                return
            if not runs.busy(connection, rule):
                runs.begin(connection, rule, Cause.SCHEDULE)
            runs.plan(connection, rule)

        await self._service.write(again)


class _Work:
    """One run's."""

    def __init__(self, service: Service, rule: Rule, run: Run, count: Callable[[Rule, Outcome, int], None]) -> None:
        self._service, self._rule, self._run, self._count = service, rule, run, count
        self._failed = 0
        self._wait_s: float | None = None

    async def all(self) -> tuple[int, float | None]:
        """How many images failed, and how long the remote asks to wait. Raises what ends the whole run."""
        run = self._run
        if run.act is Act.COPY:
            await self._one(run.repository, run.reference, self._copy)
        elif run.act is Act.DELETE:
            await self._one(run.repository, run.reference, self._delete_there)
        else:
            async for repository, tag in self._images():
                await self._one(repository, tag, self._copy)
                if self._wait_s is not None:
                    break  # all others would be refused too
        return self._failed, self._wait_s

    async def _one(self, repository: str, tag: str, act: "Callable[[str, str], Any]") -> None:
        try:
            await act(repository, tag)
        except OnggiError as error:
            self._failed += 1
            if isinstance(error, AnswerBusy) and error.retry_after_s is not None:
                self._wait_s = error.retry_after_s
            log.warning("%s: %s:%s: %s", self._rule.actor.name, repository, tag, error)
            await self._note(repository, tag, "", Outcome.FAILED, error=str(error))

    async def _note(
        self, repository: str, tag: str, digest: str, outcome: Outcome, size_bytes: int = 0, error: str = ""
    ) -> None:
        rule, service = self._rule, self._service
        self._count(rule, outcome, size_bytes)

        def write(connection: Connection) -> bool:
            if not runs.note(connection, self._run, repository, tag, digest, outcome, size_bytes, error):
                return False
            if outcome in (Outcome.COPIED, Outcome.DELETED, Outcome.FAILED):
                details = {"rule": rule.name, "direction": rule.direction.value, "remote": rule.remote.name,
                           "outcome": outcome.value, "bytes": size_bytes}  # fmt: skip
                service.events.publish(connection, Event(
                    EventKind.REPLICATION, repository, rule.actor.name, tag, digest, details | ({"error": error} if error else {})
                ))  # fmt: skip
            return True

        if not await service.write(write):
            raise _RuleGone

    # One image

    async def _copy(self, repository: str, tag: str) -> None:
        rule, service = self._rule, self._service
        there = await self._there(repository)
        ends = (
            Push(service, repository, there) if rule.direction is Direction.PUSH
            else Pull(service, rule.actor, repository, there)
        )  # fmt: skip
        if self._run.dry_run:
            document = await ends.manifest(tag)
            same = await ends.there(tag) == document.digest
            await self._note(repository, tag, document.digest, Outcome.PRESENT if same else Outcome.WOULD_COPY)
            return
        try:
            tally = await Copier(ends).copy(tag)
        except NotFound:
            if not await ends.tagged(tag):
                await self._note(repository, tag, "", Outcome.GONE)
                return
            raise
        outcome = Outcome.COPIED if tally.documents else Outcome.PRESENT
        await self._note(repository, tag, tally.digest, outcome, tally.size_bytes)

    async def _delete_there(self, repository: str, tag: str) -> None:
        """Only what still is what was deleted here: who has pushed there since keeps theirs."""
        ends = Push(self._service, repository, await self._there(repository))
        digest = await ends.there(tag)
        if not digest:
            await self._note(repository, tag, "", Outcome.GONE)
        elif digest != self._run.digest or await ends.tagged(tag):
            await self._note(repository, tag, digest, Outcome.KEPT)
        else:
            await (await self._there(repository, actions="pull,push,delete")).delete_manifest(tag)
            await self._note(repository, tag, digest, Outcome.DELETED)

    async def _there(self, repository: str, actions: str = "") -> Repository:
        rule = self._rule
        actions = actions or ("pull,push" if rule.direction is Direction.PUSH else "pull")
        return await self._service.reach.repository(rule.remote, rule.there(repository), actions=actions)

    # All images

    async def _images(self) -> AsyncIterator[tuple[str, str]]:
        """Repository here, and tag. What the rule would delete is deleted on the way."""
        if self._rule.direction is Direction.PUSH:
            for found in await self._service.database.scan(lambda connection: _tags_here(connection, self._rule)):
                yield found
            return
        for repository in await self._repositories_there():
            there = await self._there(repository)
            try:
                listed = [tag for tag in await there.tags() if fits(self._rule.tags, tag)]
            except OnggiError as error:
                self._failed += 1
                await self._note(repository, "", "", Outcome.FAILED, error=str(error))
                continue
            for tag in listed:
                if about(tag) is None:  # those go with what they are about
                    yield repository, tag
            if self._rule.deletes:
                await self._delete_here(repository, set(listed))

    async def _repositories_there(self) -> Sequence[str]:
        """Full names here of what the rule fits there."""
        rule = self._rule
        parts = [part.strip() for part in rule.repositories.split(",")]
        paths = [part for part in parts if part and "*" not in part and "?" not in part]
        if len(paths) < len(parts):
            client = await self._service.reach.client(rule.remote)
            paths += await self._catalogue(client)
        return [repository_name(f"{rule.project}/{path}") for path in dict.fromkeys(paths)]

    async def _catalogue(self, client: Client) -> list[str]:
        try:
            listed = await repositories(client)
        except Answer as error:
            raise CatalogueNeeded(self._rule.remote.namespace, error) from error
        paths = [self._rule.path_of(name) for name in listed]
        return [path for path in paths if path is not None and fits(self._rule.repositories, path)]

    async def _delete_here(self, repository: str, kept: set[str]) -> None:
        """Tags that this rule has brought, and that the source has no more. Others' are not touched."""
        rule, service = self._rule, self._service

        def find(connection: Connection) -> list[tuple[str, str]]:
            rows = connection.execute(
                "SELECT t.name, t.digest FROM tags t JOIN repositories r ON r.id = t.repository_id"
                " WHERE r.name = ? AND t.updated_by = ? ORDER BY t.name",
                (repository, rule.actor.name),
            ).fetchall()
            return [(row["name"], row["digest"]) for row in rows
                    if row["name"] not in kept and fits(rule.tags, row["name"]) and about(row["name"]) is None]  # fmt: skip

        for tag, digest in await service.read(find):
            if self._run.dry_run:
                await self._note(repository, tag, digest, Outcome.WOULD_DELETE)
                continue

            def forget(connection: Connection, tag: str = tag, digest: str = digest) -> None:
                row = here.find(connection, repository)
                tags.delete(connection, row["id"], tag, rule.actor.name, TagAction.DELETE)
                audit.record(connection, rule.actor, "delete tag", project=rule.project, subject=f"{repository}:{tag}",
                             details={"digest": digest})  # fmt: skip
                service.events.publish(connection, Event(
                    EventKind.DELETE, repository, rule.actor.name, tag, digest, {"tags": [tag]},
                ))  # fmt: skip

            try:
                await service.write(forget)
            except OnggiError as error:
                self._failed += 1
                await self._note(repository, tag, digest, Outcome.FAILED, error=str(error))
            else:
                await self._note(repository, tag, digest, Outcome.DELETED)


def _tags_here(connection: Connection, rule: Rule) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT r.name AS repository, t.name AS tag FROM tags t JOIN repositories r ON r.id = t.repository_id"
        " JOIN projects p ON p.id = r.project_id WHERE p.name = ? ORDER BY r.name, t.name",
        (rule.project,),
    ).fetchall()
    return [
        (row["repository"], row["tag"])
        for row in rows
        if rule.wants(row["repository"], row["tag"]) and about(row["tag"]) is None
    ]


def _tags_about(connection: Connection, repository: str, digest: str) -> list[str]:
    """Tags of an image, and of indexes that it is part of."""
    rows = connection.execute(
        "SELECT DISTINCT t.name FROM tags t JOIN repositories r ON r.id = t.repository_id LEFT JOIN manifest_references f"
        " ON f.repository_id = t.repository_id AND f.manifest = t.digest AND f.digest = ?"
        " WHERE r.name = ? AND (t.digest = ? OR f.digest IS NOT NULL) ORDER BY t.name",
        (digest, repository, digest),
    ).fetchall()
    return [row["name"] for row in rows]


def on_event(connection: Connection, event: Event) -> None:
    """Begin the runs of the rules that want to know."""
    if event.kind not in (EventKind.PUSH, EventKind.DELETE, EventKind.ROLLBACK):
        return
    found = rules.acting_on(connection, project_of(event.repository))
    if not found:
        return
    if event.kind is EventKind.DELETE:
        names = [event.reference] if event.reference else list(event.details.get("tags", ()))
        for rule in found:
            for tag in names:
                if rule.deletes and rule.wants(event.repository, tag):
                    runs.begin(connection, rule, Cause.EVENT, Act.DELETE, repository=event.repository, reference=tag,
                               digest=event.digest)  # fmt: skip
        return
    subject = about(event.reference) or event.details.get("subject", "")
    names = (
        _tags_about(connection, event.repository, subject) if subject else [event.reference] if event.reference else []
    )
    for rule in found:
        for tag in names:
            if rule.wants(event.repository, tag):
                runs.begin(connection, rule, Cause.EVENT, Act.COPY, repository=event.repository, reference=tag)


def install(service: Service) -> None:
    work = Runs(service)
    service.events.subscribe(on_event)
    service.job_handlers[KIND] = Handler(
        work.carry_out, attempts=ATTEMPTS, first_delay=timedelta(seconds=2), at_once=AT_ONCE, lease=LEASE, renewed=True
    )
    service.job_handlers[SCHEDULE] = Handler(work.schedule, attempts=1_000_000)
