"""Pull and push: images between this host and registries. The doors; what happens behind them is in `pull` and `push`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from onggi.content.store import Store
from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import DOCKER_HUB_KEYS, RegistryOptions
from onggi.distribution.failure import Answer
from onggi.distribution.http import Deadlines
from onggi.distribution.registries import Registries
from onggi.distribution.repository import Repository
from onggi.errors import Unavailable
from onggi.images import signatures
from onggi.images.fetch import Fetches
from onggi.images.image import Image
from onggi.images.images import Images, Publish
from onggi.images.manifests import Found, Member, find, push
from onggi.images.progress import LayerRow, Progress
from onggi.images.pull import Pull, Services, translated
from onggi.images.push import Push
from onggi.images.search import SearchResult, search
from onggi.images.verify import Verification
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.image import CONFIG_LIMIT_BYTES, parse_image_config
from onggi.oci.manifest import Index, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import DOCKER_HUB, Reference
from onggi.signing.gathering import Signature, Trusted


class Transfer:
    """Enter it to use it. One for an engine: pulls that run at the same time share their layers."""

    def __init__(
        self,
        images: Images,
        blobs: Store,
        publish: Publish,
        options: RegistryOptions | None = None,
        *,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._images, self._blobs, self._publish = images, blobs, publish
        self._options = options or RegistryOptions()
        self._deadlines = deadlines
        self._stack = AsyncExitStack()
        self._services: Services | None = None

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        executor = self._stack.enter_context(
            ThreadPoolExecutor(self._options.most_downloads + 2, thread_name_prefix="transfer")
        )
        registries = await enter(Registries(self._options, self._deadlines))
        fetches = await enter(Fetches(self._images, self._blobs, executor, self._options.most_downloads))
        self._services = Services(
            self._images, self._blobs, registries, fetches, executor, self._options.push_compression
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._services = None
        await self._stack.aclose()

    @property
    def _open(self) -> Services:
        if self._services is None:
            raise Unavailable("the engine is not running")
        return self._services

    async def pull(
        self,
        reference: Reference,
        progress: Progress,
        *,
        platform: Platform | None = None,
        whole: bool = False,
        credentials: Credentials | None = None,
    ) -> Image:
        """Bring an image here; `whole`: and all else that its index lists.

        Cancelled it ends at once; layers that are complete stay for the next try.
        """
        reference = reference.with_default_tag()
        pull = Pull(self._open, reference, progress, platform=platform, whole=whole, credentials=credentials)
        image = await pull.run()
        attributes = {**(image.config.container.labels or {}), "name": reference.familiar_name}
        self._publish("image", "pull", reference.familiar, attributes)
        return image

    async def pull_all(
        self,
        reference: Reference,
        progress: Progress,
        *,
        platform: Platform | None = None,
        whole: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        """Every tag of a repository."""
        client = await self._open.registries.client(reference.registry, credentials)
        try:
            tags = await Repository(client, reference.repository).tags()
        except Answer as error:
            raise translated(error, reference, credentials) from error
        for tag in tags:
            name = reference.with_tag(tag)
            await self.pull(name, progress, platform=platform, whole=whole, credentials=credentials)

    async def push(
        self,
        reference: Reference,
        progress: Progress,
        *,
        credentials: Credentials | None = None,
        all_tags: bool = False,
        one_platform: bool = False,
    ) -> None:
        """Send an image, or all that have a name in the repository; with its index, unless `one_platform`."""
        push = Push(
            self._open, reference, progress, credentials=credentials, most_uploads=self._options.most_uploads,
            one_platform=one_platform,
        )  # fmt: skip
        await push.run(all_tags=all_tags)
        self._publish("image", "push", reference.familiar, {"name": reference.familiar_name})

    async def log_in(self, server: str, credentials: Credentials) -> str:
        """Try credentials; gives an identity token when the registry hands one out, "" otherwise.

        `server` is a registry's host, or a URL that begins with it. Raises Answer, Unreachable.
        """
        registry = DOCKER_HUB if server in {"", *DOCKER_HUB_KEYS} else server.split("://", 1)[-1].split("/", 1)[0]
        registry = Reference.parse(f"{registry}/x").registry
        client = await self._open.registries.client(registry, credentials)
        return await client.log_in()

    async def inspect(
        self, reference: Reference, credentials: Credentials | None = None
    ) -> tuple[Descriptor, Sequence[Platform]]:
        """What a registry has under a name, and for which platforms."""
        reference = reference.with_default_tag()
        client = await self._open.registries.client(reference.registry, credentials)
        repository = Repository(client, reference.repository)
        document = await repository.manifest(reference.digest or reference.tag or "latest")
        parsed = parse_manifest(document.content, document.media_type)
        kind = parsed.media_type or document.media_type
        descriptor = Descriptor(media_type=kind, digest=document.digest, size=len(document.content))
        if isinstance(parsed, Index):
            return descriptor, [entry.platform for entry in parsed.manifests if entry.platform is not None]
        content = await repository.small_blob(parsed.config.digest, CONFIG_LIMIT_BYTES, "image config")
        return descriptor, [parse_image_config(content).platform]

    async def manifest(self, reference: Reference, credentials: Credentials | None, *, insecure: bool) -> Found:
        """A manifest or index at a registry, by name. Raises Answer, Unreachable, Misbehaved."""
        try:
            return await find(self._open.registries, reference, credentials, insecure=insecure)
        except Answer as error:
            raise translated(error, reference.with_default_tag(), credentials) from error

    async def push_index(
        self, target: Reference, content: bytes, media_type: str, members: Sequence[Member],
        credentials: Credentials | None, *, insecure: bool,
    ) -> tuple[Digest, Sequence[Reference]]:  # fmt: skip
        """See `manifests.push`."""
        return await push(self._open.registries, target, content, media_type, members, credentials, insecure=insecure)

    async def attach_bundle(
        self, name: Reference, image: Digest, bundle: bytes, credentials: Credentials | None
    ) -> Digest:
        """See `signatures.attach_bundle`."""
        return await signatures.attach_bundle(self._open.registries, name, image, bundle, credentials)

    async def attach_simple(
        self, name: Reference, image: Digest, payload: bytes, signature: str, credentials: Credentials | None
    ) -> Digest:
        """See `signatures.attach_simple`."""
        return await signatures.attach_simple(self._open.registries, name, image, payload, signature, credentials)

    async def verify_signatures(
        self, name: Reference, trusted: Sequence[Trusted], credentials: Credentials | None
    ) -> tuple[Digest, list[Signature]]:
        """See `signatures.verify`."""
        return await signatures.verify(self._open.registries, name, trusted, credentials)

    def verification(self, progress: Progress, *, repair: bool, credentials: Mapping[str, Credentials]) -> Verification:
        """For images that are to be verified one after the other. `credentials` by registry, for repairs."""
        return Verification(self._open, progress, repair=repair, credentials=credentials)

    async def search(
        self,
        term: str,
        limit: int,
        filters: Mapping[str, Sequence[str]],
        credentials: Credentials | None = None,
    ) -> list[SearchResult]:
        """Repositories of Docker Hub, or of the registry that `term` begins with."""
        return await search(self._open.registries, term, limit, filters, credentials)

    async def download(self, url: str, progress: Progress) -> AsyncIterator[bytes]:
        """The bytes at a URL that the user named (`import URL`). Raises InvalidParameter, Answer, Unreachable."""
        row, current = LayerRow(""), 0
        row.watch(progress)
        async with self._open.registries.follow(url) as response:
            progress({"status": f"Downloading from {url}"})
            async for piece in response.content.iter_any():
                yield piece
                current += len(piece)
                row.move("Importing", current, response.content_length or 0)
