"""GET, HEAD, PUT, DELETE of /v2/NAME/manifests/REFERENCE. (distribution-spec, "Pulling/Pushing/Deleting manifests")"""

from aiohttp import web

from onggi.oci.descriptor import FOREIGN_LAYERS
from onggi.oci.digest import Digest
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Manifest
from onggi.registry import audit, manifests, quotas, storing, tags, warning
from onggi.registry.conditional import etag_fits
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.manifests import Document
from onggi.registry.names import project_of, tag_name
from onggi.registry.permissions import Action
from onggi.registry.refusals import ManifestTooLarge, QuotaExceeded
from onggi.registry.repositories import find
from onggi.registry.requests import REPOSITORY, SUBJECT, actor, read_body
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.tags import TagAction
from onggi.registry.v2.quota_event import tell_quota_exceeded

NEARLY_FULL = 0.9
"""From this part of its quota on a project's pushes are answered with a warning."""


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
        stale = await service.cache.manifest(repository, reference)
        found = await service.read(lambda connection: manifests.find(connection, repository, reference))
        etag = f'"{found.digest}"'
        headers = {"Docker-Content-Digest": found.digest, "ETag": etag}
        hints = [stale]
        if etag_fits(request.headers.get("If-None-Match", ""), etag):
            return web.Response(status=304, headers=headers | warning.headers(hints))
        headers["Content-Type"] = found.media_type
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(found.content))
            return web.Response(headers=headers | warning.headers(hints))
        hints += [await gate(request[SUBJECT], repository, found) for gate in service.pull_gates]
        service.pulls.note(repository, found.digest)
        return web.Response(body=found.content, headers=headers | warning.headers(hints))

    async def put(self, request: web.Request) -> web.StreamResponse:
        service, repository, reference = self._service, request[REPOSITORY], _reference(request)
        content = await self._body(request)
        digest = reference if isinstance(reference, Digest) else None
        document = manifests.read_document(content, request.headers.get("Content-Type", ""), digest)
        tag = "" if digest is not None else reference
        about = await storing.about(service, repository, document)
        try:
            await service.write(
                lambda connection: storing.push(service, connection, actor(request), repository, tag, document, about)
            )
        except QuotaExceeded:
            await tell_quota_exceeded(service, request)
            raise
        headers = {
            "Location": f"/v2/{request.match_info['name']}/manifests/{document.digest}",
            "Docker-Content-Digest": document.digest,
        }
        if document.subject:
            headers["OCI-Subject"] = document.subject
        headers |= warning.headers(await self._warnings(repository, document))
        return web.Response(status=201, headers=headers)

    async def _warnings(self, repository: str, document: Document) -> list[str]:
        """What who has just pushed should know."""
        found = []
        if isinstance(document.parsed, Manifest) and any(
            layer.media_type in FOREIGN_LAYERS for layer in document.parsed.layers
        ):
            found.append("non-distributable layers are deprecated (OCI image specification 1.1): push them as layers")
        room = await self._service.read(lambda connection: quotas.room_of(connection, repository))
        if room is not None and room[2] >= room[1] * NEARLY_FULL:
            found.append(f"the project {room[0]} holds {room[2]} of the {room[1]} bytes of its quota")
        return found

    async def _body(self, request: web.Request) -> bytes:
        too_large = ManifestTooLarge(f"the manifest is larger than {MANIFEST_LIMIT_BYTES} bytes")
        if (request.content_length or 0) > MANIFEST_LIMIT_BYTES:
            raise too_large
        try:
            return await read_body(request)
        except web.HTTPRequestEntityTooLarge as error:
            raise too_large from error

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
