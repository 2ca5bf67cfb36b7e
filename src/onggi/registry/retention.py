"""Retention: which tags and untagged manifests a project keeps, by rules; tried without effect first.

    [{"repositories": "*", "tags": "build-*", "keep_last": 10, "keep_days": 30, "untagged_days": 7}]

A tag that fits a rule's patterns stays if it is one of the newest `keep_last`, or was moved within `keep_days`; one that
fits no rule stays. Immutable tags stay. With `untagged_days`, manifests older than that go which no tag, no index and no
live subject names. What goes can be brought back as after any deletion.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import msgspec

from onggi.errors import InvalidParameter
from onggi.registry import audit, clock, jobs, manifests, projects, tags
from onggi.registry.audit import Actor
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind, Events
from onggi.registry.glob import fits
from onggi.registry.jobs import Handler, Job
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.tags import TagAction

KIND = "retention"
EVERY = timedelta(days=1)
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class RetentionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    repositories: Pattern = "*"
    """Without the project's name."""
    tags: Pattern = "*"
    keep_last: Count | None = None
    keep_days: Count | None = None
    untagged_days: Count | None = None


class ImmutableRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags that never move and are never deleted, once they are there."""

    repositories: Pattern = "*"
    tags: Pattern = "*"


_rules = msgspec.json.Decoder(list[RetentionRule])


def rules_of(project: Any) -> list[RetentionRule]:
    return _rules.decode(project["retention"])


def check_rules(rules: Sequence[RetentionRule]) -> None:
    """Raises InvalidParameter for a rule that keeps nothing and so would delete all it fits."""
    for rule in rules:
        if rule.keep_last is None and rule.keep_days is None and rule.untagged_days is None:
            raise InvalidParameter("a retention rule needs keep_last, keep_days or untagged_days")


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something that the rules let go."""

    repository: str
    tag: str
    """"" for a manifest without one."""
    digest: str
    since: str


def _tags_to_go(rows: Iterable[Any], rules: Sequence[RetentionRule], now_age: dict[int, str]) -> list[Any]:
    """Rows (newest first) that at least one rule fits and none keeps."""
    seen = [0] * len(rules)
    going = []
    for row in rows:
        ruled = kept = False
        for number, rule in enumerate(rules):
            if (rule.keep_last is None and rule.keep_days is None) or not fits(rule.tags, row["name"]):
                continue
            ruled = True
            seen[number] += 1
            if rule.keep_last is not None and seen[number] <= rule.keep_last:
                kept = True
            if rule.keep_days is not None and row["updated_at"] >= now_age[rule.keep_days]:
                kept = True
        if ruled and not kept:
            going.append(row)
    return going


def doomed(connection: Connection, project: Any) -> list[Doomed]:
    """What the project's rules would delete now."""
    rules = rules_of(project)
    days = {days for rule in rules for days in (rule.keep_days, rule.untagged_days) if days is not None}
    ages = {count: clock.ago(timedelta(days=count)) for count in days}
    found: list[Doomed] = []
    repositories = connection.execute(
        "SELECT id, name FROM repositories WHERE project_id = ? ORDER BY name", (project["id"],)
    ).fetchall()
    for repository in repositories:
        path = repository["name"].partition("/")[2]
        fitting = [rule for rule in rules if fits(rule.repositories, path)]
        if not fitting:
            continue
        rows = connection.execute(
            "SELECT name, digest, updated_at FROM tags WHERE repository_id = ? ORDER BY updated_at DESC, name",
            (repository["id"],),
        ).fetchall()
        for row in _tags_to_go(rows, fitting, ages):
            if not tags.is_immutable(connection, repository["id"], row["name"]):
                found.append(Doomed(repository["name"], row["name"], row["digest"], row["updated_at"]))
        limits = [ages[rule.untagged_days] for rule in fitting if rule.untagged_days is not None]
        if limits:
            found += [
                Doomed(repository["name"], "", row["digest"], row["pushed_at"])
                for row in _untagged(connection, repository["id"], min(limits))
            ]
    return found


def _untagged(connection: Connection, repository_id: int, before: str) -> list[Any]:
    return connection.execute(
        "SELECT m.digest, m.pushed_at FROM manifests m WHERE m.repository_id = ? AND m.deleted_at = '' AND m.pushed_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = m.repository_id AND t.digest = m.digest)"
        " AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests i ON i.repository_id = f.repository_id"
        "   AND i.digest = f.manifest AND i.deleted_at = '' WHERE f.repository_id = m.repository_id"
        "   AND f.digest = m.digest)"
        " AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.digest = m.subject"
        "   AND s.deleted_at = '') ORDER BY m.digest",
        (repository_id, before),
    ).fetchall()


def apply(connection: Connection, events: Events, project_name: str, actor: Actor) -> list[Doomed]:
    """Delete what the rules let go, in this transaction; gives it."""
    found = doomed(connection, projects.find(connection, project_name))
    for item in found:
        repository_id = connection.execute("SELECT id FROM repositories WHERE name = ?", (item.repository,)).fetchone()[
            "id"
        ]
        if item.tag:
            tags.delete(connection, repository_id, item.tag, actor.name, TagAction.RETENTION)
        else:
            manifests.delete(connection, repository_id, item.digest, actor.name, TagAction.RETENTION)
        events.publish(
            connection,
            Event(EventKind.DELETE, item.repository, actor.name, item.tag, item.digest, {"by": "retention"}),
        )
    if found:
        audit.record(connection, actor, "apply retention", project=project_name, details={"deleted": len(found)})
    return found


def install(service: Service) -> list[Route]:
    """Apply all projects' rules once a day."""

    async def run(_: Job) -> None:
        rows = await service.read(
            lambda connection: connection.execute("SELECT name FROM projects WHERE retention != '[]'").fetchall()
        )
        for row in rows:
            name = row["name"]
            await service.write(lambda connection, name=name: apply(connection, service.events, name, audit.SYSTEM))  # type: ignore[misc]
        await service.write(lambda connection: jobs.enqueue(connection, KIND, {}, subject="all", delay=EVERY))

    service.job_handlers[KIND] = Handler(run, attempts=1_000_000)
    service.at_start.append(lambda connection: jobs.enqueue(connection, KIND, {}, subject="all", delay=EVERY))
    return []
