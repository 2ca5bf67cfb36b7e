"""One pull: from a reference to a registered image.

find the manifest (mirrors first; of an index the manifest for the platform)
fetch the configuration: it names what the layers must unpack to
fetch all layers side by side, under a lease
register: until then nothing is visible, and after it everything is there
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from onggi.content.store import Store
from onggi.distribution.credentials import Credentials
from onggi.distribution.failure import Answer, AnswerFailed, Misbehaved, Unreachable, printable
from onggi.distribution.registries import Registries
from onggi.distribution.repository import Document, Repository
from onggi.errors import NotFound, OnggiError
from onggi.images.fetch import Fetches
from onggi.images.image import Image, NoSuchImage
from onggi.images.images import Images
from onggi.images.in_thread import in_thread
from onggi.images.lease import Lease
from onggi.images.progress import Progress, line
from onggi.images.unpack import Integrity
from onggi.images.whole_index import WholeIndex, read_index
from onggi.oci.descriptor import FOREIGN_LAYERS, IMAGE_CONFIGS, LAYERS, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.image import CONFIG_LIMIT_BYTES, ImageConfig, parse_image_config
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Manifest, parse_manifest
from onggi.oci.platform import Platform, host_platform, suitability
from onggi.oci.reference import DOCKER_HUB, Reference

log = logging.getLogger(__name__)
T = TypeVar("T")

_DEEPEST_INDEX = 3


@dataclass(frozen=True, slots=True)
class Services:
    """What pulls and pushes of one engine share."""

    images: Images
    blobs: Store
    registries: Registries
    fetches: Fetches
    executor: Executor
    push_compression: str
    """Of layers that are kept as plain tars: gzip or zstd."""

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks on the disk."""
        return await in_thread(self.executor, work)

    async def document(self, digest: Digest) -> bytes:
        """A small blob of the store; of a larger one its beginning. Raises BlobUnknown."""

        def read() -> bytes:
            with self.blobs.open(digest) as file:
                return file.read(max(CONFIG_LIMIT_BYTES, MANIFEST_LIMIT_BYTES) + 1)

        return await self.in_thread(read)


@dataclass(frozen=True, slots=True)
class _Found:
    repository: Repository
    top: Document
    """What the reference names: an index, or the manifest itself."""


class Pull:
    """One reference, with tag or digest, for one platform (None: this machine's)."""

    def __init__(
        self,
        services: Services,
        reference: Reference,
        progress: Progress,
        *,
        platform: Platform | None,
        whole: bool = False,
        credentials: Credentials | None,
    ) -> None:
        """`whole`: all that an index lists, not the platform's image alone."""
        # As Docker: a digest decides, and a tag beside it names nothing.
        self._reference = replace(reference, tag=None) if reference.digest else reference
        self._services, self._progress = services, progress
        self._platform, self._whole, self._credentials = platform, whole, credentials
        self._use_mirrors = True
        self._at_mirror = False

    async def run(self) -> Image:
        """Raises NotFound, Answer, Unreachable, Misbehaved, Integrity, InvalidManifest, NoMatchingPlatform."""
        try:
            return await self._attempt()
        except (Answer, Unreachable, Misbehaved, Integrity) as error:
            if not self._at_mirror:
                raise
            log.warning("the mirror failed, so %s itself is asked: %s", self._reference.registry, error)
        self._use_mirrors = self._at_mirror = False
        return await self._attempt()

    async def _attempt(self) -> Image:
        reference = self._reference
        before = self._known(reference)
        try:
            if before is not None and (current := await self._current(before)):
                self._begin()
                return self._end(before, current, newer=False)
            found = await self._find()
        except Answer as error:
            raise translated(error, reference, self._credentials) from error
        self._begin()
        manifest_document, manifest = await self._choose(found)
        async with self._services.images.lease() as lease:
            config_bytes = await self._configuration(found.repository, manifest, lease)
            config = parse_image_config(config_bytes)
            if len(config.diff_ids) != len(manifest.layers):
                raise Integrity("layers from manifest don't match image configuration")
            for document in (found.top, manifest_document):
                await self._services.images.keep_document(lease, document.content)
            layers = {
                (layer.digest, diff_id): (layer, diff_id)
                for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
            }
            await self._layers(layers.values(), found.repository, lease, known=self._known_id(manifest.config.digest))
            whole = None
            if self._whole and manifest_document.digest != found.top.digest:
                whole = await self._index(found, manifest_document, lease)
            image = await self._services.images.commit_pulled(
                reference, found.top.digest, manifest_document.content, manifest_document.media_type, config_bytes,
                whole,
            )  # fmt: skip
        self._end(image, found.top.digest, newer=before is None or before.id != image.id)
        self._pass_on(found.repository)
        self._warn_of_platform(config)
        return image

    def _begin(self) -> None:
        reference = self._reference
        self._progress({"status": f"Pulling from {reference.repository}", "id": reference.tag or reference.familiar})

    def _end(self, image: Image, digest: Digest, *, newer: bool) -> Image:
        self._progress({"status": f"Digest: {digest}"})
        state = "Downloaded newer image" if newer else "Image is up to date"
        self._progress({"status": f"Status: {state} for {self._reference.familiar}"})
        return image

    def _pass_on(self, repository: Repository) -> None:
        """The registry's own warnings."""
        for sentence in repository.warnings:
            self._progress({"status": f"WARNING: {sentence}"})

    def _warn_of_platform(self, config: ImageConfig) -> None:
        if self._platform is not None and suitability(config.platform, self._platform) is None:
            self._progress(
                {
                    "status": f"WARNING: image with reference {self._reference.familiar} was found but its platform "
                    f"({config.platform}) does not match the specified platform ({self._platform})"
                }
            )

    # What is here already

    def _known(self, reference: Reference) -> Image | None:
        try:
            return self._services.images.get(reference.canonical)
        except NoSuchImage:
            return None

    def _known_id(self, image_id: Digest) -> bool:
        try:
            return self._services.images.get(str(image_id)).id == image_id
        except NoSuchImage:
            return False

    async def _current(self, image: Image) -> Digest | None:
        """The registry's digest when what is here is what is there, by a HEAD alone (registries count no limits)."""
        if self._platform is not None and suitability(image.config.platform, self._platform) is None:
            return None
        ours = {name.digest for name in image.digests if name.name == self._reference.name}
        if self._whole:
            ours &= {image.index, Digest.of(image.manifest_bytes)}
        if self._reference.digest in ours:
            return self._reference.digest
        async with aclosing(self._repositories()) as repositories:
            async for repository in repositories:
                try:
                    head = await repository.head(self._reference.tag or str(self._reference.digest))
                except (Answer, Unreachable, Misbehaved) as error:
                    if repository.client.endpoint.mirror or isinstance(error, AnswerFailed):
                        return None  # a GET may do, here or elsewhere
                    raise
                if head is None or head.digest not in ours:
                    return None
                self._pass_on(repository)
                return head.digest
        return None

    # At the registry

    async def _repositories(self) -> AsyncGenerator[Repository, None]:
        async with aclosing(
            self._services.registries.clients(self._reference.registry, self._credentials, mirrors=self._use_mirrors)
        ) as clients:
            async for client in clients:
                if client.endpoint.resolves or self._reference.digest:
                    yield Repository(client, self._reference.repository)

    async def _find(self) -> _Found:
        """The document that the reference names. What a mirror lacks or garbles is asked of the registry itself."""
        failure: OnggiError = Unreachable(f"{self._reference.registry} has no address")
        wanted = self._reference.digest or self._reference.tag or "latest"
        async with aclosing(self._repositories()) as repositories:
            async for repository in repositories:
                try:
                    document = await repository.manifest(wanted)
                except (Answer, Unreachable, Misbehaved) as error:
                    failure = error
                    if not repository.client.endpoint.mirror:
                        raise
                else:
                    self._at_mirror = repository.client.endpoint.mirror
                    return _Found(repository, document)
        raise failure

    async def _choose(self, found: _Found) -> tuple[Document, Manifest]:
        """The image's own manifest. Raises NoMatchingPlatform, InvalidManifest."""
        document = found.top
        for _ in range(_DEEPEST_INDEX):
            parsed = parse_manifest(document.content, document.media_type)
            if isinstance(parsed, Manifest):
                self._check(parsed)
                kind = parsed.media_type or document.media_type
                return replace(document, media_type=kind), parsed
            entry = parsed.choose(self._platform or host_platform())
            content = await found.repository.manifest(entry.digest)
            if len(content.content) != entry.size:
                raise Misbehaved(f"manifest {entry.digest} has {len(content.content)} bytes, not {entry.size}")
            document = replace(content, media_type=entry.media_type)
        raise Misbehaved("the index holds an index within an index")

    def _check(self, manifest: Manifest) -> None:
        if manifest.config.media_type not in IMAGE_CONFIGS:
            raise Misbehaved(f"unsupported media type {printable(manifest.config.media_type)}")
        for layer in manifest.layers:
            if layer.media_type not in LAYERS:
                raise Misbehaved(f"unsupported media type {printable(layer.media_type)}")
            if layer.media_type in FOREIGN_LAYERS and layer.urls:
                raise Misbehaved(f"refused: layer {layer.digest} is to be fetched from another place than the registry")

    async def _configuration(self, repository: Repository, manifest: Manifest, lease: Lease) -> bytes:
        digest, size = manifest.config.digest, manifest.config.size
        if await lease.hold_blob(digest) and size <= CONFIG_LIMIT_BYTES:
            return await self._services.document(digest)
        content = await repository.small_blob(digest, CONFIG_LIMIT_BYTES, "image config")
        await self._services.images.keep_document(lease, content)
        return content

    async def _layers(
        self, layers: Collection[tuple[Descriptor, Digest]], repository: Repository, lease: Lease, *, known: bool
    ) -> None:
        missing = []
        for layer, diff_id in layers:
            # Both are asked: each answer also holds what is there.
            has_blob, has_layer = await lease.hold_blob(layer.digest), await lease.hold_layer(diff_id)
            if not has_blob or not has_layer or not self._services.images.is_layer_of(layer.digest, diff_id):
                missing.append((layer, diff_id))
            elif not known:
                self._progress(line("Already exists", layer.digest.short))
        try:
            async with asyncio.TaskGroup() as group:
                for layer, diff_id in missing:
                    group.create_task(
                        self._layer(layer, diff_id, repository, lease), name=f"layer {layer.digest.short}"
                    )
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # the first ended the others

    async def _index(self, found: _Found, chosen: Document, lease: Lease) -> WholeIndex:
        """All that the index lists, here and held; `chosen` of it is here already."""
        images = self._services.images

        async def document(entry: Descriptor) -> bytes:
            if entry.digest == chosen.digest:
                return chosen.content
            content = (await found.repository.manifest(entry.digest)).content
            await images.keep_document(lease, content)
            return content

        index = await read_index(found.top, document)
        try:
            async with asyncio.TaskGroup() as group:
                for blob in index.blobs:
                    if not await lease.hold_blob(blob.digest):
                        work = self._services.fetches.fetch(blob, None, found.repository, self._progress)
                        group.create_task(work, name=f"blob {blob.digest.short}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # the first ended the others
        return index

    async def _layer(self, layer: Descriptor, diff_id: Digest, repository: Repository, lease: Lease) -> None:
        await self._services.fetches.fetch(layer, diff_id, repository, self._progress)
        await lease.hold_blob(layer.digest)
        if not await lease.hold_layer(diff_id):
            raise Integrity(f"layer {diff_id} was removed while the image was being pulled; pull again")


class PullDenied(NotFound):
    """Docker's way to put it: the registry does not say whether the image is not there or not for you."""


def _why(reference: Reference, credentials: Credentials | None) -> str:
    """Most registries don't tell "not there" from "not for you"; but a login is no advice for who could not need it."""
    if reference.registry == DOCKER_HUB and reference.repository.startswith("library/"):
        return (
            "repository does not exist: the official images of Docker Hub need no login, so look at the name's spelling"
        )
    if not credentials:
        return "repository does not exist or may require 'docker login'"
    who = credentials.username or "the account that you are logged in with"
    return f"repository does not exist or {printable(who)} may not pull from it"


def translated(error: Answer, reference: Reference, credentials: Credentials | None) -> OnggiError:
    """A registry's refusal as `docker pull` words it; more precise where more is known."""
    reason = error.reasons[0] if error.reasons else None
    if error.first == "DENIED":
        return PullDenied(f"pull access denied for {reference.familiar_name}, {_why(reference, credentials)}: {reason}")
    if error.first == "MANIFEST_UNKNOWN":
        return PullDenied(f"manifest for {reference.familiar} not found: {reason}")
    if error.first == "NAME_UNKNOWN":
        return PullDenied(f"repository {reference.familiar_name} not found: {reason}")
    return error
