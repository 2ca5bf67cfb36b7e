"""One push: an image's blobs that the registry lacks, side by side, then its manifest.

The blobs are the very bytes that were pulled or made, so digests stay the same. What another repository of the same
registry has is mounted, not sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import BinaryIO

from yarl import URL

from onggi.distribution.credentials import Credentials
from onggi.distribution.failure import Answer, AnswerBusy, AnswerFailed, Misbehaved, Unreachable
from onggi.distribution.http import Body
from onggi.distribution.repository import Repository
from onggi.errors import NotFound, OnggiError
from onggi.images.compress import compressed
from onggi.images.image import Image
from onggi.images.lease import Lease
from onggi.images.progress import LayerRow, Progress
from onggi.images.pull import Services
from onggi.images.whole_index import WholeIndex, of_image
from onggi.oci.descriptor import Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference

log = logging.getLogger(__name__)

_PIECE_BYTES = 1024 * 1024
_CHUNK_BYTES = 16 * 1024 * 1024
_TOO_LARGE = 413


class NothingToPush(NotFound):
    """No image here has a name in the repository."""

    def __init__(self, repository: str) -> None:
        super().__init__(f"An image does not exist locally with the tag: {repository}")


class TagUnknown(NotFound):
    """Images here have names in the repository, but not this one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"tag does not exist: {name}")


class Push:
    """The tags of one repository."""

    def __init__(
        self,
        services: Services,
        reference: Reference,
        progress: Progress,
        *,
        credentials: Credentials | None,
        most_uploads: int,
        one_platform: bool = False,
    ) -> None:
        """`one_platform`: the image alone, where all of its index is here."""
        self._services, self._reference, self._progress = services, reference, progress
        self._credentials, self._one_platform = credentials, one_platform
        self._turns = asyncio.Semaphore(most_uploads)

    async def run(self, *, all_tags: bool) -> None:
        """Raises NothingToPush, Answer, Unreachable, Misbehaved."""
        reference = self._reference
        self._progress({"status": f"The push refers to repository [{reference.name}]"})
        images = self._images(all_tags=all_tags)
        client = await self._services.registries.client(reference.registry, self._credentials)
        repository = Repository(client, reference.repository, actions="pull,push")
        try:
            for name, image in images:
                await self._push(repository, name, image)
            for sentence in repository.warnings:
                self._progress({"status": f"WARNING: {sentence}"})
        except Answer as error:
            # The registry's own words, without the address that they came from: as docker push has them.
            if error.reasons:
                raise type(error)(error.status, error.reasons) from error
            raise

    def _images(self, *, all_tags: bool) -> Sequence[tuple[Reference, Image]]:
        wanted = self._reference.with_default_tag()
        found = [
            (name, image) for image in self._services.images.all() for name in image.names if name.name == wanted.name
        ]
        if not found:
            raise NothingToPush(wanted.familiar_name)
        if not all_tags:
            found = [pair for pair in found if pair[0] == wanted]
        if not found:
            raise TagUnknown(wanted.familiar)
        return sorted(found, key=lambda pair: pair[0].tag or "")

    async def _push(self, repository: Repository, name: Reference, image: Image) -> None:
        services, sources = self._services, self._mount_sources()
        rows = [LayerRow(diff_id.short) for diff_id in image.config.diff_ids]
        for row in reversed(rows):
            row.watch(self._progress)
            row.say("Preparing")
        async with services.images.lease() as lease:
            for digest in (*(layer.digest for layer in image.manifest.layers), image.manifest.config.digest):
                if not await lease.hold_blob(digest):
                    raise NotFound(f"content {digest} of the image {name.familiar} is not here: pull or load it again")
            if index := await self._whole(image, name, lease):
                await self._push_index(repository, name, image, index, rows, sources)
                return
            manifest = await compressed(
                services.images, services.blobs, services.executor, image, lease, services.push_compression
            )
            layers = {layer.digest: (layer, row) for layer, row in zip(manifest.layers, rows, strict=True)}
            await self._blobs(repository, reversed(layers.values()), sources)
            await self._blob(repository, manifest.config, (), LayerRow("config"))
            content = image.manifest_bytes if manifest is image.manifest else encode_document(manifest)
            digest = Digest.of(content)
            await repository.put_manifest(name.tag or str(digest), content, image.manifest_media_type)
            await services.images.keep_document(lease, content)
            await services.images.register(
                image.config_bytes, content, image.manifest_media_type, [name.with_digest(digest)], documents=[digest]
            )
        self._tell(name, digest, len(content))

    def _tell(self, name: Reference, digest: Digest, size: int) -> None:
        tag = name.tag or str(digest)
        self._progress({"status": f"{tag}: digest: {digest} size: {size}"})
        self._progress({"progressDetail": {}, "aux": {"Tag": tag, "Digest": str(digest), "Size": size}})

    async def _whole(self, image: Image, name: Reference, lease: Lease) -> WholeIndex | None:
        """The index that is to be sent in the image's place."""
        if image.index is None or self._one_platform:
            return None
        index = await of_image(image, self._services.document, lease.hold_blob)
        if index is None:
            log.warning("%s: not all of its index is here: the image for this machine is sent alone", name.familiar)
            self._progress({"aux": {
                "manifestPushedInsteadOfIndex": True, "originalIndex": {"digest": str(image.index)},
                "selectedManifest": {"digest": str(Digest.of(image.manifest_bytes))},
            }})  # fmt: skip
        return index

    async def _push_index(
        self, repository: Repository, name: Reference, image: Image, index: WholeIndex, rows: Sequence[LayerRow],
        sources: Mapping[Digest, Sequence[str]],
    ) -> None:  # fmt: skip
        shown = {layer.digest: row for layer, row in zip(image.manifest.layers, rows, strict=True)}
        for blob in index.blobs:
            if blob.digest not in shown:
                shown[blob.digest] = row = LayerRow(blob.digest.short)
                row.watch(self._progress)
        await self._blobs(repository, ((blob, shown[blob.digest]) for blob in index.blobs), sources)
        for document in index.documents:
            await repository.put_manifest(str(document.digest), document.content, document.media_type)
        top = index.top
        await repository.put_manifest(name.tag or str(top.digest), top.content, top.media_type)
        await self._services.images.register(
            image.config_bytes, image.manifest_bytes, image.manifest_media_type, [name.with_digest(top.digest)],
            documents=index.digests, index=top.digest,
        )  # fmt: skip
        self._tell(name, top.digest, len(top.content))

    def _mount_sources(self) -> Mapping[Digest, Sequence[str]]:
        """Which other repositories of the registry had a blob when we last pulled from or pushed to them."""
        sources: dict[Digest, list[str]] = {}
        for image in self._services.images.all():
            repositories = [
                name.repository
                for name in image.digests
                if name.registry == self._reference.registry and name.repository != self._reference.repository
            ]
            for layer in image.manifest.layers if repositories else ():
                sources.setdefault(layer.digest, []).extend(repositories)
        return sources

    async def _blobs(
        self, repository: Repository, blobs: Iterable[tuple[Descriptor, LayerRow]],
        sources: Mapping[Digest, Sequence[str]],
    ) -> None:  # fmt: skip
        """Side by side; the first that fails ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for blob, row in blobs:
                    work = self._blob(repository, blob, sources.get(blob.digest, ()), row)
                    group.create_task(work, name=f"push {blob.digest.short}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _blob(self, repository: Repository, blob: Descriptor, sources: Sequence[str], row: LayerRow) -> None:
        if self._turns.locked():
            row.say("Waiting")
        async with self._turns:
            if await repository.has_blob(blob.digest) is not None:
                row.say("Layer already exists")
                return
            location: URL | None = None
            for source in sources[:1]:
                location = await repository.begin_upload(blob.digest, source)
                if location is None:
                    row.say(f"Mounted from {source}")
                    return
            await self._upload(repository, blob, location, row)
            row.say("Pushed")

    async def _upload(self, repository: Repository, blob: Descriptor, location: URL | None, row: LayerRow) -> None:
        """In one request. What breaks off goes on in chunks from where the registry has it; so does, from its start,
        what is too large for a proxy."""
        file = await self._services.in_thread(lambda: self._services.blobs.open(blob.digest))
        most_tries = repository.client.http.deadlines.most_tries
        offset, chunked, failures = 0, False, 0
        with file:
            while True:
                try:
                    if location is None:
                        location, offset = await repository.begin_upload(blob.digest), 0
                        assert location is not None, "nothing was to be mounted"
                    if not chunked and not offset:
                        body = _body(self._services, file, blob.size, row)
                        return await repository.upload(location, blob.digest, blob.size, body)
                    while offset < blob.size:
                        piece = await self._services.in_thread(_reading(file, offset, _CHUNK_BYTES))
                        location = await repository.upload_piece(location, offset, piece)
                        offset, failures = offset + len(piece), 0
                        row.move("Pushing", offset, blob.size)
                    return await repository.finish_upload(location, blob.digest)
                except (Unreachable, AnswerBusy, AnswerFailed) as error:
                    if getattr(error, "status", 0) == _TOO_LARGE and not chunked:
                        chunked, location = True, None
                        continue
                    failures += 1
                    if failures == most_tries:
                        raise
                    await self._pause(row, repository, failures, error)
                    location, offset = await self._reached(repository, blob, location)

    async def _reached(self, repository: Repository, blob: Descriptor, location: URL | None) -> tuple[URL | None, int]:
        """Where an upload that broke off goes on, and from which byte; None: from its beginning, anew."""
        if location is None:
            return None, 0
        try:
            location, offset = await repository.upload_reached(location)
        except (Answer, Unreachable, Misbehaved) as error:
            log.info("the upload of %s begins anew: %s", blob.digest, error)
            return None, 0
        return (location, offset) if 0 < offset <= blob.size else (None, 0)

    async def _pause(self, row: LayerRow, repository: Repository, tried: int, error: OnggiError) -> None:
        deadlines = repository.client.http.deadlines
        asked_s: float | None = getattr(error, "retry_after_s", None)
        pause_s = min(max(asked_s or 0, deadlines.retry_s * tried), deadlines.patience_s)
        row.say(f"Retrying in {max(round(pause_s), 1)} second{'s' if round(pause_s) > 1 else ''}")
        await asyncio.sleep(pause_s)


def _reading(file: BinaryIO, offset: int, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        file.seek(offset)
        return file.read(size)

    return read


def _body(services: Services, file: BinaryIO, size: int, row: LayerRow) -> Callable[[], Body]:
    async def pieces() -> AsyncIterator[bytes]:
        offset = 0
        while offset < size:
            piece = await services.in_thread(_reading(file, offset, _PIECE_BYTES))
            if not piece:
                raise OSError(f"the blob ends at byte {offset} of {size}")
            yield piece
            offset += len(piece)
            row.move("Pushing", offset, size)

    return pieces
