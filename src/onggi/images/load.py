"""`docker load`: an archive of images, as `docker save` of any age writes it, or an OCI image layout.

The archive is unpacked as it comes, by a confined worker, into a directory of its own; then its documents are read
beneath that, layers are verified and unpacked side by side, and their files become blobs without being copied.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import msgspec

from onggi.distribution.repository import Document
from onggi.errors import InvalidParameter
from onggi.images.bulk import bulk_pair
from onggi.images.decompress import MAGIC_BYTES, compression
from onggi.images.lease import Lease
from onggi.images.progress import LayerRow, Progress
from onggi.images.unpack import WrongContent
from onggi.images.whole_index import WholeIndex, read_index
from onggi.images.worker_process import Integrity, WorkerProcess, printable
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_XDEV, openat2
from onggi.oci.descriptor import (
    IMAGE_CONFIGS,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    encode_document,
)
from onggi.oci.digest import Digest
from onggi.oci.image import CONFIG_LIMIT_BYTES, parse_image_config
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Index, InvalidManifest, Manifest, parse_manifest
from onggi.oci.platform import Platform, host_platform
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.images.images import Images

LAYER_TYPES = {"": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
"""How a layer's blob is called by its compression; others are decompressed before they are kept."""
_CONTAINERD_NAME = "io.containerd.image.name"
_OCI_NAME = "org.opencontainers.image.ref.name"
_DEEPEST_INDEX = 3
_SIDE_BY_SIDE = 2


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in manifest.json."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


_entries = msgspec.json.Decoder(list[_Entry])


class Archive:
    """The unpacked archive. Enter it to receive it from `stream`; left, it is deleted."""

    def __init__(self, images: "Images", stream: AsyncIterator[bytes]) -> None:
        self._images = images
        self._stream = stream
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self.directory = await self._stack.enter_async_context(self._images.scratch())
            self.root = self._stack.enter_context(
                Fd(os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            )
            await self._receive()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = bulk_pair()
        with ours, Fd(os.memfd_create("report", os.MFD_CLOEXEC)) as report, Fd(theirs.detach()) as blob:
            ours.setblocking(False)
            async with WorkerProcess(
                "unpack", blob, self.root, report, -1, 0, task="read the archive", most_times=self._images.most_times
            ) as worker:
                blob.close()  # only the worker's copy is left: its end shows here
                # What the stream raises ends all: only a stream that ended well makes an archive whole.
                async for piece in self._stream:
                    try:
                        await loop.sock_sendall(ours, piece)
                    except (BrokenPipeError, ConnectionResetError):
                        break  # the worker refuses what it got; it says why now
                ours.close()
                await worker.result(0)

    def open(self, path: str) -> Fd:
        """A regular file of the archive; links lead within it. Raises Integrity."""
        where = printable(path)
        try:
            file = openat2(self.root, path, os.O_RDONLY | os.O_NONBLOCK, resolve=RESOLVE_BENEATH | RESOLVE_NO_XDEV)
        except FileNotFoundError as error:
            raise MissingFile(f"the archive has no file {where}") from error
        except (OSError, ValueError) as error:
            raise Integrity(f"the archive's file {where} can't be read: {getattr(error, 'strerror', error)}") from error
        if not os.path.isfile(f"/proc/self/fd/{file.fileno()}"):
            file.close()
            raise Integrity(f"the archive's file {where} is no regular file")
        return file

    def read(self, path: str, most_bytes: int) -> bytes:
        """A small file. Raises Integrity."""
        with self.open(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise Integrity(f"the archive's file {printable(path)} is larger than {most_bytes} bytes")
            return os.pread(file.fileno(), size, 0) if size else b""

    def read_blob(self, descriptor: Descriptor, most_bytes: int) -> bytes:
        """A document of an OCI layout, verified. Raises Integrity."""
        data = self.read(blob_path(descriptor.digest), most_bytes)
        if len(data) != descriptor.size or not descriptor.digest.verifies(data):
            raise Integrity(f"the archive's blob {descriptor.digest} has other content")
        return data


class MissingFile(Integrity):
    """A file that the archive should have."""


def blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


async def load(
    images: "Images", stream: AsyncIterator[bytes], progress: Progress, *, quiet: bool = False,
    platform: Platform | None = None,
) -> None:  # fmt: skip
    """Take in all images of an archive that comes as `stream`, compressed or not. An error keeps what was loaded.

    Raises Integrity for a damaged archive, System, InvalidReference, InvalidImageConfig, InvalidManifest.
    """
    async with Archive(images, stream) as archive:
        await _Load(images, archive, progress, quiet=quiet, platform=platform).run()


def read_entries(text: bytes) -> list[_Entry]:
    """What manifest.json says. Raises Integrity."""
    try:
        return _entries.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Integrity(f"invalid manifest.json in the archive: {printable(str(error))}") from error


class _Load:
    """One `docker load` of a received archive."""

    def __init__(
        self, images: "Images", archive: Archive, progress: Progress, *, quiet: bool, platform: Platform | None
    ) -> None:
        self._images = images
        self._archive = archive
        self._progress = progress
        self._quiet = quiet
        self._platform = platform

    async def run(self) -> None:
        """Raises Integrity, InvalidReference, InvalidImageConfig, InvalidManifest."""
        try:
            text = self._archive.read("manifest.json", MANIFEST_LIMIT_BYTES)
        except MissingFile:
            await self._load_layout()
            return
        for entry in read_entries(text):
            await self._load_entry(entry)

    async def _load_entry(self, entry: _Entry) -> None:
        config_bytes = self._archive.read(entry.config, CONFIG_LIMIT_BYTES)
        paths = entry.layers or []
        config = parse_image_config(config_bytes)
        if len(paths) != len(config.diff_ids):
            raise Integrity(
                f"invalid manifest, layers length mismatch: expected {len(paths)}, got {len(config.diff_ids)}"
            )
        names = [_tagged(text) for text in entry.repo_tags or ()]
        async with self._images.lease() as lease:
            descriptors = await self._layers(lease, paths, config.diff_ids, [None] * len(paths))
            await self._images.keep_document(lease, config_bytes)
            manifest = Manifest(
                schema_version=2, media_type=OCI_MANIFEST, layers=descriptors,
                config=Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config_bytes), size=len(config_bytes)),
            )  # fmt: skip
            await self._register(config_bytes, encode_document(manifest), OCI_MANIFEST, names)

    async def _load_layout(self) -> None:
        try:
            data = self._archive.read("index.json", MANIFEST_LIMIT_BYTES)
        except MissingFile as error:
            raise Integrity("the archive holds neither manifest.json nor index.json: it is no archive of images"
                            ) from error  # fmt: skip
        index = parse_manifest(data)
        if not isinstance(index, Index):
            raise Integrity("the archive's index.json is no index")
        images: dict[Digest, tuple[Descriptor, list[Reference]]] = {}
        for entry in index.manifests:
            _, names = images.setdefault(entry.digest, (entry, []))
            annotations = entry.annotations or {}
            text = annotations.get(_CONTAINERD_NAME) or annotations.get(_OCI_NAME, "")
            if "/" in text or ":" in text:  # a layout may call its image by a tag alone, which names nothing here
                names.append(_tagged(text))
        for entry, names in images.values():
            await self._load_manifest(entry, names)

    async def _load_manifest(self, top: Descriptor, names: Sequence[Reference]) -> None:
        entry = top
        for _ in range(_DEEPEST_INDEX):
            data = self._archive.read_blob(entry, MANIFEST_LIMIT_BYTES)
            document = parse_manifest(data, entry.media_type)
            if isinstance(document, Manifest):
                break
            entry = document.choose(self._platform or host_platform())
        else:
            raise Integrity("the archive holds an index within an index")
        if document.config.media_type not in IMAGE_CONFIGS:
            return  # an attestation, a chart: no image
        config_bytes = self._archive.read_blob(document.config, CONFIG_LIMIT_BYTES)
        config = parse_image_config(config_bytes)
        if len(document.layers) != len(config.diff_ids):
            raise Integrity(
                f"invalid manifest, layers length mismatch: expected {len(document.layers)}, got {len(config.diff_ids)}"
            )
        async with self._images.lease() as lease:
            paths = [blob_path(layer.digest) for layer in document.layers]
            await self._layers(lease, paths, config.diff_ids, document.layers)
            await self._images.keep_document(lease, config_bytes)
            kept = {await self._images.keep_document(lease, data)}
            index = await self._index(top, lease) if entry is not top and self._platform is None else None
            if index is not None:
                kept |= index.digests
            await self._register(
                config_bytes, data, entry.media_type, names, documents=kept, index=index.top.digest if index else None
            )

    async def _index(self, top: Descriptor, lease: Lease) -> WholeIndex | None:
        """The index that the image came in, with all that it lists, kept; None when that can't be."""

        async def document(entry: Descriptor) -> bytes:
            content = await asyncio.to_thread(self._archive.read_blob, entry, MANIFEST_LIMIT_BYTES)
            await self._images.keep_document(lease, content)
            return content

        try:
            index = await read_index(Document(await document(top), top.media_type, top.digest), document)
            for blob in index.blobs:
                if not await lease.hold_blob(blob.digest):
                    await self._blob(blob)
        except (Integrity, InvalidManifest):
            return None  # something is missing, or not what it should be: the image of it that was chosen is whole
        return index

    async def _blob(self, blob: Descriptor) -> None:
        """Of another platform's image: kept as it is, not unpacked. Raises Integrity."""
        with self._archive.open(blob_path(blob.digest)) as file:
            size = os.fstat(file.fileno()).st_size
            digest = await asyncio.to_thread(hash_file, file.duplicate(), blob.digest.algorithm)
            if (digest, size) != (blob.digest, blob.size):
                raise Integrity(f"the archive's blob {blob.digest} has other content")
            await asyncio.to_thread(self._images.blobs.adopt, file.fileno(), digest)

    async def _register(
        self, config: bytes, manifest: bytes, media_type: str, names: Sequence[Reference],
        *, documents: Collection[Digest] = (), index: Digest | None = None,
    ) -> None:  # fmt: skip
        image, lost = await self._images.register(config, manifest, media_type, names, documents=documents, index=index)
        self._images.tell("load", image, image.id)
        for name in names:
            if name in lost:
                self._say(
                    f"The image {name.familiar} already exists, renaming the old one with ID {lost[name]} "
                    "to empty string"
                )
            self._say(f"Loaded image: {name.familiar}")
        if not names:
            self._say(f"Loaded image ID: {image.id}")

    def _say(self, text: str) -> None:
        self._progress({"stream": f"{text}\n"})

    # Layers

    async def _layers(
        self, lease: Lease, paths: Sequence[str], diff_ids: Sequence[Digest], blobs: Sequence[Descriptor | None]
    ) -> list[Descriptor]:
        """All verified, unpacked and kept; their blobs, lowest first. `blobs`: what they must be, where a manifest says it."""
        turns = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def load(number: int, path: str, diff_id: Digest, blob: Descriptor | None) -> Descriptor:
            async with turns:
                return await self._layer(lease, number, path, diff_id, blob)

        keys = [(diff_id, blob.digest if blob else None) for diff_id, blob in zip(diff_ids, blobs, strict=True)]
        tasks: dict[tuple[Digest, Digest | None], asyncio.Task[Descriptor]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for number, (key, path, diff_id, blob) in enumerate(zip(keys, paths, diff_ids, blobs, strict=True)):
                    if key not in tasks:
                        work = load(number, path, diff_id, blob)
                        tasks[key] = group.create_task(work, name=f"load {diff_id.short}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # the first ended the others
        return [tasks[key].result() for key in keys]

    async def _present(self, lease: Lease, diff_id: Digest, blob: Descriptor | None) -> Descriptor | None:
        """The layer's blob when it is here already, and known to hold this layer."""
        if blob is not None:
            kept = await lease.hold_blob(blob.digest) and self._images.is_layer_of(blob.digest, diff_id)
            return blob if kept else None
        if not await lease.hold_blob(diff_id):
            return None
        size = (await asyncio.to_thread(self._images.blobs.info, diff_id)).size_bytes
        return Descriptor(media_type=OCI_LAYER, digest=diff_id, size=size)

    async def _layer(
        self, lease: Lease, number: int, path: str, diff_id: Digest, blob: Descriptor | None
    ) -> Descriptor:
        unpacked = await lease.hold_layer(diff_id)
        present = await self._present(lease, diff_id, blob)
        if present is not None and unpacked:
            return present
        row = LayerRow(diff_id.short)
        if not self._quiet:
            row.watch(self._progress)
        with self._archive.open(path) as file:
            size = os.fstat(file.fileno()).st_size
            kind = compression(os.pread(file.fileno(), MAGIC_BYTES, 0))
            if kind not in LAYER_TYPES:
                if blob is not None:
                    raise Integrity(f"the archive's layer {blob.digest} is compressed by {kind}, which no image may be")
                return await self._expanded(lease, number, file, diff_id)
            algorithm = (blob.digest if blob else diff_id).algorithm
            row.move("Loading layer", 0, size)
            try:
                async with asyncio.TaskGroup() as group:
                    hashing = group.create_task(asyncio.to_thread(hash_file, file.duplicate(), algorithm))
                    if not unpacked:
                        group.create_task(self._unpack(file, size, diff_id))
                    elif kind or algorithm != diff_id.algorithm:
                        group.create_task(self._check(file, size, diff_id))
            except ExceptionGroup as failures:
                raise _first(failures, number) from failures
            digest = hashing.result()
            if not kind and algorithm == diff_id.algorithm and digest != diff_id:
                raise _other_layer(number, diff_id, digest)
            if blob is not None and (digest, size) != (blob.digest, blob.size):
                raise Integrity(f"the archive's layer {blob.digest} has other content")
            if not await lease.hold_blob(digest):
                await asyncio.to_thread(self._images.blobs.adopt, file.fileno(), digest)
            row.move("Loading layer", size, size)
            return blob or Descriptor(media_type=LAYER_TYPES[kind], digest=digest, size=size)

    async def _unpack(self, file: Fd, size: int, diff_id: Digest) -> None:
        async with self._images.unpack(diff_id, file) as unpacking:
            await unpacking.finish(size)

    async def _check(self, file: Fd, size: int, diff_id: Digest) -> None:
        found = await self._images.expand(file, size, None)
        if found != diff_id:
            raise WrongContent(diff_id, found)

    async def _expanded(self, lease: Lease, number: int, file: Fd, diff_id: Digest) -> Descriptor:
        """A layer in a compression that no registry takes: kept as the tar in it."""
        name = f"{diff_id.hex}.expanded"
        with Fd(
            os.open(self._archive.directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        ) as tar:
            found = await self._images.expand(file, os.fstat(file.fileno()).st_size, tar)
        if found != diff_id:
            raise _other_layer(number, diff_id, found)
        return await self._layer(lease, number, name, diff_id, None)


def _other_layer(number: int, expected: Digest, found: Digest) -> Integrity:
    return Integrity(f'invalid diffID for layer {number}: expected "{expected}", got "{found}"')


def _first(failures: ExceptionGroup[Exception], number: int) -> Exception:
    """The failure that ended the others, in Docker's words."""
    error = failures.exceptions[0]
    return _other_layer(number, error.expected, error.found) if isinstance(error, WrongContent) else error


def hash_file(file: Fd, algorithm: str = "sha256") -> Digest:
    """The digest of a whole file, whose descriptor is closed then. Blocks."""
    with open(file.take(), "rb", buffering=0) as content:
        content.seek(0)
        return Digest(f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}")


def _tagged(text: str) -> Reference:
    """A name for an image in an archive: it needs a tag. Raises InvalidReference."""
    reference = Reference.parse(text)
    if reference.tag is None or reference.digest is not None:
        raise InvalidParameter(f"invalid tag {printable(text)!r}")
    return reference
