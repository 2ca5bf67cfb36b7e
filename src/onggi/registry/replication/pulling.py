"""From a repository of a remote to one here."""

from onggi.distribution.failure import AnswerNotFound
from onggi.distribution.repository import Document, Repository
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.registry import blobs, manifests, storing
from onggi.registry.audit import Actor
from onggi.registry.database import Connection
from onggi.registry.manifests import read_document
from onggi.registry.refusals import BlobNotHere, ManifestUnknown
from onggi.registry.service import Service
from onggi.registry.upstream.incoming import Incoming, bring


class Pull:
    """`copying.Ends` whose target is here. What it stores is `actor`'s."""

    def __init__(self, service: Service, actor: Actor, repository: str, source: Repository) -> None:
        self._service, self._actor, self._repository, self._source = service, actor, repository, source

    async def manifest(self, reference: str) -> Document:
        return await self._source.manifest(reference)

    async def referrers(self, digest: Digest) -> list[Digest]:
        return [entry.digest for entry in await self._source.referrers(digest)]

    async def tagged(self, tag: str) -> bool:
        try:
            await self._source.head(tag)
        except AnswerNotFound:
            return False
        return True

    async def there(self, reference: str) -> str:
        def look(connection: Connection) -> str:
            try:
                return manifests.find(connection, self._repository, reference).digest
            except ManifestUnknown:
                return ""

        return await self._service.read(look)

    async def copy_blob(self, blob: Descriptor) -> int:
        """Raises Answer, Unreachable, Misbehaved, UnexpectedContent, QuotaExceeded, StoreFull."""

        def look(connection: Connection) -> bool:
            try:
                blobs.find(connection, self._repository, blob.digest)
            except BlobNotHere:
                return False
            blobs.touch(connection, self._repository, blob.digest)  # it stays until the manifest that names it comes
            return True

        service = self._service
        if await service.database.write(look):
            return 0
        incoming = Incoming(self._source, blob.digest, service.pool)
        await bring(service.database, service.objects, self._repository, incoming)
        if incoming.failure is not None:
            raise incoming.failure
        return incoming.written_bytes

    async def put(self, document: Document, tag: str) -> None:
        service, repository = self._service, self._repository
        read = read_document(document.content, document.media_type, document.digest)
        about = await storing.about(service, repository, read)
        await service.write(
            lambda connection: storing.push(service, connection, self._actor, repository, tag, read, about)
        )
