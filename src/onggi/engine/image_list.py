"""`docker images` and `docker image prune`: which images a filter means."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onggi.engine.filters import Filters
from onggi.engine.pruning import moment
from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.images.image import Image
from onggi.images.removal import Removal, Removed
from onggi.oci.pattern import Pattern
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.images.images import Images

FILTERS = frozenset({"dangling", "label", "before", "since", "reference", "until"})
PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until", "last-used"})
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """An image, and those of its names that the filter by name leaves."""

    image: Image
    names: Sequence[Reference]
    digests: Sequence[Reference]


def listed(images: "Images", filters: Filters, *, all_images: bool) -> Sequence[Listed]:
    """Newest first. Without `all_images` those are left out that only stand between an image and its base.

    Raises InvalidParameter, NoSuchImage: before and since name images.
    """
    patterns = [Pattern(text) for text in filters["reference"]]
    dangling = filters.flag("dangling") if filters.has("dangling") else None
    before = [_created(images.get(name)) for name in filters["before"]]
    since = [_created(images.get(name)) for name in filters["since"]]
    until = _until(filters)
    found = []
    for image in images.all():
        created, labels = _created(image), image.config.container.labels or {}
        if not (
            all(created < limit for limit in before)
            and all(created > limit for limit in since)
            and (until is None or created.timestamp() < until)
            and filters.labels("label", labels)
        ):
            continue
        names, digests = _matching(patterns, image.names), _matching(patterns, image.digests)
        if not names and not digests:
            if patterns or dangling is False or not (all_images or not images.children(image)):
                continue
        elif dangling and names:
            continue
        found.append(Listed(image, names, digests))
    return found


def _matching(patterns: Sequence[Pattern], names: Sequence[Reference]) -> Sequence[Reference]:
    return [
        name
        for name in names
        if not patterns or any(pattern.matches(text) for pattern in patterns for text in _forms(name))
    ]


def _forms(name: Reference) -> tuple[str, str]:
    return name.familiar, name.familiar_name


def _created(image: Image) -> datetime:
    return image.created_at or _NEVER


def last_use(image: Image) -> datetime:
    return image.last_used_at or _NEVER


def _until(filters: Filters, name: str = "until") -> float | None:
    limits = filters[name]
    if len(limits) > 1:
        raise InvalidParameter(f"more than one {name} filter specified")
    return moment(limits[0]) if limits else None


async def prune(images: "Images", filters: Filters) -> tuple[Sequence[Removed], int]:
    """Remove images that no container has: those without a tag or, with dangling=false, all. Second the bytes freed.

    Raises InvalidParameter.
    """
    only_dangling = filters.flag("dangling", default=True)
    until, last_used = _until(filters), _until(filters, "last-used")
    records: list[Removed] = []
    freed = 0
    for image in images.all():
        labels = image.config.container.labels or {}
        if (
            images.containers_of(image)
            or (until is not None and _created(image).timestamp() >= until)
            or (last_used is not None and last_use(image).timestamp() >= last_used)
            or not filters.labels("label", labels)
            or (filters.has("label!") and filters.labels("label!", labels))
            or (image.names and only_dangling)
        ):
            continue
        for removal in await remove_unused(images, image):
            records += removal.records
            freed += removal.freed_bytes
    if until is None and last_used is None and not filters.has("label") and not filters.has("label!"):
        await images.sweep()
    return records, freed


async def remove_unused(images: "Images", image: Image) -> Sequence[Removal]:
    """Name by name, so that what is used since, or is the base of another image, stays."""
    removals = []
    for name in [*(name.familiar for name in (*image.names, *image.digests))] or [str(image.id)]:
        try:
            removals.append(await images.remove(name))
        except (Conflict, NotFound):
            continue
    return removals
