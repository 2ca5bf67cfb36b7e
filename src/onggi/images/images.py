"""The images on this host: look up, name, remove; what a pull, a load or a commit registers and holds meanwhile."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from onggi.content.store import BlobUnknown, Store
from onggi.images import layers, lease, names, rubbish
from onggi.images.decompress import MOST_TIMES
from onggi.images.image import Image, NoSuchImage
from onggi.images.layers import Layer
from onggi.images.lease import Lease
from onggi.images.removal import ContainerUse, Removal, Removed, chains
from onggi.images.rubbish import Rubbish
from onggi.images.snapshot import Snapshots
from onggi.images.unpack import Unpacking
from onggi.images.usage import Usage, measure
from onggi.images.whole_index import WholeIndex
from onggi.images.worker_process import Integrity, WorkerProcess
from onggi.linux.fd import Fd
from onggi.linux.tree import mark_top_directory, sync_file_system
from onggi.oci.digest import Digest
from onggi.oci.image import parse_image_config
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.reference import Reference
from onggi.state.database import Database

_KEEP_UNUSED_BLOBS = timedelta(days=1)
"""So long an interrupted pull may be taken up again."""

log = logging.getLogger(__name__)


class Publish(Protocol):
    """`Events.publish`: type "image", action "tag", actor, attributes."""

    def __call__(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], /) -> object: ...


class Images:
    """Enter it to open; `containers_of` tells which containers an image has (it must not await)."""

    def __init__(
        self,
        data_root: Path,
        database: Database,
        blobs: Store,
        publish: Publish,
        containers_of: Callable[[Digest], Sequence[ContainerUse]],
        *,
        most_times: int = MOST_TIMES,
    ) -> None:
        self.data_root = data_root
        self.blobs = blobs
        self.most_times = most_times
        """So many times its size a compressed layer or archive may grow; 0: any."""
        self._database = database
        self._publish = publish
        self._containers_of = containers_of
        self._collecting = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._rubbish = Rubbish(data_root, database)
        self.snapshots = Snapshots(data_root, database, self._rubbish)

    async def __aenter__(self) -> Self:
        (self.data_root / layers.DIRECTORY).mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            mark_top_directory(self.data_root / layers.DIRECTORY)
        except OSError as error:
            log.info("layers may lie beside each other on the disk, and pulls be slower: %s", error)
        await self._stack.enter_async_context(self._rubbish)
        await self._stack.enter_async_context(self.snapshots)

        def settle(connection: sqlite3.Connection) -> tuple[list[str], set[str]]:
            lease.end_all(connection)
            return layers.collect(connection, layers.all_keys(connection)), names.used_blobs(connection)

        directories, used = await self._database.write(settle)
        self._rubbish.collect(directories)
        await asyncio.to_thread(self._drop_old_blobs, used)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def sweep(self) -> None:
        """Drop what pulls that broke off have left, so that it could be taken up again, and nobody fetches now."""
        async with self._collecting:
            used = self._database.read(names.used_blobs)
            await asyncio.to_thread(self._drop_old_blobs, used, timedelta(0))

    def _drop_old_blobs(self, used: set[str], age: timedelta = _KEEP_UNUSED_BLOBS) -> None:
        """What pulls left that were never taken up again."""
        self.blobs.expire(age)
        oldest = datetime.now(UTC) - age
        for info in list(self.blobs.walk()):
            if info.digest not in used and info.created_at < oldest:
                self.blobs.delete(info.digest)

    # Looking up

    def get(self, name_or_id: str) -> Image:
        """By name, ID, `name@digest` or the start of an ID. Raises NoSuchImage, InvalidReference."""
        return self._database.read(lambda connection: names.find(connection, name_or_id))

    def by_id(self, image_id: str) -> Image | None:
        """By its whole ID."""
        return self._database.read(lambda connection: names.by_id(connection, image_id))

    def all(self) -> Sequence[Image]:
        """Every image, newest first."""
        found = self._database.read(names.every)
        return sorted(found, key=lambda image: image.created_at or _NEVER, reverse=True)

    def containers_of(self, image: Image) -> Sequence[ContainerUse]:
        return self._containers_of(image.id)

    def children(self, image: Image) -> Sequence[str]:
        """IDs of the images that were committed on this one, here."""
        return self._database.read(lambda connection: names.children(connection, image.id))

    def layer_sizes(self, image: Image) -> Sequence[int]:
        """Bytes of the files of each layer, lowest first."""
        return [layer.size_bytes for layer in self._layers(image) if not layer.key.startswith("chain:")]

    async def usage(self) -> Usage:
        """What images take of the disk."""
        return await measure(self.data_root, self._database, self.blobs)

    def tar_sizes(self, image: Image) -> Sequence[int]:
        """Bytes of each layer's tar, lowest first."""
        return [layer.tar_bytes for layer in self._layers(image) if not layer.key.startswith("chain:")]

    def tags_of(self, repository: Reference) -> Sequence[Reference]:
        """All names with a tag in a repository."""
        return self._database.read(lambda connection: names.tags_of(connection, repository.name))

    def shared_bytes(self, image: Image) -> int:
        """Of the files in layers that other images have, too."""
        others = self._database.read(names.every)
        shared = {chain for other in others if other.id != image.id for chain in chains(tuple(other.config.diff_ids))}
        own = chains(tuple(image.config.diff_ids))
        return sum(size for chain, size in zip(own, self.layer_sizes(image), strict=True) if chain in shared)

    def layer_directory(self, diff_id: Digest) -> Path | None:
        """Where a layer lies; None when it is not there."""
        layer = self._layer(diff_id)
        return self.data_root / layer.directory if layer else None

    def blobs_of(self, image: Image) -> Sequence[Digest]:
        """All that the image needs in the content store."""
        return self._database.read(lambda connection: names.blobs_of(connection, image.id))

    def running_on(self, diff_id: Digest) -> Sequence[str]:
        """The IDs of running containers that have this layer."""
        return [
            user.id
            for container_id, image_id in self.snapshots.standing_on(diff_id)
            for user in self._containers_of(image_id)
            if user.id == container_id and user.running
        ]

    def is_layer_of(self, blob: Digest, diff_id: Digest) -> bool:
        """An image here has this blob for this layer: somebody has looked that the one holds the other."""
        if blob == diff_id:
            return True
        holders = self._database.read(lambda connection: names.with_blob(connection, blob))
        return any(
            (layer.digest, layer_id) == (blob, diff_id)
            for image in holders
            for layer, layer_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        )

    def layer_directories(self, image: Image) -> Sequence[str]:
        """Where its layers lie, topmost first."""
        return [str(self.data_root / layer.directory) for layer in reversed(self._layers(image))]

    def _layers(self, image: Image) -> Sequence[Layer]:
        return self._database.read(lambda connection: layers.stack(connection, image.id))

    # Names

    async def tag(self, name_or_id: str, reference: Reference) -> None:
        """Give the image one more name, with a tag. An image that has it loses it."""

        def give(connection: sqlite3.Connection) -> Image:
            image = names.find(connection, name_or_id)
            names.give_name(connection, reference.with_default_tag(), image.id, _now())
            return image

        image = await self._database.write(give)
        if reference.digest is None:  # a push notes the digest of what it sent: no event of its own
            self.tell("tag", image, reference.with_default_tag().familiar)

    def tell(self, action: str, image: Image, name: str) -> None:
        """Publish an event of this image."""
        self._publish("image", action, image.id, {**(image.config.container.labels or {}), "name": name})

    async def remove(self, name_or_id: str, *, force: bool = False, prune: bool = True) -> Removal:
        """Take a name away, or all; the image goes with its last one, and with `prune` its nameless parents.

        Raises NoSuchImage, Conflict: Docker's rules and sentences (moby daemon/images/image_delete.go).
        """
        async with self._collecting:
            removal = await self._database.write(lambda connection: Removal(connection, self._containers_of).remove(
                name_or_id, force=force, prune=prune))  # fmt: skip
            if removal.directories or removal.blobs:
                await self._database.sync()
            self._rubbish.collect(removal.directories)
            await asyncio.to_thread(self._delete_blobs, removal.blobs)
        for action, image in removal.events:
            self.tell(action, image, image.id)
        return removal

    def _delete_blobs(self, blobs: Iterable[Digest]) -> None:
        for digest in blobs:
            try:
                self.blobs.delete(digest)
            except BlobUnknown:
                pass  # a manifest may name what was never fetched

    # What a pull, load or commit needs

    async def quiet(self) -> None:
        """Wait until all that was to be deleted so far is gone, or has been found in use."""
        await self._rubbish.empty()

    def lease(self) -> Lease:
        return Lease(self._database, self)

    async def collect_layers(self, keys: list[str]) -> None:
        self._rubbish.collect(await self._database.write(lambda connection: layers.collect(connection, keys)))

    async def wait_for_blob(self, digest: Digest) -> bool:
        """True when the blob is there and will stay, its lease being recorded."""
        async with self._collecting:
            try:
                await asyncio.to_thread(self.blobs.info, digest)
            except BlobUnknown:
                return False
            return True

    def has_layer(self, diff_id: Digest) -> bool:
        """The layer is extracted here."""
        return self._database.read(lambda connection: layers.find(connection, diff_id)) is not None

    def unpack(self, diff_id: Digest | None, blob: Fd, copy: Fd | None = None) -> Unpacking:
        """Extract a layer from the file `blob` (open for reading, borrowed until the Unpacking is left).

        `copy`: gets the tar in the blob. None as `diff_id`: any will do, and `finish` tells it.
        """
        return Unpacking(
            self.data_root, self._database, self._rubbish, diff_id, blob, copy=copy, most_times=self.most_times
        )

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A directory of one's own on the layers' file system, deleted afterwards, even when the engine is killed."""
        directory = layers.new_directory()
        await self._database.write(lambda connection: rubbish.record(connection, [directory]))
        try:
            path = self.data_root / directory
            path.mkdir(mode=0o700)
            yield path
        finally:
            self._rubbish.collect([directory])

    async def expand(self, blob: Fd, size_bytes: int, copy: Fd | None) -> Digest:
        """Decompress a blob in a confined worker, into the file or socket `copy`; gives the digest of what came out."""
        return await self._decompress(blob, size_bytes, copy, hashed=True)

    async def decompress(self, blob: Fd, size_bytes: int, copy: Fd) -> None:
        """As `expand`, for who hashes by himself what comes out: the worker has the time for more of it then."""
        await self._decompress(blob, size_bytes, copy, hashed=False)

    async def _decompress(self, blob: Fd, size_bytes: int, copy: Fd | None, *, hashed: bool) -> Digest:
        async with self.scratch() as directory:
            with Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
                target = -1 if copy is None else copy
                async with WorkerProcess(
                    "expand", blob, root, target, int(hashed), task="decompress the layer", most_times=self.most_times
                ) as worker:
                    if copy is not None:
                        copy.close()  # only the worker's is left, so that its end shows
                    digest, _, _ = await worker.result(size_bytes)
                    return digest

    async def keep_document(self, lease: Lease, content: bytes) -> Digest:
        """Put a small document into the content store, under the lease."""
        digest = Digest.of(content)
        if not await lease.hold_blob(digest):

            def write() -> None:
                # A name of one's own: two pulls may bring the same document at the same time.
                with self.blobs.ingest(f"document-{os.urandom(16).hex()}", digest, len(content)) as ingest:
                    ingest.write(content)
                    ingest.commit()

            await asyncio.to_thread(write)
        return digest

    async def commit_pulled(
        self, reference: Reference, digest: Digest, manifest_bytes: bytes, media_type: str, config_bytes: bytes,
        whole: WholeIndex | None = None,
    ) -> Image:  # fmt: skip
        """Register an image whose blobs are in the content store and whose layers are all unpacked, under a lease.

        `reference` gets the name (when it has a tag) and the digest; `digest` is what the registry calls it: of the
        index where there is one. `manifest_bytes` of the image's own manifest. `whole`: the index, when all of it is
        here. Raises Integrity when a layer lacks.
        """
        given = [reference.with_digest(digest)]
        if reference.tag and not reference.digest:
            given.append(reference)
        documents = {digest, Digest.of(manifest_bytes)} | (whole.digests if whole else set())
        index = whole.top.digest if whole else None
        image, _ = await self.register(
            config_bytes, manifest_bytes, media_type, given, documents=documents, index=index
        )
        return image

    async def register(
        self, config_bytes: bytes, manifest_bytes: bytes, media_type: str, references: Sequence[Reference],
        *, parent: str = "", documents: Iterable[Digest] = (), tagged: bool = False, index: Digest | None = None,
    ) -> tuple[Image, Mapping[Reference, Digest]]:  # fmt: skip
        """Record an image, verified by the caller and held by its lease; second which image lost which name to it.

        `documents`: more blobs that it keeps. `index`: all of it is among them. `tagged`: counts as tagged now, as Docker
        has it for `import` and `commit`.
        """
        image_id = Digest.of(config_bytes)
        config = parse_image_config(config_bytes)
        manifest = parse_manifest(manifest_bytes, media_type)
        if not isinstance(manifest, Manifest) or manifest.config.digest != image_id:
            raise Integrity("the image's manifest is not that of its configuration")
        if len(manifest.layers) != len(config.diff_ids):
            raise Integrity(
                f"the manifest has {len(manifest.layers)} layers, but the image's configuration {len(config.diff_ids)}"
            )
        keys, size_bytes = await self._complete(config.diff_ids)
        known = self.by_id(image_id)
        if known is None or known.manifest_bytes != manifest_bytes:
            # Its layers and blobs outlast a power cut before it is visible: once for all of them.
            await asyncio.to_thread(sync_file_system, self.data_root)
        blobs = {image_id, *(layer.digest for layer in manifest.layers), *documents}
        now = _now()

        def insert(connection: sqlite3.Connection) -> tuple[Image, dict[Reference, Digest]]:
            if names.insert(
                connection, image_id=image_id, config=config_bytes, manifest=manifest_bytes, media_type=media_type,
                size_bytes=size_bytes, parent=parent, blobs=blobs, index=index, now=now,
            ):  # fmt: skip
                layers.use(connection, image_id, keys)
            lost = {}
            for reference in references:
                holder = names.give_name(connection, reference, image_id, now if tagged else None)
                if holder is not None:
                    lost[reference] = holder
            image = names.by_id(connection, image_id)
            assert image is not None, "it was inserted in this transaction"
            return image, lost

        return await self._database.write(insert)

    async def _complete(self, diff_ids: Sequence[Digest]) -> tuple[list[str], int]:
        """The keys of an image's stack, lowest first, its completions made where they lack; and the size of all."""
        below: list[Layer] = []
        size_bytes = 0
        for number, diff_id in enumerate(diff_ids):
            layer = self._layer(diff_id)
            if layer is None:
                raise Integrity(f"the layer {diff_id} of the image is not there")
            size_bytes += layer.size_bytes
            completion = await self._completion(below, layer, diff_ids[: number + 1])
            below.append(layer)
            if completion is not None:
                below.append(completion)
        return [layer.key for layer in below], size_bytes

    def _layer(self, key: str) -> Layer | None:
        return self._database.read(lambda connection: layers.find(connection, key))

    async def _completion(self, below: Sequence[Layer], layer: Layer, chain: Sequence[Digest]) -> Layer | None:
        if not below or not any(layer.implied):
            return None
        key = layers.chain_key(chain)
        known = self._layer(key)
        if known is not None:
            return known
        wanted = await asyncio.to_thread(layers.completion, self.data_root, below, layer)
        if not wanted:
            return None
        directory = layers.new_directory()
        await self._database.write(lambda connection: rubbish.record(connection, [directory]))
        try:
            await asyncio.to_thread(layers.make_completion, self.data_root, directory, wanted)
        except BaseException:
            self._rubbish.collect([directory])
            raise
        made = Layer(key, layer.diff_id, directory, 0, 0, (b"",))
        if not await self._database.write(lambda connection: layers.add(connection, made)):
            self._rubbish.collect([directory])
        return made


_NEVER = datetime.fromtimestamp(0, UTC)


def _now() -> str:
    return datetime.now(UTC).isoformat()


__all__ = ["ContainerUse", "Images", "Integrity", "NoSuchImage", "Publish", "Removed"]
