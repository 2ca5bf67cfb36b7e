"""A manifest becomes one of the repository's: what a push, a replication and a cache have in common."""

import asyncio

from onggi.content.objects import ObjectUnknown
from onggi.oci.descriptor import IMAGE_CONFIGS
from onggi.oci.image import CONFIG_LIMIT_BYTES
from onggi.oci.manifest import Manifest
from onggi.registry import audit, blobs, details, manifests, tags
from onggi.registry.audit import Actor
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.manifests import Document
from onggi.registry.names import project_of
from onggi.registry.refusals import BlobNotHere, ReferencesUnknown
from onggi.registry.repositories import find_or_make
from onggi.registry.service import Service


async def about(service: Service, repository: str, document: Document) -> dict[str, str]:
    """Platform and labels out of the image's configuration. Raises ReferencesUnknown where that is not there."""
    parsed = document.parsed
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


def push(
    service: Service, connection: Connection, actor: Actor, repository: str, tag: str, document: Document,
    found: dict[str, str],
) -> None:  # fmt: skip
    """Store it, point `tag` (where that is not "") at it, and tell. `found` is what `about` gave.

    Raises ReferencesUnknown, QuotaExceeded, TagImmutable, ProjectMissing.
    """
    repository_id = find_or_make(connection, repository)
    new = manifests.store(connection, repository_id, document, actor.name)
    if new:
        details.put(connection, repository_id, document.digest, found)
    previous = tags.point(connection, repository_id, tag, document.digest, actor.name) if tag else ""
    if new or (tag and previous != document.digest):
        audit.record(connection, actor, "push manifest", project=project_of(repository),
                     subject=f"{repository}:{tag}" if tag else f"{repository}@{document.digest}",
                     details={"digest": document.digest, "previous": previous})  # fmt: skip
        service.events.publish(connection, Event(
            EventKind.PUSH, repository, actor.name, tag, document.digest,
            {"media_type": document.media_type, "subject": document.subject,
             "artifact_type": document.artifact_type, "previous": previous, "new": new},
        ))  # fmt: skip
