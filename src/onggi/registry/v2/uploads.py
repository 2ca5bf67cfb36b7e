"""Pushing blobs: POST, PATCH, PUT, GET, DELETE of /v2/NAME/blobs/uploads/. (distribution-spec, "Pushing blobs")"""

import asyncio
import re
from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from onggi.content.objects import ObjectUnknown
from onggi.content.store import StoreFull, UnexpectedContent
from onggi.oci.digest import Digest
from onggi.registry import audit, blobs, quotas
from onggi.registry.authorization import may_in
from onggi.registry.blobs import UploadRow
from onggi.registry.database import Connection
from onggi.registry.names import InvalidName, repository_name
from onggi.registry.permissions import Action
from onggi.registry.refusals import DigestWrong, QuotaExceeded, SizeWrong, UploadUnknown
from onggi.registry.requests import REPOSITORY, SUBJECT, actor
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.v2.quota_event import tell_quota_exceeded

_RANGE = re.compile(r"(?:bytes[= ])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?", re.ASCII)


def _location(name: str, upload_id: str) -> str:
    return f"/v2/{name}/blobs/uploads/{quote(upload_id)}"


def _progress(name: str, upload: UploadRow, size_bytes: int, status: int) -> web.Response:
    # Of an empty upload the specification shows "0-0" too.
    return web.Response(status=status, headers={
        "Location": _location(name, upload.id), "Range": f"0-{max(size_bytes - 1, 0)}",
        "Docker-Upload-UUID": upload.id, "OCI-Chunk-Min-Length": "0",
    })  # fmt: skip


def _created(name: str, digest: Digest) -> web.Response:
    return web.Response(status=201, headers={
        "Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest,
    })  # fmt: skip


def _piece(request: web.Request) -> int | None:
    """Where the piece that is sent begins, None where the client did not say. Raises SizeWrong."""
    text = request.headers.get("Content-Range")
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise SizeWrong(f"Content-Range is not FIRST-LAST: {text[:100]!a}")
    first, last = int(match[1]), int(match[2])
    length = request.content_length
    if length is not None and last - first + 1 != length:
        raise SizeWrong(f"Content-Range {text[:100]!a} has {last - first + 1} bytes, but Content-Length is {length}")
    return first


class Uploads:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _row(self, request: web.Request) -> UploadRow:
        repository, subject, upload_id = request[REPOSITORY], request[SUBJECT], request.match_info["upload"]
        return await self._service.read(lambda connection: blobs.upload(connection, repository, upload_id, subject))

    async def begin(self, request: web.Request) -> web.StreamResponse:
        service, name, repository, subject = (
            self._service, request.match_info["name"], request[REPOSITORY], request[SUBJECT],
        )  # fmt: skip
        digest = Digest(request.query["digest"]) if "digest" in request.query else None
        if "mount" in request.query and await self._mount(request, repository, Digest(request.query["mount"])):
            return _created(name, Digest(request.query["mount"]))
        upload = await service.write(lambda connection: blobs.begin(connection, repository, subject))
        await self._offload(service.objects.begin, upload.key)
        if digest is None:
            return _progress(name, upload, 0, 202)
        try:
            await self._append(request, upload, None)
            return await self._finish(request, upload, digest)
        except BaseException:
            # All in one request: nobody knows the session's name to go on with it.
            await asyncio.shield(service.write(lambda connection: blobs.give_up(connection, upload.id)))
            raise

    async def _mount(self, request: web.Request, repository: str, digest: Digest) -> bool:
        """Link the blob from `from`, or from wherever the subject may read it. False: it is to be uploaded."""
        service, subject = self._service, request[SUBJECT]
        if "from" in request.query:
            try:
                sources = [repository_name(request.query["from"])]
            except InvalidName:
                return False  # as one that does not have it
        else:
            sources = await service.read(lambda connection: blobs.holders(connection, digest))
        for source in sources:
            # A token that was asked for both repositories names both; what it does not name is not mounted.
            if await may_in(service.database, subject, Action.PULL, source):
                done = await service.write(
                    lambda connection, source=source: blobs.mount(connection, repository, source, digest)  # type: ignore[misc]
                )
                if done:
                    return True
        return False

    async def _offload(self, work: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._service.pool, work, *arguments)

    async def _append(self, request: web.Request, upload: UploadRow, at: int | None) -> int:
        service = self._service
        room = await service.read(lambda connection: quotas.room(connection, upload.repository_id))
        before = await self._size(upload)

        def limit(size_bytes: int) -> None:
            if room is not None and room[2] + size_bytes - before > room[1]:
                raise QuotaExceeded(room[0], room[1], room[2])

        try:
            return await service.receiver.append(upload.key, request.content, at, limit)
        except QuotaExceeded:
            await tell_quota_exceeded(self._service, request)
            raise
        except StoreFull:
            await service.write(lambda connection: blobs.give_up(connection, upload.id))
            raise
        except ObjectUnknown as error:
            raise UploadUnknown from error
        except Exception:
            # What came before it broke stays, and counts.
            size = await self._size(upload)
            await service.write(lambda connection: blobs.grown(connection, upload.id, size))
            raise

    async def _size(self, upload: UploadRow) -> int:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._service.pool, self._service.objects.upload_size, upload.key
            )
        except ObjectUnknown as error:
            raise UploadUnknown from error

    async def _finish(self, request: web.Request, upload: UploadRow, digest: Digest) -> web.Response:
        service, name = self._service, request.match_info["name"]
        try:
            size = await service.receiver.commit(upload.key, digest)
        except ObjectUnknown as error:
            raise UploadUnknown from error
        except UnexpectedContent:
            await service.write(lambda connection: blobs.give_up(connection, upload.id))
            raise
        try:
            await service.write(lambda connection: blobs.adopt(connection, upload, digest, size))
        except QuotaExceeded:
            await service.write(lambda connection: blobs.give_up(connection, upload.id))
            await tell_quota_exceeded(self._service, request)
            raise
        return _created(name, digest)

    async def append(self, request: web.Request) -> web.StreamResponse:
        upload = await self._row(request)
        size = await self._append(request, upload, _piece(request))
        await self._service.write(lambda connection: blobs.grown(connection, upload.id, size))
        return _progress(request.match_info["name"], upload, size, 202)

    async def finish(self, request: web.Request) -> web.StreamResponse:
        upload = await self._row(request)
        if "digest" not in request.query:
            raise DigestWrong("the digest is missing: PUT …?digest=sha256:…")
        digest = Digest(request.query["digest"])
        if request.body_exists:
            await self._append(request, upload, _piece(request))
        return await self._finish(request, upload, digest)

    async def status(self, request: web.Request) -> web.StreamResponse:
        upload = await self._row(request)
        return _progress(request.match_info["name"], upload, await self._size(upload), 204)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        upload = await self._row(request)
        self._service.receiver.forget(upload.key)

        def forget(connection: Connection) -> None:
            blobs.give_up(connection, upload.id)
            audit.record(connection, actor(request), "cancel upload", subject=request[REPOSITORY])

        await self._service.write(forget)
        return web.Response(status=204)


def routes(service: Service) -> list[Route]:
    uploads = Uploads(service)
    session = "/v2/{name*}/blobs/uploads/{upload}"
    return [
        Route("POST", "/v2/{name*}/blobs/uploads/", uploads.begin, Action.PUSH, body_limit_bytes=None),
        Route("POST", "/v2/{name*}/blobs/uploads", uploads.begin, Action.PUSH, body_limit_bytes=None),
        Route("PATCH", session, uploads.append, Action.PUSH, body_limit_bytes=None),
        Route("PUT", session, uploads.finish, Action.PUSH, body_limit_bytes=None),
        Route("GET", session, uploads.status, Action.PUSH),
        Route("DELETE", session, uploads.cancel, Action.PUSH),
    ]
