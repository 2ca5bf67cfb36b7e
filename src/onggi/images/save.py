"""`docker save`: images as one tar that is a Docker archive and an OCI image layout in one, as Docker 28 writes it.

Layers go in as plain tars, under the names of their diff IDs. What the store holds compressed is decompressed by a
confined worker on the way to the client; a tar that turns out to be another one breaks the stream off.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from onggi.errors import InvalidParameter, NotFound
from onggi.images.bulk import bulk_pair
from onggi.images.image import Image, NoSuchImage
from onggi.images.load import blob_path
from onggi.images.tar_reader import DIRECTORY, Entry
from onggi.images.tar_writer import END, header, padding
from onggi.images.worker_process import Integrity
from onggi.linux.fd import Fd
from onggi.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index, Manifest
from onggi.oci.platform import Platform, suitability
from onggi.oci.reference import InvalidReference, Reference

if TYPE_CHECKING:
    from onggi.images.images import Images

_PIECE_BYTES = 1 << 20


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    size: int
    digest: str


class _Item(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in manifest.json."""

    config: str
    repo_tags: list[str] | None
    layers: list[str]
    layer_sources: dict[str, _Source]


@dataclass(slots=True)
class _Chosen:
    image: Image
    names: list[Reference] = field(default_factory=list)


def choose(images: "Images", names: Sequence[str], platforms: Sequence[Platform]) -> list[_Chosen]:
    """The images that `names` mean, each once, with the names that go along. A name without tag means all its tags.

    Raises InvalidParameter, NotFound.
    """
    if not names:
        raise InvalidParameter("no images to save: give one name or more")
    chosen: dict[Digest, _Chosen] = {}
    for text in names:
        found = _meant(images, text)
        for image, name in found:
            if platforms and all(suitability(image.config.platform, wanted) is None for wanted in platforms):
                raise NotFound(
                    f"image with reference {text} was found but its platform ({image.config.platform}) "
                    "does not match the specified platform"
                )
            entry = chosen.setdefault(image.id, _Chosen(image))
            if name is not None and name not in entry.names:
                entry.names.append(name)
    return list(chosen.values())


def _meant(images: "Images", text: str) -> list[tuple[Image, Reference | None]]:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return [(images.get(text), None)]
    if reference.tag is None and reference.digest is None:
        tagged = images.tags_of(reference)
        if tagged:
            return [(images.get(name.canonical), name) for name in tagged]
        try:
            return [(images.get(text), None)]
        except NoSuchImage as error:
            raise NoSuchImage(text) from error
    try:
        image = images.get(reference.canonical)
    except NoSuchImage as error:
        raise NotFound("reference does not exist") from error
    return [(image, reference if reference.digest is None else None)]


async def save(images: "Images", names: Sequence[str], platforms: Sequence[Platform] = ()) -> "SavedArchive":
    """The archive of some images. Enter it, then write its pieces. Raises InvalidParameter, NotFound."""
    return SavedArchive(images, choose(images, names, platforms))


class SavedArchive:
    """An archive to be written. While it is entered, its blobs are kept."""

    def __init__(self, images: "Images", chosen: Sequence[_Chosen]) -> None:
        self._images = images
        self._chosen = chosen
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        lease = await self._stack.enter_async_context(self._images.lease())
        try:
            for chosen in self._chosen:
                for blob in chosen.image.manifest.layers:
                    if not await lease.hold_blob(blob.digest):
                        raise NotFound(
                            f"content {blob.digest} of the image {chosen.image.id} is not here: pull it again"
                        )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The tar. Raises Integrity in the middle of it when a blob is not what it should be."""
        documents: dict[Digest, bytes] = {}
        layers: dict[Digest, tuple[Descriptor, int]] = {}
        entries: list[Descriptor] = []
        items: list[_Item] = []
        repositories: dict[str, dict[str, str]] = {}
        moment: dict[Digest, int] = {}
        for chosen in self._chosen:
            image = chosen.image
            created_ns = int(image.created_at.timestamp() * 1e9) if image.created_at else 0
            sizes = self._images.tar_sizes(image)
            own = {
                diff_id: (blob, size)
                for diff_id, blob, size in zip(image.config.diff_ids, image.manifest.layers, sizes, strict=True)
            }
            layers |= own
            manifest = encode_document(
                Manifest(
                    schema_version=2, media_type=OCI_MANIFEST,
                    config=Descriptor(media_type=OCI_CONFIG, digest=image.id, size=len(image.config_bytes)),
                    layers=[
                        Descriptor(media_type=OCI_LAYER, digest=diff_id, size=own[diff_id][1])
                        for diff_id in image.config.diff_ids
                    ],
                )
            )  # fmt: skip
            digest = Digest.of(manifest)
            documents |= {image.id: image.config_bytes, digest: manifest}
            moment |= dict.fromkeys((image.id, *own), max(created_ns, 0))
            plain = Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(manifest))
            entries += [
                msgspec.structs.replace(plain, annotations={
                    "io.containerd.image.name": name.canonical, "org.opencontainers.image.ref.name": name.tag or ""})
                for name in chosen.names
            ] or [plain]  # fmt: skip
            items.append(
                _Item(
                    config=blob_path(image.id), repo_tags=[name.familiar for name in chosen.names] or None,
                    layers=[blob_path(diff_id) for diff_id in image.config.diff_ids],
                    layer_sources={
                        str(diff_id): _Source(OCI_LAYER, size, str(diff_id)) for diff_id, (_, size) in own.items()
                    },
                )
            )  # fmt: skip
            for name in chosen.names:
                top = image.config.diff_ids[-1].hex if image.config.diff_ids else image.id.hex
                repositories.setdefault(name.familiar_name, {})[name.tag or ""] = top
        yield _header("blobs/", moment_ns=max(moment.values(), default=0))
        yield _header("blobs/sha256/", moment_ns=max(moment.values(), default=0))
        for digest in sorted({*documents, *layers}):
            path = blob_path(digest)
            if digest in documents:
                yield _file(path, documents[digest], moment.get(digest, 0))
                continue
            blob, size = layers[digest]
            yield _header(path, size, moment[digest])
            async for piece in self._tar(digest, blob, size):
                yield piece
            yield padding(size)
        index = Index(schema_version=2, media_type=OCI_INDEX, manifests=entries)
        yield _file("index.json", encode_document(index))
        yield _file("manifest.json", msgspec.json.encode(items) + b"\n")
        yield _file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        if repositories:
            yield _file("repositories", msgspec.json.encode(repositories) + b"\n")
        yield END

    async def _tar(self, diff_id: Digest, blob: Descriptor, size: int) -> AsyncIterator[bytes]:
        """A layer's tar, from its blob."""
        file = await asyncio.to_thread(self._images.blobs.open, blob.digest)
        with file:
            if blob.digest == diff_id:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    yield piece
                return
            loop = asyncio.get_running_loop()
            ours, theirs = bulk_pair()
            ours.setblocking(False)
            with ours, Fd(os.dup(file.fileno())) as source, Fd(theirs.detach()) as target:
                work = asyncio.create_task(self._images.decompress(source, os.fstat(file.fileno()).st_size, target))
                try:
                    sent, hashing = 0, diff_id.hasher()
                    while piece := await loop.sock_recv(ours, _PIECE_BYTES):
                        sent += len(piece)
                        if sent > size:
                            break
                        hashed = loop.run_in_executor(None, hashing.update, piece)  # while the client takes it
                        yield piece
                        await hashed
                    else:
                        await work
                finally:
                    work.cancel()
                    await asyncio.wait([work])
                if sent != size or hashing.hexdigest() != diff_id.hex:
                    raise Integrity(f"the blob {blob.digest} does not hold the layer {diff_id}")


def _header(name: str, size: int = 0, moment_ns: int = 0) -> bytes:
    entry = Entry()
    entry.name = name.encode()
    if name.endswith("/"):
        entry.kind, entry.mode = DIRECTORY, 0o755
    else:
        entry.mode = 0o644
    entry.size = size
    entry.mtime_ns = moment_ns - moment_ns % 1_000_000_000
    return header(entry)


def _file(name: str, content: bytes, moment_ns: int = 0) -> bytes:
    return _header(name, len(content), moment_ns) + content + padding(len(content))
