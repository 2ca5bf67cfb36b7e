"""/images: list, inspect, history, tag, remove, prune, and archives of them. Registries are in pull.py."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from onggi.api import request as http
from onggi.api.response import Progress, json_response, stream_progress, widen_reply
from onggi.api.route import Route
from onggi.api.wire.images import PruneAnswer, deleted_items, history, inspection, summary
from onggi.api.wire.manifests import manifests
from onggi.engine import committing, image_list
from onggi.engine.container_config import ContainerConfig
from onggi.engine.filters import Filters
from onggi.errors import InvalidParameter, NotFound, Unsupported
from onggi.images.image import Image
from onggi.images.load import load
from onggi.images.save import save
from onggi.oci.platform import Platform, suitability
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_SINCE_MANIFESTS_OF_LISTS, _SINCE_MANIFESTS = (1, 47), (1, 48)
_platform = msgspec.json.Decoder(Platform)


def routes(engine: "Engine") -> list[Route]:
    """The endpoints of this module."""
    api = _Images(engine)
    named = "/images/{name*}"
    return [
        Route("GET", "/images/json", api.list),
        Route("GET", "/images/get", api.save),
        Route("POST", "/images/load", api.load),
        Route("POST", "/images/prune", api.prune),
        Route("GET", f"{named}/json", api.inspect),
        Route("GET", f"{named}/history", api.history),
        Route("GET", f"{named}/get", api.save),
        Route("POST", f"{named}/tag", api.tag),
        Route("DELETE", named, api.remove),
        Route("POST", "/commit", api.commit),
    ]


class _Images:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._images = engine.images

    async def list(self, request: web.Request) -> web.StreamResponse:
        version = http.api_version(request)
        filters = Filters.parse(request.query.get("filters", ""), image_list.FILTERS)
        found = image_list.listed(self._images, filters, all_images=http.flag(request, "all"))
        shared = http.flag(request, "shared-size")
        shown = [summary(self._images, listed, version, shared_size=shared) for listed in found]
        if http.flag(request, "manifests") and version >= _SINCE_MANIFESTS_OF_LISTS:
            for document, listed in zip(shown, found, strict=True):
                document |= await asyncio.to_thread(manifests, self._images, listed.image)
        return json_response(shown)

    async def inspect(self, request: web.Request) -> web.StreamResponse:
        version = http.api_version(request)
        image = self._images.get(request.match_info["name"])
        with_manifests = http.flag(request, "manifests") and version >= _SINCE_MANIFESTS
        if with_manifests and request.query.get("platform"):
            raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
        _check_platforms(request, image)
        document = inspection(self._images, image, version)
        if with_manifests:
            document |= await asyncio.to_thread(manifests, self._images, image)
        return json_response(document)

    async def history(self, request: web.Request) -> web.StreamResponse:
        image = self._images.get(request.match_info["name"])
        _check_platforms(request, image)
        return json_response(history(self._images, image))

    async def tag(self, request: web.Request) -> web.StreamResponse:
        repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
        reference = Reference.parse(repository)
        if reference.digest is not None:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        if tag:
            reference = reference.with_tag(tag)
        await self._images.tag(request.match_info["name"], reference)
        return web.Response(status=201)

    async def remove(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not name.strip():
            raise InvalidParameter("image name cannot be blank")
        if request.query.get("platforms"):
            raise Unsupported("removing one platform of an image is not supported: images here are of one platform")
        work = self._images.remove(name, force=http.flag(request, "force"), prune=not http.flag(request, "noprune"))
        removal = await self._engine.run(work, name=f"remove image {name}")
        return json_response(deleted_items(removal.records))

    async def prune(self, request: web.Request) -> web.StreamResponse:
        filters = Filters.parse(request.query.get("filters", ""), image_list.PRUNE_FILTERS)
        work = image_list.prune(self._images, filters)
        records, freed = await self._engine.run(work, name="prune images")
        self._engine.events.publish("image", "prune", "", {"reclaimed": str(freed)})
        return json_response(PruneAnswer(deleted_items(records) or None, freed))

    async def load(self, request: web.Request) -> web.StreamResponse:
        platforms = _platforms(request)
        if len(platforms) > 1:
            raise InvalidParameter("multiple platform parameters not supported")

        async def work(progress: Progress) -> None:
            await load(
                self._images, request.content.iter_any(), progress, quiet=http.flag(request, "quiet", default=True),
                platform=platforms[0] if platforms else None,
            )  # fmt: skip

        return await stream_progress(request, work, head_first=True)

    async def commit(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        reference = None
        if query.get("repo"):
            reference = Reference.parse(query["repo"])
            reference = reference.with_tag(query["tag"]) if query.get("tag") else reference.with_default_tag()
        body = (await http.read_body(request)).strip()
        config = http.decode_json(body, ContainerConfig) if body not in (b"", b"null") else None
        if not query.get("container"):
            raise InvalidParameter("no container to commit: give its name or ID")
        work = committing.commit(
            self._engine, query["container"], reference, author=query.get("author", ""),
            comment=query.get("comment", ""), edits=query.getall("changes", []),
            pause=http.flag(request, "pause", default=True), config=config,
        )  # fmt: skip
        image = await self._engine.run(work, name=f"commit {query['container']}")
        return json_response({"Id": image.id}, status=201)

    async def save(self, request: web.Request) -> web.StreamResponse:
        names = [request.match_info["name"]] if "name" in request.match_info else request.query.getall("names", [])
        archive = await save(self._images, names, _platforms(request))
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        async with archive:
            await response.prepare(request)
            widen_reply(request)
            async for piece in archive.pieces():
                await response.write(piece)
        return response


def _platforms(request: web.Request) -> Sequence[Platform]:
    """The query's `platform`s, each a JSON object. Raises InvalidParameter."""
    found = []
    for text in request.query.getall("platform", []):
        try:
            found.append(_platform.decode(text))
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidParameter(f"failed to parse platform: {error}") from error
    return found


def _check_platforms(request: web.Request, image: Image) -> None:
    for platform in _platforms(request):
        if suitability(image.config.platform, platform) is None:
            raise NotFound(
                f"image with reference {request.match_info['name']} was found but its platform "
                f"({image.config.platform}) does not match the specified platform ({platform})"
            )
