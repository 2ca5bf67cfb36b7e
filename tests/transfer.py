"""A host for pulls and pushes in tests that are no root: the real content store and transfer, images kept in memory.

What `Memory` does in place of `images.Images` is little: it decompresses a layer, compares its diff ID, and registers.
The tests in `integration/` run the same transfers with the real one.
"""

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import zstandard

from onggi.content.directory import DirectoryStore
from onggi.content.store import BlobUnknown
from onggi.images.credentials import Credentials
from onggi.images.image import Image, NoSuchImage
from onggi.images.images import Images
from onggi.images.remote.endpoint import RegistryOptions
from onggi.images.remote.http import Deadlines
from onggi.images.transfer import Transfer
from onggi.images.unpack import Integrity
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest
from onggi.oci.image import parse_image_config
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.platform import parse_platform
from onggi.oci.reference import Reference

QUICK = Deadlines(connect_s=5, document_s=5, idle_s=2, trickle_s=1, trickle_bytes=1000, retry_s=0.01, patience_s=0.1)


class Memory:
    """Images in memory."""

    def __init__(self, blobs: DirectoryStore) -> None:
        self._blobs = blobs
        self.layers: set[Digest] = set()
        self.unpacked: list[Digest] = []
        self.images: dict[Digest, Image] = {}

    def get(self, name_or_id: str) -> Image:
        for image in self.images.values():
            if name_or_id == image.id or name_or_id in {name.canonical for name in (*image.names, *image.digests)}:
                return image
        raise NoSuchImage(name_or_id)

    def all(self) -> Sequence[Image]:
        return list(self.images.values())

    async def tag(self, name_or_id: str, reference: Reference) -> None:
        image = self.get(name_or_id)
        if reference.digest:
            self.images[image.id] = replace(image, digests=(*image.digests, reference))
        else:
            self.images[image.id] = replace(image, names=(*image.names, reference))

    def has_layer(self, diff_id: Digest) -> bool:
        return diff_id in self.layers

    def unpack(self, diff_id: Digest, blob: Fd) -> "MemoryUnpacking":
        return MemoryUnpacking(self, diff_id, blob)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator["MemoryLease"]:
        yield MemoryLease(self, self._blobs)

    async def commit_pulled(
        self, reference: Reference, digest: Digest, manifest_bytes: bytes, media_type: str, config_bytes: bytes
    ) -> Image:
        manifest = parse_manifest(manifest_bytes, media_type)
        assert isinstance(manifest, Manifest)
        config = parse_image_config(config_bytes)
        assert set(config.diff_ids) <= self.layers
        for blob in (manifest.config.digest, *(layer.digest for layer in manifest.layers)):
            self._blobs.info(blob)
        image_id, now = Digest.of(config_bytes), datetime.now(UTC)
        names = () if reference.digest else (reference,)
        known = self.images.get(image_id)
        self.images[image_id] = Image(
            image_id, config, config_bytes, manifest, manifest_bytes, media_type,
            tuple(dict.fromkeys((*(known.names if known else ()), *names))),
            tuple(dict.fromkeys((*(known.digests if known else ()), reference.with_digest(digest)))), 0, now, now,
        )  # fmt: skip
        return self.images[image_id]


class MemoryLease:
    def __init__(self, images: Memory, blobs: DirectoryStore) -> None:
        self._images, self._blobs = images, blobs

    async def hold_layer(self, diff_id: Digest) -> bool:
        return self._images.has_layer(diff_id)

    async def hold_blob(self, digest: Digest) -> bool:
        try:
            self._blobs.info(digest)
        except BlobUnknown:
            return False
        return True


class MemoryUnpacking:
    def __init__(self, images: Memory, diff_id: Digest, blob: Fd) -> None:
        self._images, self._diff_id, self._blob = images, diff_id, blob
        self._available = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def available(self, size_bytes: int) -> None:
        assert size_bytes >= self._available
        self._available = size_bytes

    async def finish(self, size_bytes: int) -> Digest:
        assert size_bytes == self._available
        with open(self._blob.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            data = file.read(size_bytes)
        if data.startswith(b"\x1f\x8b"):
            data = zlib.decompress(data, 31)
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstandard.ZstdDecompressor().stream_reader(data).read()
        if Digest.of(data) != self._diff_id:
            raise Integrity("layers from manifest don't match image configuration")
        self._images.layers.add(self._diff_id)
        self._images.unpacked.append(self._diff_id)
        return self._diff_id


class Host:
    """Enter it to pull and push."""

    def __init__(
        self, directory: Path, *, deadlines: Deadlines = QUICK, mirrors: Sequence[str] = (),
        insecure: Sequence[str] = ("127.0.0.0/8",), certificates: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.directory = directory
        self.blobs = DirectoryStore(directory)
        self.images = Memory(self.blobs)
        self.events: list[tuple[str, str, str]] = []
        options = RegistryOptions(insecure=insecure, mirrors=mirrors, certificates=certificates)
        self.transfer = Transfer(cast(Images, self.images), self.blobs, self._publish, options, deadlines=deadlines)

    def _publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], /) -> None:
        self.events.append((kind, action, actor))

    async def __aenter__(self) -> Self:
        await self.transfer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.transfer.__aexit__(kind, error, trace)

    async def pull(
        self, name: str, *, platform: str = "", credentials: Credentials | None = None
    ) -> tuple[Image, list[dict[str, Any]]]:
        """The image and the progress lines."""
        lines: list[dict[str, Any]] = []
        image = await self.transfer.pull(
            Reference.parse(name), lines.append, platform=parse_platform(platform) if platform else None,
            credentials=credentials,
        )  # fmt: skip
        return image, lines

    async def push(
        self, name: str, *, credentials: Credentials | None = None, all_tags: bool = False
    ) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        await self.transfer.push(Reference.parse(name), lines.append, credentials=credentials, all_tags=all_tags)
        return lines

    def files(self) -> list[str]:
        """What is in the content store: `blobs/…` and `ingest/…`."""
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if path.is_file())
