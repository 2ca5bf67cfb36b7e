"""Volumes: list, inspect, create, remove, prune."""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import api_version, flag, read_json
from onggi.api.response import json_response, no_content
from onggi.api.route import Route
from onggi.api.wire.volumes import LIST_FILTERS, PRUNE_FILTERS
from onggi.engine.filters import Filters
from onggi.errors import Unavailable
from onggi.volumes.volume import ANONYMOUS_LABEL, CreateVolume, Volume

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def routes(engine: "Engine") -> list[Route]:
    volumes = engine.volumes

    async def list_volumes(request: web.Request) -> web.StreamResponse:
        filters = Filters.parse(request.query.get("filters", ""), LIST_FILTERS)
        used = volumes.use_counts()
        dangling = filters.flag("dangling") if filters.has("dangling") else None
        found = [
            volumes.summary(volume)
            for volume in volumes.list()
            if (dangling is None or dangling == (volume.name not in used))
            and filters.exact("driver", "local")
            and (not filters.has("name") or any(part in volume.name for part in filters["name"]))
            and filters.labels("label", volume.labels or {})
        ]
        return json_response({"Volumes": found, "Warnings": None})

    async def inspect(request: web.Request) -> web.StreamResponse:
        return json_response(volumes.summary(volumes.get(request.match_info["name"])))

    async def create(request: web.Request) -> web.StreamResponse:
        asked = await read_json(request, CreateVolume)
        volume = await engine.run(volumes.create(asked), name=f"create volume {asked.name}")
        return json_response(volumes.summary(volume), status=201)

    async def remove(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        await engine.run(volumes.remove(name, force=flag(request, "force")), name=f"remove volume {name}")
        return no_content()

    async def update(request: web.Request) -> web.StreamResponse:
        raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

    async def prune(request: web.Request) -> web.StreamResponse:
        filters = Filters.parse(request.query.get("filters", ""), PRUNE_FILTERS)
        # Before 1.42 all unused volumes went; since then only anonymous ones, unless "all" is asked for.
        every = filters.flag("all") if filters.has("all") else api_version(request) < (1, 42)

        def wanted(volume: Volume) -> bool:
            labels = volume.labels or {}
            return (
                (every or ANONYMOUS_LABEL in labels)
                and filters.labels("label", labels)
                and not (filters.has("label!") and filters.labels("label!", labels))
            )

        names, freed_bytes = await engine.run(volumes.prune(wanted), name="prune volumes")
        return json_response({"VolumesDeleted": list(names), "SpaceReclaimed": freed_bytes})

    return [
        Route("GET", "/volumes", list_volumes),
        Route("POST", "/volumes/create", create),
        Route("POST", "/volumes/prune", prune),
        Route("GET", "/volumes/{name}", inspect),
        Route("PUT", "/volumes/{name}", update),
        Route("DELETE", "/volumes/{name}", remove),
    ]
