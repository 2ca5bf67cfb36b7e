"""Removing images: what goes, what stays, and Docker's sentences for it. (moby daemon/images/image_delete.go)"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from onggi.errors import Conflict
from onggi.images import layers, names
from onggi.images.image import Image
from onggi.oci.digest import Digest
from onggi.oci.image import chain_id
from onggi.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """A container that was made from an image."""

    id: str
    running: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """One line of the answer to `docker rmi`: one of the two."""

    untagged: str = ""
    deleted: str = ""


class Removal:
    """One `docker rmi`, inside its transaction."""

    def __init__(
        self, connection: sqlite3.Connection, containers_of: Callable[[Digest], Sequence[ContainerUse]]
    ) -> None:
        self._connection = connection
        self._containers_of = containers_of
        self.records: list[Removed] = []
        self.events: list[tuple[str, Image]] = []
        self.directories: list[str] = []
        self.blobs: list[Digest] = []
        self.freed_bytes = 0
        """Of the layers' files that nobody needs any more."""

    def remove(self, text: str, *, force: bool, prune: bool) -> Self:
        image, name = names.find_named(self._connection, text)
        if name is not None:
            if not force and _is_single([*image.names, *image.digests]) and (users := self._containers_of(image.id)):
                raise Conflict(
                    f'conflict: unable to remove repository reference "{text}" (must force) - container '
                    f"{users[0].id[:12]} is using its referenced image {image.id.short}"
                )
            if self._untag(image, name):
                return self
        elif _is_single([*image.names, *image.digests]):
            self._check(image, force=force, named_twice=False)
            for reference in [*image.names, *image.digests]:
                self._take(image, reference)
        self._delete(image.id, force=force, prune=prune, quiet=name is not None)
        return self

    def _untag(self, image: Image, name: Reference) -> bool:
        """Take one name away; digests of the repository go with its last tag. True when others remain."""
        if name.digest is not None:
            name = name.with_digest(name.digest)
        self._take(image, name)
        left = [reference for reference in (*image.names, *image.digests) if reference != name]
        if name.digest is None and not any(other.name == name.name and other.digest is None for other in left):
            for other in [other for other in left if other.name == name.name]:
                self._take(image, other)
                left.remove(other)
        return bool(left)

    def _take(self, image: Image, reference: Reference) -> None:
        names.take_name(self._connection, reference)
        self.records.append(Removed(untagged=reference.familiar))
        self.events.append(("untag", image))

    def _check(self, image: Image, *, force: bool, named_twice: bool) -> None:
        """Raises Conflict when the image must stay."""

        def refuse(how: str, why: str) -> Conflict:
            return Conflict(f"conflict: unable to delete {image.id.short} ({how}) - {why}")

        users = self._containers_of(image.id)
        if names.children(self._connection, image.id):
            raise refuse("cannot be forced", "image has dependent child images")
        running = next((user for user in users if user.running), None)
        if running is not None:
            raise refuse("cannot be forced", f"image is being used by running container {running.id[:12]}")
        if force:
            return
        if named_twice:
            raise refuse("must be forced", "image is referenced in multiple repositories")
        if users:
            raise refuse("must be forced", f"image is being used by stopped container {users[0].id[:12]}")

    def _delete(self, image_id: Digest, *, force: bool, prune: bool, quiet: bool) -> None:
        image = names.by_id(self._connection, image_id)
        if image is None:
            return
        try:
            self._check(image, force=force, named_twice=bool(image.names or image.digests))
        except Conflict:
            # An image that lost its last name while something needs it stays, without name.
            if quiet and (image.names or image.digests or self._containers_of(image_id) or
                          names.children(self._connection, image_id)):  # fmt: skip
                return
            raise
        for reference in (*image.names, *image.digests):
            self._take(image, reference)
        gone = chains(tuple(image.config.diff_ids))
        sizes = {layer.diff_id: layer.size_bytes for layer in layers.stack(self._connection, image_id)
                 if layer.key == layer.diff_id}  # fmt: skip
        self.blobs += names.delete(self._connection, image_id)
        self.directories += layers.release(self._connection, image_id)
        self.events.append(("delete", image))
        self.records.append(Removed(deleted=image_id))
        kept = {chain for other in names.every(self._connection) for chain in chains(tuple(other.config.diff_ids))}
        for chain, diff_id in reversed(list(zip(gone, image.config.diff_ids, strict=True))):
            if chain not in kept:
                self.records.append(Removed(deleted=chain))
                self.freed_bytes += sizes.get(diff_id, 0)
        if prune and image.parent:
            self._delete(Digest(image.parent), force=False, prune=True, quiet=True)


@lru_cache(1024)
def chains(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """The chain ID of each layer's stack, lowest first."""
    return tuple(chain_id(diff_ids[: number + 1]) for number in range(len(diff_ids)))


def _is_single(references: Sequence[Reference]) -> bool:
    """At most one tag, and digests of its repository only."""
    if len(references) <= 1:
        return True
    tagged = [reference for reference in references if reference.digest is None]
    repositories = {reference.name for reference in references if reference.digest is not None}
    single = tagged[0].name if tagged else references[0].name
    return len(tagged) <= 1 and repositories == {single}
