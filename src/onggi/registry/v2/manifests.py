"""GET, HEAD, PUT, DELETE of /v2/NAME/manifests/REFERENCE. (distribution-spec, "Pulling/Pushing/Deleting manifests")"""

import asyncio

from aiohttp import web

from onggi.content.objects import ObjectUnknown
from onggi.oci.descriptor import IMAGE_CONFIGS
from onggi.oci.digest import Digest
from onggi.oci.image import CONFIG_LIMIT_BYTES
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Manifest
from onggi.registry import audit, blobs, details, manifests, tags
from onggi.registry.conditional import etag_fits
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.manifests import Document
from onggi.registry.names import project_of, tag_name
from onggi.registry.permissions import Action
from onggi.registry.refusals import BlobNotHere, ManifestTooLarge, QuotaExceeded, ReferencesUnknown
from onggi.registry.repositories import find, find_or_make
from onggi.registry.requests import REPOSITORY, SUBJECT, actor, read_body
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.tags import TagAction
from onggi.registry.v2.quota_event import tell_quota_exceeded


def _reference(request: web.Request) -> str:
    """A digest (it holds a colon) or a tag, checked. Raises InvalidDigest, InvalidTag."""
    text = request.match_info["reference"]
    return Digest(text) if ":" in text else tag_name(text)


class Manifests:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, request: web.Request) -> web.StreamResponse:
        service, repository, reference = self._service, request[REPOSITORY], _reference(request)
        found = await service.read(lambda connection: manifests.find(connection, repository, reference))
        etag = f'"{found.digest}"'
        headers = {"Docker-Content-Digest": found.digest, "ETag": etag}
        if etag_fits(request.headers.get("If-None-Match", ""), etag):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = found.media_type
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(found.content))
            return web.Response(headers=headers)
        for gate in service.pull_gates:
            await gate(request[SUBJECT], repository, found)
        service.pulls.note(repository, found.digest)
        return web.Response(body=found.content, headers=headers)

    async def put(self, request: web.Request) -> web.StreamResponse:
        service, repository, reference = self._service, request[REPOSITORY], _reference(request)
        content = await self._body(request)
        digest = reference if isinstance(reference, Digest) else None
        document = manifests.read_document(content, request.headers.get("Content-Type", ""), digest)
        tag = "" if digest is not None else reference
        about = await self._details(repository, document)
        try:
            await service.write(lambda connection: self._store(connection, request, document, tag, about))
        except QuotaExceeded:
            await tell_quota_exceeded(service, request)
            raise
        headers = {
            "Location": f"/v2/{request.match_info['name']}/manifests/{document.digest}",
            "Docker-Content-Digest": document.digest,
        }
        if document.subject:
            headers["OCI-Subject"] = document.subject
        return web.Response(status=201, headers=headers)

    async def _body(self, request: web.Request) -> bytes:
        too_large = ManifestTooLarge(f"the manifest is larger than {MANIFEST_LIMIT_BYTES} bytes")
        if (request.content_length or 0) > MANIFEST_LIMIT_BYTES:
            raise too_large
        try:
            return await read_body(request)
        except web.HTTPRequestEntityTooLarge as error:
            raise too_large from error

    async def _details(self, repository: str, document: Document) -> dict[str, str]:
        """Platform and labels out of the image's configuration. Raises ReferencesUnknown where that is not there."""
        parsed, service = document.parsed, self._service
        if not isinstance(parsed, Manifest) or parsed.config.media_type not in IMAGE_CONFIGS:
            return {}
        digest = parsed.config.digest
        try:
            blob = await service.read(lambda connection: blobs.find(connection, repository, digest))
        except BlobNotHere as error:
            raise ReferencesUnknown([digest]) from error
        if blob.size_bytes > CONFIG_LIMIT_BYTES:
            return {}

        def read() -> dict[str, str]:
            with service.objects.open(blob.key) as file:
                return details.of_config(file.read())

        try:
            return await asyncio.get_running_loop().run_in_executor(service.pool, read)
        except ObjectUnknown as error:
            raise ReferencesUnknown([digest]) from error

    def _store(
        self, connection: Connection, request: web.Request, document: Document, tag: str, about: dict[str, str]
    ) -> None:
        repository, by = request[REPOSITORY], request[SUBJECT].name
        repository_id = find_or_make(connection, repository)
        new = manifests.store(connection, repository_id, document, by)
        if new:
            details.put(connection, repository_id, document.digest, about)
        previous = tags.point(connection, repository_id, tag, document.digest, by) if tag else ""
        if new or (tag and previous != document.digest):
            audit.record(connection, actor(request), "push manifest", project=project_of(repository),
                         subject=f"{repository}:{tag}" if tag else f"{repository}@{document.digest}",
                         details={"digest": document.digest, "previous": previous})  # fmt: skip
            self._service.events.publish(connection, Event(
                EventKind.PUSH, repository, by, tag, document.digest,
                {"media_type": document.media_type, "subject": document.subject,
                 "artifact_type": document.artifact_type, "previous": previous, "new": new},
            ))  # fmt: skip

    async def delete(self, request: web.Request) -> web.StreamResponse:
        service, repository, reference = self._service, request[REPOSITORY], _reference(request)

        def forget(connection: Connection) -> None:
            by = request[SUBJECT].name
            repository_id = find(connection, repository)["id"]
            if isinstance(reference, Digest):
                digest = str(reference)
                named = manifests.delete(connection, repository_id, reference, by)
            else:
                digest = tags.delete(connection, repository_id, reference, by, TagAction.DELETE)
                named = [reference]
            subject = f"{repository}@{digest}" if isinstance(reference, Digest) else f"{repository}:{reference}"
            audit.record(connection, actor(request), "delete manifest" if isinstance(reference, Digest) else "delete tag",
                         project=project_of(repository), subject=subject,
                         details={"digest": digest, "tags": named})  # fmt: skip
            service.events.publish(connection, Event(
                EventKind.DELETE, repository, by, "" if isinstance(reference, Digest) else reference, digest,
                {"tags": named},
            ))  # fmt: skip

        await service.write(forget)
        return web.Response(status=202)


def routes(service: Service) -> list[Route]:
    handlers = Manifests(service)
    path = "/v2/{name*}/manifests/{reference}"
    return [
        Route("GET", path, handlers.get, Action.PULL),
        Route("HEAD", path, handlers.get, Action.PULL),
        Route("PUT", path, handlers.put, Action.PUSH, body_limit_bytes=MANIFEST_LIMIT_BYTES),
        Route("DELETE", path, handlers.delete, Action.DELETE),
    ]
