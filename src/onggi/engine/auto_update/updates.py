"""Which containers are due, when; and what came of each. Owns `auto_updates`.

An image that failed for a container is not tried again by itself: only by hand, or when the tag moves on.
"""

import asyncio
import logging
import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from onggi.distribution.credentials import Credentials, read_auth_file
from onggi.engine.auto_update import replacing, wishes
from onggi.engine.auto_update.wishes import Wishes
from onggi.engine.container import Container
from onggi.engine.lifecycle import State
from onggi.errors import Conflict, InvalidParameter, OnggiError
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.auto_update")
_LOOK_S = 20.0
"""How often it is looked whether a window has opened for what waits."""
_JITTER = 0.1


class Outcome(StrEnum):
    """podman-auto-update's words, and FAILED for what did not come as far as a roll-back."""

    UPDATED = "true"
    SAME = "false"
    PENDING = "pending"
    """There is another image; a dry run, or its window is closed."""
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one container. `container_id` is the new one's, where it was replaced."""

    container_id: str
    name: str
    image: str
    outcome: Outcome
    error: str = ""

    def document(self) -> dict[str, str]:
        return {"Id": self.container_id, "Name": self.name, "Image": self.image, "Policy": "registry",
                "Updated": self.outcome, "Error": self.error}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Due:
    """Asks for an update, and can have one."""

    container: Container
    reference: Reference
    wishes: Wishes


def reference_of(container: Container) -> Reference:
    """What its image is called at a registry. Raises InvalidParameter for one that can't move."""
    reference = Reference.parse(container.image_name)
    if reference.digest:
        raise InvalidParameter(f"its image is pinned by digest: {container.image_name}")
    if container.image_id.removeprefix("sha256:").startswith(container.image_name.removeprefix("sha256:")):
        raise InvalidParameter("it was made from an image's ID, which never moves: name the image by a tag")
    return reference.with_default_tag()


class AutoUpdate:
    """One engine's. Enter it to keep looking, as the settings say."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting: set[str] = set()
        """Names of containers whose tag has moved while their window was closed."""
        self._stirred = asyncio.Event()
        """One more waits."""

    # What is due

    def _asking(self) -> list[tuple[Container, Wishes]]:
        found = []
        for container in self._engine.containers.all():
            try:
                asked = wishes.read(container.config.labels or {})
            except InvalidParameter as error:  # of an earlier release, which did not look at these labels
                log.warning("%s is not updated: %s", container.name, error)
                continue
            if asked is not None and container.state is State.RUNNING:
                found.append((container, asked))
        return sorted(found, key=lambda pair: pair[0].name)

    async def run(
        self,
        *,
        dry_run: bool = False,
        by_hand: bool = True,
        credentials: Mapping[str, Credentials] | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Report]:
        """Look at all that ask for it, or at those of `names`; side by side. Raises nothing: failures are reports."""
        found = [pair for pair in self._asking() if names is None or pair[0].name in names]
        known = credentials if credentials is not None else await asyncio.to_thread(self._credentials)
        work = (self._one(container, asked, dry_run, by_hand, known) for container, asked in found)
        return list(await asyncio.gather(*work))

    def _credentials(self) -> Mapping[str, Credentials]:
        path = self._engine.settings.auto_update_auth_file
        try:
            return read_auth_file(Path(path)) if path else {}
        except (OSError, OnggiError) as error:
            log.warning("%s can't be used: %s", path, error)
            return {}

    async def _one(
        self, container: Container, asked: Wishes, dry_run: bool, by_hand: bool, known: Mapping[str, Credentials]
    ) -> Report:
        name, image = container.name, container.image_name
        async with self._busy.setdefault(name, asyncio.Lock()):
            try:
                reference = reference_of(container)
                proof = known.get(reference.registry)
                if dry_run:
                    moved = await self._has_moved(container, reference, proof)
                    return Report(container.id, name, image, Outcome.PENDING if moved else Outcome.SAME)
                return await self._update(container, reference, asked, by_hand, proof)
            except OnggiError as error:
                log.warning("%s is not updated: %s", name, error)
                return Report(container.id, name, image, Outcome.FAILED, str(error))

    async def _has_moved(self, container: Container, reference: Reference, proof: Credentials | None) -> bool:
        there, _ = await self._engine.transfer.inspect(reference, proof)
        here = self._engine.images.get(container.image_id)
        return all(known.digest != there.digest for known in here.digests if known.repository == reference.repository)

    async def _update(
        self, container: Container, reference: Reference, asked: Wishes, by_hand: bool, proof: Credentials | None
    ) -> Report:
        engine, name, old_image = self._engine, container.name, container.image_id
        image = await engine.transfer.pull(reference, lambda _: None, credentials=proof)
        if str(image.id) == old_image:
            self._waiting.discard(name)
            return Report(container.id, name, container.image_name, Outcome.SAME)
        if not by_hand:
            if asked.window is not None and not asked.window.holds(datetime.now()):  # the machine's own time
                self._waiting.add(name)
                self._stirred.set()
                return Report(container.id, name, container.image_name, Outcome.PENDING, "its window is closed")
            if error := await self._failed_before(name, str(image.id)):
                return Report(container.id, name, container.image_name, Outcome.FAILED, f"it failed before: {error}")
        self._waiting.discard(name)
        if engine.containers.get(container.id) is not container or container.state is not State.RUNNING:
            raise Conflict("it has been stopped meanwhile")
        plan = replacing.plan(engine, container, image, asked)
        try:
            new = await engine.run(replacing.carry_out(engine, plan), name=f"update {name}")
        except OnggiError as error:
            await self._note(name, str(image.id), str(error))
            attributes = container.attributes(newImage=str(image.id), error=str(error))
            engine.events.publish("container", "auto-update-rollback", container.id, attributes)
            log.warning("%s is rolled back to %s: %s", name, old_image, error)
            return Report(container.id, name, container.image_name, Outcome.ROLLED_BACK, str(error))
        await self._note(name, str(image.id), "")
        attributes = new.attributes(oldImage=old_image, newImage=str(image.id), replaced=container.id)
        engine.events.publish("container", "auto-update", new.id, attributes)
        log.info("%s is updated from %s to %s", name, old_image, image.id)
        return Report(new.id, name, container.image_name, Outcome.UPDATED)

    # What came of it

    async def _failed_before(self, name: str, image_id: str) -> str:
        def look(connection: sqlite3.Connection) -> str:
            row = connection.execute(
                "SELECT error FROM auto_updates WHERE name = ? AND image_id = ?", (name, image_id)
            ).fetchone()
            return str(row["error"]) if row is not None else ""

        return self._engine.database.read(look)

    async def _note(self, name: str, image_id: str, error: str) -> None:
        now = datetime.now(UTC).isoformat()
        await self._engine.database.write_short(
            lambda connection: connection.execute(
                "INSERT INTO auto_updates (name, image_id, error, at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET image_id = excluded.image_id, error = excluded.error, at = excluded.at",
                (name, image_id, error[:1000], now),
            )
        )

    # When

    def heard(self, repository: str, tag: str) -> None:
        """A registry says that a tag of it has moved. Its name is not believed: it is asked by the container's own."""
        names = []
        for container, _ in self._asking():
            try:
                reference = reference_of(container)
            except OnggiError:
                continue  # told by the next run
            if (reference.repository, reference.tag) == (repository, tag):
                names.append(container.name)
        if names:
            self._engine.run_behind(self._behind(names), name=f"update {', '.join(names)}")

    async def _behind(self, names: Sequence[str] | None) -> None:
        await self.run(by_hand=False, names=names)

    async def keep_looking(self) -> None:
        """For as long as the engine runs: by the interval, and when the windows of those that wait open."""
        interval_s = self._engine.settings.auto_update_interval_s
        loop = asyncio.get_running_loop()
        due = loop.time() + interval_s * random.uniform(0.1, 1) if interval_s else float("inf")
        while True:
            self._stirred.clear()
            wait_s = min(due - loop.time(), _LOOK_S if self._waiting else float("inf"))
            try:
                async with asyncio.timeout(None if wait_s == float("inf") else max(wait_s, 0.0)):
                    await self._stirred.wait()
            except TimeoutError:
                pass  # it is time
            if loop.time() >= due:
                due = loop.time() + interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)
                await self._behind(None)
            elif opened := self._opened():
                await self._behind(opened)

    def _opened(self) -> list[str]:
        now = datetime.now()  # the machine's own time
        return [
            container.name for container, asked in self._asking()
            if container.name in self._waiting and (asked.window is None or asked.window.holds(now))
        ]  # fmt: skip
