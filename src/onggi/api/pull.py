"""Images from and to registries: `images/create`, `push`, `auth`, `distribution`, `images/search`."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from onggi.api.request import filters, number, read_json
from onggi.api.response import Progress, json_response, stream_progress
from onggi.api.route import Route
from onggi.distribution.credentials import AuthConfig, Credentials, decode_header
from onggi.errors import Forbidden, InvalidParameter, NotFound
from onggi.images.making import import_image
from onggi.images.search import FILTERS
from onggi.oci.descriptor import Descriptor, encode_document
from onggi.oci.digest import Digest, InvalidDigest
from onggi.oci.platform import Platform, parse_platform, suitability
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_SEARCH_RESULTS = 25
_platform = msgspec.json.Decoder(Platform)

EVERY_PLATFORM = "all"
"""As the platform of a pull: the whole index. No platform is called so, and Docker refuses it."""


class _Distribution(msgspec.Struct, frozen=True, rename="pascal"):
    """The reply of `distribution`."""

    descriptor: Descriptor
    platforms: list[Platform]


def routes(engine: "Engine") -> list[Route]:
    async def create(request: web.Request) -> web.StreamResponse:
        query = request.query
        if query.get("fromImage"):
            return await pull(request)
        if query.get("fromSrc"):
            return await import_(request)
        raise InvalidParameter("nothing to create an image from: give fromImage (a name) or fromSrc (a URL, or -)")

    async def pull(request: web.Request) -> web.StreamResponse:
        reference = _named(request.query["fromImage"].removesuffix(":"), request.query.get("tag", ""))
        text = request.query.get("platform", "")
        whole = text == EVERY_PLATFORM
        platform = parse_platform(text) if text and not whole else None
        credentials = _credentials(request)

        async def work(progress: Progress) -> None:
            one = bool(reference.tag or reference.digest)
            fetch = engine.transfer.pull if one else engine.transfer.pull_all
            await fetch(reference, progress, platform=platform, whole=whole, credentials=credentials)

        return await stream_progress(request, work)

    async def import_(request: web.Request) -> web.StreamResponse:
        query, source = request.query, request.query["fromSrc"]
        reference = _named(query["repo"], query.get("tag", "")).with_default_tag() if query.get("repo") else None
        changes = query.getall("changes", [])
        message = query.get("message", "")
        platform = parse_platform(query["platform"]) if query.get("platform") else None

        async def work(progress: Progress) -> None:
            stream: AsyncIterator[bytes] = request.content.iter_any()
            if source != "-":
                stream = engine.transfer.download(source, progress)
            image = await import_image(engine.images, stream, reference, message, changes, platform=platform)
            progress({"status": str(image.id)})

        return await stream_progress(request, work)

    async def push(request: web.Request) -> web.StreamResponse:
        reference = Reference.parse(request.match_info["name"])
        if reference.digest:
            raise InvalidParameter("cannot push a digest reference")
        if tag := request.query.get("tag", ""):
            reference = reference.with_tag(tag)
        credentials = _credentials(request)
        text = request.query.get("platform", "")
        if text:
            _check_platform(engine, reference, text)

        async def work(progress: Progress) -> None:
            await engine.transfer.push(
                reference, progress, credentials=credentials, all_tags=reference.tag is None, one_platform=bool(text)
            )

        return await stream_progress(request, work)

    async def auth(request: web.Request) -> web.StreamResponse:
        credentials = (await read_json(request, AuthConfig)).credentials()
        token = await engine.transfer.log_in(credentials.server_address, credentials)
        return json_response({"IdentityToken": token, "Status": "Login Succeeded"})

    async def distribution(request: web.Request) -> web.StreamResponse:
        reference = Reference.parse(request.match_info["name"])
        descriptor, platforms = await engine.transfer.inspect(reference, _credentials(request))
        body = encode_document(_Distribution(descriptor, list(platforms)))
        return web.Response(body=body + b"\n", content_type="application/json")

    async def search(request: web.Request) -> web.StreamResponse:
        limit = number(request, "limit", _SEARCH_RESULTS) or _SEARCH_RESULTS
        found = await engine.transfer.search(
            request.query.get("term", ""), limit, filters(request, FILTERS).values(), _credentials(request)
        )
        return json_response(found)

    return [
        Route("POST", "/images/create", create),
        Route("GET", "/images/search", search),
        Route("POST", "/images/{name*}/push", push),
        Route("POST", "/auth", auth),
        Route("GET", "/distribution/{name*}/json", distribution),
    ]


def _credentials(request: web.Request) -> Credentials | None:
    return decode_header(request.headers.get("X-Registry-Auth", ""))


def _named(name: str, tag: str) -> Reference:
    """The name with `tag`, which may be a digest too. Raises InvalidReference, Forbidden."""
    reference = Reference.parse(name)
    if tag:
        try:
            reference = reference.with_digest(Digest(tag))
        except InvalidDigest:
            reference = reference.with_tag(tag)
    if reference.familiar_name == "scratch":
        raise Forbidden("'scratch' is a reserved name")
    return reference


def _check_platform(engine: "Engine", reference: Reference, text: str) -> None:
    """Images here are of one platform: another one can't be pushed."""
    try:
        wanted = _platform.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameter(f"failed to parse platform: {error}") from error
    image = engine.images.get(reference.with_default_tag().canonical)
    if suitability(image.config.platform, wanted) is None:
        raise NotFound(
            f"image with reference {reference.familiar} was found but its platform ({image.config.platform}) "
            f"does not match the specified platform ({wanted})"
        )
