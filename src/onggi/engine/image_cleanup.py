"""Images that nobody uses go by themselves, when the daemon was told to: by their age, a bound, or a full disk.

Off by default. What goes first is what was used longest ago; what a container has, or was used within the last minutes,
never goes. What pulls, loads and commits that run need is held by their leases, as in every removal.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from onggi.engine.image_list import last_use, remove_unused
from onggi.errors import OnggiError
from onggi.images.image import Image

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger(__name__)

INTERVAL_S = 600.0
"""Between two looks, when nothing happens; after a pull, a load or a commit it looks at once."""
GRACE = timedelta(minutes=10)
"""Between a pull and its first container nothing may be taken away."""
_FILLING = frozenset({"pull", "load", "import", "tag"})


class ImageCleanup:
    """Runs in the background of an engine while any of the bounds is set."""

    def __init__(self, engine: "Engine", *, grace: timedelta = GRACE) -> None:
        self._engine, self._grace = engine, grace
        self._woken = asyncio.Event()

    @property
    def wanted(self) -> bool:
        settings = self._engine.settings
        return bool(settings.image_max_age_s or settings.image_max_bytes or settings.image_min_free_bytes)

    def heard(self, kind: str, action: str) -> None:
        """An event was published: the disk may be fuller now."""
        if kind == "image" and action in _FILLING:
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.clean()
            except (OSError, OnggiError) as error:  # a disk that fails now may answer the next time
                log.warning("images could not be cleaned up: %s", error)
            self._woken.clear()
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def clean(self) -> int:
        """One look; gives the number of images that went."""
        settings, removed = self._engine.settings, 0
        if settings.image_max_age_s:
            oldest = datetime.now(UTC) - timedelta(seconds=settings.image_max_age_s)
            for image in self._unused():
                if last_use(image) < oldest:
                    removed += await self._remove(image, "nobody has used it for too long")
        if settings.image_max_bytes or settings.image_min_free_bytes:
            for image in self._unused():
                if not (reason := await self._pressure()):
                    break
                removed += await self._remove(image, reason)
        return removed

    def _unused(self) -> Iterator[Image]:
        """Used longest ago first."""
        images, newest = self._engine.images, datetime.now(UTC) - self._grace
        for image in sorted(images.all(), key=last_use):
            if last_use(image) < newest and not images.containers_of(image):
                yield image

    async def _pressure(self) -> str:
        """Why an image must go; "" when none must."""
        settings = self._engine.settings
        if settings.image_max_bytes:
            usage = await self._engine.images.usage()
            if usage.total_bytes > settings.image_max_bytes:
                return f"images take {usage.total_bytes} bytes, {settings.image_max_bytes} are allowed"
        if settings.image_min_free_bytes:
            disk = os.statvfs(settings.data_root)
            free = disk.f_bavail * disk.f_frsize
            if free < settings.image_min_free_bytes:
                return f"{free} bytes of the disk are free, {settings.image_min_free_bytes} should be"
        return ""

    async def _remove(self, image: Image, reason: str) -> int:
        work = remove_unused(self._engine.images, image)
        removal = await self._engine.run(work, name=f"clean up image {image.id.short}")
        await self._engine.images.quiet()  # what is deleted behind must be gone before the disk is looked at again
        if not removal:
            return 0
        log.info("image %s (%s) was removed: %s", image.id.short, ", ".join(image.repo_tags) or "no name", reason)
        return 1
