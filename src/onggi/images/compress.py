"""Layers that are kept as plain tars (of loaded or committed images) travel compressed.

What came with a manifest, from a registry or in an OCI layout, is sent as it came, plain or not: its digest is known.

The compressed blob stays in the content store and the image's manifest names it from then on, so that the next push
finds it, with the same digest. Where another image has the layer compressed already, that blob is taken.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import msgspec
import zstandard
from isal import isal_zlib

from onggi.content.store import Store
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.images.in_thread import in_thread
from onggi.images.lease import Lease
from onggi.images.unpack import Integrity
from onggi.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
)
from onggi.oci.digest import Digest
from onggi.oci.manifest import Manifest

GZIP, ZSTD = "gzip", "zstd"
_LEVEL = 2
"""Of ISA-L: 2.9 times smaller at 560 MB/s, where zlib's 6 makes it 3.2 times smaller at 34 MB/s (2026-12, Xeon)."""
_ZSTD_LEVEL = 3
_GZIP_BITS = 31
_PIECE_BYTES = 4 * 1024 * 1024
_SIDE_BY_SIDE = 2
_COMPRESSED = {
    GZIP: {OCI_LAYER: OCI_LAYER_GZIP, DOCKER_LAYER: DOCKER_LAYER_GZIP},
    ZSTD: {OCI_LAYER: OCI_LAYER_ZSTD, DOCKER_LAYER: DOCKER_LAYER_ZSTD},
}


async def compressed(
    images: Images, blobs: Store, executor: Executor, image: Image, lease: Lease, kind: str = GZIP
) -> Manifest:
    """The image's manifest with its plain layers compressed; the same manifest when it has none.

    The bytes depend on the layer and `kind` alone. Layers are compressed side by side.
    """
    if Digest.of(image.manifest_bytes) in images.blobs_of(image):
        return image.manifest  # it is kept as it came
    kinds = _COMPRESSED[kind]
    known = _known(images, kinds)
    turns = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def of(layer: Descriptor, diff_id: Digest) -> Descriptor:
        found = known.get(diff_id)
        if found is None or not await lease.hold_blob(found.digest):
            async with turns:
                found = await _compress(blobs, executor, layer, lease, kind)
        return found

    plain = {
        diff_id: layer
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        if layer.media_type in kinds
    }
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                diff_id: group.create_task(of(layer, diff_id), name=f"compress {diff_id.short}")
                for diff_id, layer in plain.items()
            }
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures  # the first ended the others
    layers = [
        layer
        if diff_id not in tasks
        else Descriptor(
            media_type=kinds[layer.media_type], digest=tasks[diff_id].result().digest,
            size=tasks[diff_id].result().size, annotations=layer.annotations,
        )
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
    ]  # fmt: skip
    return image.manifest if layers == image.manifest.layers else msgspec.structs.replace(image.manifest, layers=layers)


def _known(images: Images, kinds: Mapping[str, str]) -> Mapping[Digest, Descriptor]:
    """Layers that some image has in this compression."""
    return {
        diff_id: layer
        for image in images.all()
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        if layer.media_type in kinds.values()
    }


def _squeezer(kind: str) -> Any:
    """With `compress(data)` and `flush()`, each giving bytes."""
    if kind == ZSTD:
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_BITS)


async def _compress(blobs: Store, executor: Executor, layer: Descriptor, lease: Lease, kind: str) -> Descriptor:
    squeeze = _squeezer(kind)
    file = await in_thread(executor, lambda: blobs.open(layer.digest))
    with file, blobs.ingest(f"{kind}-{layer.digest}") as ingest:
        ingest.restart()

        def piece() -> bool:
            data = file.read(_PIECE_BYTES)
            ingest.write(squeeze.compress(data) if data else squeeze.flush())
            return bool(data)

        while await in_thread(executor, piece):
            pass
        size = ingest.offset
        digest = await in_thread(executor, ingest.commit)
    if not await lease.hold_blob(digest):
        raise Integrity(f"content {digest} was removed while it was being made; try again")
    return Descriptor(media_type=_COMPRESSED[kind][layer.media_type], digest=digest, size=size)
