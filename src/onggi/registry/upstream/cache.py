"""What the handlers of /v2 ask of a project that is a cache: have it here before we look, or say why not.

For every other project all of this is one look at a short list in memory.

A manifest by digest is fetched once and is good for ever. A tag is believed for `check_s`; then the upstream is asked by
HEAD what it means, and the manifest is fetched only if it is another one. Where the upstream can't be reached, has had enough of
us or fails, what is here is given out, and the answer says so; where it answers that there is no such thing, or that we may
not, that is the answer.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from onggi.content.objects import Objects
from onggi.distribution.failure import AnswerNotFound, Misbehaved, Unreachable
from onggi.distribution.repository import Repository
from onggi.errors import OnggiError
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.registry import blobs, jobs, manifests, projects, repositories, tags
from onggi.registry.database import Connection, Database
from onggi.registry.events import Event, EventKind, Events
from onggi.registry.manifests import Document
from onggi.registry.metrics import Counter, Metrics
from onggi.registry.names import LIBRARY, project_of
from onggi.registry.projects import ProjectUnknown
from onggi.registry.reach import Reach
from onggi.registry.refusals import BlobNotHere, ManifestUnknown, QuotaExceeded, RepositoryUnknown, TagImmutable
from onggi.registry.upstream import refusal, upstreams
from onggi.registry.upstream.incoming import Incoming, bring
from onggi.registry.upstream.upstreams import Upstream

log = logging.getLogger("onggi.registry.upstream")
T = TypeVar("T")
WHO = "upstream"
"""Who stores what comes, in histories and events."""
EVICT = "evict"
_TABLE_S = 2.0
"""How soon another node sees that a project became a cache."""
_DOWN_S = 15.0
"""After it could not be reached an upstream is left alone for so long, where something is here to give out instead."""
_MOST_CHECKED = 20_000


class Cache:
    """The caches of one registry."""

    def __init__(
        self, database: Database, objects: Objects, pool: Executor, reach: Reach, events: Events, metrics: Metrics,
        mirror: str,
    ) -> None:  # fmt: skip
        self._database, self._objects, self._pool = database, objects, pool
        self._reach, self._events, self._mirror = reach, events, mirror
        self._table: dict[str, Upstream] = {}
        self._read_at = 0.0
        self._incoming: dict[tuple[str, Digest], Incoming] = {}
        self._fetches: dict[tuple[str, str], asyncio.Task[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._down: dict[int, float] = {}
        self._answers = Counter("onggi_registry_upstream_total", "Pulls through caches.", "what", "outcome")
        self._bytes = Counter("onggi_registry_upstream_bytes_total", "Bytes of blobs fetched from upstreams.")
        metrics.add(self._answers)
        metrics.add(self._bytes)

    # Which repository is meant

    def forget_table(self) -> None:
        """It has been changed on this node."""
        self._read_at = 0.0

    async def of(self, repository: str) -> Upstream | None:
        """The upstream of a repository; None for one that is no cache."""
        await self.load()
        return self._table.get(project_of(repository)) if self._table else None

    async def load(self) -> None:
        """Have the list of caches at hand for `canonical`."""
        if time.monotonic() - self._read_at > _TABLE_S:
            found = await self._database.read(upstreams.all_of)
            self._table = {upstream.project: upstream for upstream in found}
            self._read_at = time.monotonic()

    @property
    def empty(self) -> bool:
        """True when no project is a cache. `load` has been called."""
        return not self._table

    def canonical(self, connection: Connection, repository: str, namespace: str = "", *, reading: bool = True) -> str:
        """The repository that a client means by a name: often just that. `load` has been called.

        `namespace` is what containerd adds for a mirror (`?ns=docker.io`). Docker adds nothing: with `--mirror` a name that is
        of no project here is one of the mirrored registry; what is of a project here never is.
        """
        if not self._table:
            return repository
        project = project_of(repository)
        mirror: Upstream | None = None
        if not reading:
            pass  # nobody pushes through a mirror
        elif namespace and project not in self._table:
            mirror = next((found for found in self._table.values() if found.remote.namespace == namespace), None)
        elif self._mirror and project not in self._table and not self._is_here(connection, repository, project):
            mirror = self._table.get(self._mirror)
        if mirror is not None:
            repository, project = f"{mirror.project}/{repository}", mirror.project
        found = self._table.get(project)
        return found.canonical(repository) if found is not None else repository

    @staticmethod
    def _is_here(connection: Connection, repository: str, project: str) -> bool:
        try:
            if project != LIBRARY:
                projects.find(connection, project)
            else:  # every registry has this one, and Docker Hub's official images are called so
                repositories.find(connection, repository)
        except (ProjectUnknown, RepositoryUnknown):
            return False
        return True

    async def refuse_push(self, repository: str) -> None:
        """Raises CacheTakesNoPush."""
        upstream = await self.of(repository)
        if upstream is not None:
            raise refusal.CacheTakesNoPush(upstream.project, upstream.remote.namespace)

    # Manifests

    async def manifest(self, repository: str, reference: str) -> str:
        """Have the manifest of a tag or digest here. Gives the warning that its answer shall carry, or "".

        Raises what `refusal.of` makes of the upstream's refusal.
        """
        upstream = await self.of(repository)
        if upstream is None:
            return ""
        if isinstance(reference, Digest):
            if await self._stored(repository, reference) == reference:
                self._answers.add("manifest", "hit")
                return ""
        elif self._checked.get((repository, reference), 0.0) > time.monotonic() and await self._stored(
            repository, reference
        ):
            self._answers.add("manifest", "hit")
            return ""
        return await self._together(
            self._fetches, (repository, reference), lambda: self._refresh(upstream, repository, reference)
        )

    async def _stored(self, repository: str, reference: str) -> str:
        """The digest of what is here; "" for nothing."""

        def find(connection: Connection) -> str:
            try:
                return manifests.find(connection, repository, reference).digest
            except ManifestUnknown:
                return ""

        return await self._database.read(find)

    @staticmethod
    async def _together(
        running: dict[tuple[str, str], asyncio.Task[T]], key: tuple[str, str], work: Callable[[], Awaitable[T]]
    ) -> T:
        """One asks for all who want the same now; who leaves does not end it for the others."""
        task = running.get(key)
        if task is None:
            task = running[key] = asyncio.ensure_future(work())

            def ended(done: asyncio.Task[T]) -> None:
                running.pop(key, None)
                if not done.cancelled():
                    done.exception()  # told to those who still wait

            task.add_done_callback(ended)
        return await asyncio.shield(task)

    async def _refresh(self, upstream: Upstream, repository: str, reference: str) -> str:
        known = await self._stored(repository, reference)
        if known and self._down.get(upstream.remote.id, 0.0) > time.monotonic():
            return self._stale(upstream, "can't be reached")
        try:
            there = await self._reach.repository(upstream.remote, upstream.name_there(repository))
            await self._ask(there, repository, reference, known)
        except TagImmutable as error:
            return f"the upstream {upstream.remote.namespace} has moved the tag, but here {error}"
        except QuotaExceeded:
            raise
        except OnggiError as error:
            if isinstance(error, Unreachable):
                self._down[upstream.remote.id] = time.monotonic() + _DOWN_S
            if refusal.permanent(error) or not known:
                self._answers.add("manifest", "refused")
                if known and isinstance(error, AnswerNotFound):
                    await self._gone(repository, reference)
                raise refusal.of(error, upstream.remote, "MANIFEST_UNKNOWN") from error
            log.warning("%s:%s is given out as it is here: %s", repository, reference, error)
            return self._stale(
                upstream, "is not available" if not isinstance(error, Unreachable) else "can't be reached"
            )
        self._down.pop(upstream.remote.id, None)
        if not isinstance(reference, Digest):
            self._checked[repository, reference] = time.monotonic() + upstream.check_s
            self._checked.move_to_end((repository, reference))
            while len(self._checked) > _MOST_CHECKED:
                self._checked.popitem(last=False)
        return ""

    def _stale(self, upstream: Upstream, why: str) -> str:
        self._answers.add("manifest", "stale")
        return f"the upstream {upstream.remote.namespace} {why}: this is what was fetched from it before"

    async def _ask(self, there: Repository, repository: str, reference: str, known: str) -> None:
        if known:
            head = await there.head(reference)
            if head is not None and head.digest == known:
                self._answers.add("manifest", "same")
                return
        document = await there.manifest(reference)
        read = manifests.read_document(document.content, document.media_type, document.digest)
        tag = "" if isinstance(reference, Digest) else reference
        await self._database.write(lambda connection: self._store(connection, repository, read, tag))
        self._answers.add("manifest", "fetched")

    def _store(self, connection: Connection, repository: str, document: Document, tag: str) -> None:
        repository_id = repositories.find_or_make(connection, repository)
        manifests.store(connection, repository_id, document, WHO, whole=False)
        if not tag:
            return
        previous = tags.point(connection, repository_id, tag, document.digest, WHO)
        if previous != document.digest:
            self._events.publish(connection, Event(
                EventKind.REPLICATION, repository, WHO, tag, document.digest,
                {"direction": "cache", "previous": previous},
            ))  # fmt: skip

    async def _gone(self, repository: str, reference: str) -> None:
        """The upstream has it no more: our tag goes, unless a rule of the project keeps it."""
        if isinstance(reference, Digest):
            return

        def forget(connection: Connection) -> None:
            try:
                tags.delete(connection, repositories.find(connection, repository)["id"], reference, WHO)
            except OnggiError as error:
                log.info("the tag %s:%s stays: %s", repository, reference, error)

        await self._database.write(forget)

    # Blobs

    async def blob(self, repository: str, digest: Digest) -> Incoming | None:
        """The blob on its way, joined: the caller leaves it. None where there is no upstream to ask, or it has just come."""
        upstream = await self.of(repository)
        if upstream is None:
            return None
        incoming = self._incoming.get((repository, digest))
        if incoming is None:
            there = await self._reach.repository(upstream.remote, upstream.name_there(repository))
            if await self._has_blob(repository, digest):
                return None
            incoming = self._incoming.get((repository, digest))  # another may have been quicker
            if incoming is None:
                incoming = self._incoming[repository, digest] = Incoming(
                    there, digest, self._pool, upstream.limit_bytes
                )
                task = asyncio.create_task(self._bring(upstream, repository, incoming), name=f"fetch {digest.short}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        incoming.join()
        try:
            await incoming.begun()
        except OnggiError as error:
            incoming.leave()
            raise refusal.of(error, upstream.remote, "BLOB_UNKNOWN") from error
        except BaseException:
            incoming.leave()
            raise
        return incoming

    async def _has_blob(self, repository: str, digest: Digest) -> bool:
        def look(connection: Connection) -> bool:
            try:
                blobs.find(connection, repository, digest)
            except BlobNotHere:
                return False
            return True

        return await self._database.read(look)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """For HEAD of a blob that is not here: what the upstream says; None where it has none, or there is none to ask."""
        upstream = await self.of(repository)
        if upstream is None:
            return None
        try:
            there = await self._reach.repository(upstream.remote, upstream.name_there(repository))
            return await there.has_blob(digest)
        except OnggiError as error:
            raise refusal.of(error, upstream.remote, "BLOB_UNKNOWN") from error

    async def _bring(self, upstream: Upstream, repository: str, incoming: Incoming) -> None:
        def settled(connection: Connection) -> None:
            if upstream.limit_bytes:
                jobs.enqueue(connection, EVICT, {"project": upstream.project}, subject=upstream.project)

        try:
            await bring(self._database, self._objects, repository, incoming, settled)
        finally:
            self._incoming.pop((repository, incoming.digest), None)
            self._answers.add("blob", "failed" if incoming.failure is not None else "fetched")
            self._bytes.add(amount=incoming.written_bytes)

    async def close(self) -> None:
        """End what is on its way; its uploads are given up."""
        tasks = [*self._tasks, *self._fetches.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # Lists

    async def tags(self, repository: str) -> tuple[list[str] | None, str]:
        """All tags that the upstream lists, in order, and a warning; None where the list is to be made of what is here."""
        upstream = await self.of(repository)
        if upstream is None:
            return None, ""
        try:
            there = await self._reach.repository(upstream.remote, upstream.name_there(repository))
            return sorted(set(await there.tags())), ""
        except OnggiError as error:
            if refusal.permanent(error):
                raise refusal.of(error, upstream.remote, "NAME_UNKNOWN") from error
            return None, self._partial(upstream, error)

    async def referrers(self, repository: str, digest: Digest) -> tuple[list[Descriptor] | None, str]:
        """As `tags`, for what names `digest` as its subject."""
        upstream = await self.of(repository)
        if upstream is None:
            return None, ""
        try:
            there = await self._reach.repository(upstream.remote, upstream.name_there(repository))
            return await there.referrers(digest), ""
        except OnggiError as error:
            if refusal.permanent(error):
                return None, ""
            return None, self._partial(upstream, error)

    def _partial(self, upstream: Upstream, error: OnggiError) -> str:
        log.warning("the upstream %s: %s", upstream.remote.namespace, error)
        what = "broke the protocol" if isinstance(error, Misbehaved) else "is not available"
        return f"the upstream {upstream.remote.namespace} {what}: only what is here is listed"
