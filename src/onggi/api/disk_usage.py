"""GET /system/df"""

from typing import TYPE_CHECKING, Any

from aiohttp import web

from onggi.api.request import api_version
from onggi.api.response import json_response
from onggi.api.route import Route
from onggi.api.wire.images import summary
from onggi.engine.filters import Filters
from onggi.engine.image_list import listed
from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_TYPES = ("container", "image", "volume", "build-cache")
_ALL = Filters({})


def routes(engine: "Engine") -> list[Route]:
    async def images(request: web.Request) -> tuple[int, list[dict[str, Any]]]:
        """All that images take of the disk, and each of them. Not the sizes of their files: what would be freed."""
        version, usage = api_version(request), await engine.images.usage()
        found = []
        for image in listed(engine.images, _ALL, all_images=True):
            shown = summary(engine.images, image, version, shared_size=False)
            own = usage.images.get(image.image.id)
            if own is None:
                continue  # it came after it was measured
            shown |= {"Size": own.bytes, "SharedSize": own.shared_bytes}
            if "VirtualSize" in shown:
                shown["VirtualSize"] = own.bytes
            found.append(shown)
        return usage.total_bytes, found

    async def containers() -> list[dict[str, Any]]:
        found = []
        for container in engine.containers.list(every=True, filters=_ALL):
            written = await engine.snapshots.written_bytes(container["Id"])
            image_bytes = engine.images.get(container["ImageID"]).size_bytes if container["ImageID"] else 0
            found.append({**container, "SizeRw": written, "SizeRootFs": written + image_bytes})
        return found

    async def volumes() -> list[dict[str, Any]]:
        used = engine.volumes.use_counts()
        found = []
        for volume in engine.volumes.list():
            usage = {"RefCount": used.get(volume.name, 0), "Size": await engine.volumes.size_bytes(volume.name)}
            found.append({**engine.volumes.summary(volume), "UsageData": usage})
        return found

    async def disk_usage(request: web.Request) -> web.StreamResponse:
        wanted = request.query.getall("type", [])
        for kind in wanted:
            if kind not in _TYPES:
                raise InvalidParameter(f"unknown object type: {kind[:100]}")
        chosen = frozenset(wanted or _TYPES)
        document: dict[str, Any] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None}
        if "image" in chosen:
            document["LayersSize"], document["Images"] = await images(request)
        if "container" in chosen:
            document["Containers"] = await containers()
        if "volume" in chosen:
            document["Volumes"] = await volumes()
        # Nothing is cached for builds: there is no builder in this engine.
        document["BuildCache"] = [] if "build-cache" in chosen else None
        return json_response(document)

    return [Route("GET", "/system/df", disk_usage)]
