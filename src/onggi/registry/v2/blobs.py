"""GET, HEAD, DELETE of /v2/NAME/blobs/DIGEST. (distribution-spec, "Pulling blobs", "Deleting blobs")"""

import asyncio

from aiohttp import web

from onggi.content.objects import ObjectUnknown
from onggi.oci.digest import Digest
from onggi.registry import audit, blobs
from onggi.registry.conditional import Part, etag_fits, part
from onggi.registry.database import Connection
from onggi.registry.metrics import Counter
from onggi.registry.names import project_of
from onggi.registry.permissions import Action
from onggi.registry.refusals import BlobNotHere
from onggi.registry.requests import REPOSITORY, actor
from onggi.registry.route import Route
from onggi.registry.sending import FileReply
from onggi.registry.service import Service
from onggi.registry.upstream.incoming import PIECE_BYTES, Incoming

_MEDIA_TYPE = "application/octet-stream"


class BlobHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, request: web.Request) -> web.StreamResponse:
        service, repository, digest = self._service, request[REPOSITORY], Digest(request.match_info["digest"])
        try:
            blob = await service.read(lambda connection: blobs.find(connection, repository, digest))
        except BlobNotHere:
            passing = await self._through(request, digest)
            if passing is not None:
                return passing
            blob = await service.read(lambda connection: blobs.find(connection, repository, digest))
        etag = f'"{digest}"'
        headers = {"Docker-Content-Digest": digest, "ETag": etag, "Accept-Ranges": "bytes",
                   "Cache-Control": "max-age=31536000"}  # fmt: skip
        if request.method == "HEAD":
            # Before a push clients ask this way what they may leave out: it must stay until their manifest comes.
            if await service.read(lambda connection: blobs.needs_touch(connection, repository, digest)):
                await service.write(lambda connection: blobs.touch(connection, repository, digest))
            headers |= {"Content-Length": str(blob.size_bytes), "Content-Type": _MEDIA_TYPE}
            return web.Response(headers=headers)
        if etag_fits(request.headers.get("If-None-Match", ""), etag):
            return web.Response(status=304, headers=headers)
        elsewhere = service.objects.url(blob.key, _MEDIA_TYPE)
        if elsewhere is not None:
            return web.Response(status=307, headers=headers | {"Location": elsewhere})
        wanted = None
        if request.headers.get("If-Range", etag) == etag:
            wanted = part(request.headers.get("Range", ""), blob.size_bytes)
        headers["Content-Type"] = _MEDIA_TYPE
        status = 200
        if wanted is not None:
            headers["Content-Range"] = f"bytes {wanted.first}-{wanted.first + wanted.count - 1}/{blob.size_bytes}"
            status = 206
        sent = wanted or Part(0, blob.size_bytes)
        try:
            file = await asyncio.get_running_loop().run_in_executor(service.pool, service.objects.open, blob.key)
        except ObjectUnknown as error:
            raise BlobNotHere(digest) from error  # collected in this moment
        service.metrics.sent.add(amount=sent.count)
        return FileReply(file, sent.first, sent.count, status, headers, service.pool)

    async def _through(self, request: web.Request, digest: Digest) -> web.StreamResponse | None:
        """A blob of a cache that is not here yet. None where no upstream is asked, or it has just come."""
        service, repository = self._service, request[REPOSITORY]
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Content-Type": _MEDIA_TYPE}
        if request.method == "HEAD":
            size = await service.cache.blob_size(repository, digest)
            return None if size is None else web.Response(headers=headers | {"Content-Length": str(size)})
        incoming = await service.cache.blob(repository, digest)
        if incoming is None:
            return None
        try:
            wanted = None
            if incoming.size_bytes is not None and request.headers.get("If-Range", f'"{digest}"') == f'"{digest}"':
                wanted = part(request.headers.get("Range", ""), incoming.size_bytes)
            return await _pass_on(request, incoming, wanted, headers, service.metrics.sent)
        finally:
            incoming.leave()

    async def delete(self, request: web.Request) -> web.StreamResponse:
        service, repository, digest = self._service, request[REPOSITORY], Digest(request.match_info["digest"])

        def forget(connection: Connection) -> None:
            blobs.unlink(connection, repository, digest)
            audit.record(connection, actor(request), "delete blob", project=project_of(repository),
                         subject=f"{repository}@{digest}")  # fmt: skip

        await service.write(forget)
        return web.Response(status=202)


async def _pass_on(
    request: web.Request, incoming: Incoming, wanted: Part | None, headers: dict[str, str], sent: Counter
) -> web.StreamResponse:
    """Send what arrives, as it arrives. What ends it before its end ends the connection (`App.answer`)."""
    status, size = 200, incoming.size_bytes
    at, end = 0, size
    if wanted is not None:
        at, end = wanted.first, wanted.first + wanted.count
        headers["Content-Range"] = f"bytes {at}-{end - 1}/{size}"
        status = 206
    response = web.StreamResponse(status=status, headers=headers)
    if end is not None:
        response.content_length = end - at
    await response.prepare(request)
    while end is None or at < end:
        piece = await incoming.read(at, PIECE_BYTES if end is None else min(PIECE_BYTES, end - at))
        if not piece:
            break
        await response.write(piece)
        sent.add(amount=len(piece))
        at += len(piece)
    await response.write_eof()
    return response


def routes(service: Service) -> list[Route]:
    handlers = BlobHandlers(service)
    path = "/v2/{name*}/blobs/{digest}"
    return [
        Route("GET", path, handlers.get, Action.PULL),
        Route("HEAD", path, handlers.get, Action.PULL),
        Route("DELETE", path, handlers.delete, Action.DELETE),
    ]
