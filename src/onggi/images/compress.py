"""Layers that are kept as plain tars (of loaded or committed images) travel compressed.

What came with a manifest, from a registry or in an OCI layout, is sent as it came, plain or not: its digest is known.

The compressed blob stays in the content store and the image's manifest names it from then on, so that the next push
finds it, with the same digest. Where another image has the layer compressed already, that blob is taken.
"""

from collections.abc import Mapping
from concurrent.futures import Executor

import msgspec
from isal import isal_zlib

from onggi.content.store import Store
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.images.in_thread import in_thread
from onggi.images.lease import Lease
from onggi.images.unpack import Integrity
from onggi.oci.descriptor import DOCKER_LAYER, DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import Manifest

_LEVEL = 2
"""Of ISA-L: 2.9 times smaller at 560 MB/s, where zlib's 6 makes it 3.2 times smaller at 34 MB/s (2026-12, Xeon)."""
_GZIP_BITS = 31
_PIECE_BYTES = 4 * 1024 * 1024
_COMPRESSED = {OCI_LAYER: OCI_LAYER_GZIP, DOCKER_LAYER: DOCKER_LAYER_GZIP}


async def compressed(images: Images, blobs: Store, executor: Executor, image: Image, lease: Lease) -> Manifest:
    """The image's manifest with its plain layers compressed; the same manifest when it has none."""
    if image.digests or images.came_with_its_manifest(image):
        return image.manifest
    known = _known(images)
    made: dict[Digest, Descriptor] = {}

    async def of(layer: Descriptor, diff_id: Digest) -> Descriptor:
        kind = _COMPRESSED.get(layer.media_type)
        if kind is None:
            return layer
        found = known.get(diff_id)
        if found is None or not await lease.hold_blob(found.digest):
            found = made.get(diff_id) or await _compress(blobs, executor, layer, lease)
        made[diff_id] = found
        return Descriptor(media_type=kind, digest=found.digest, size=found.size, annotations=layer.annotations)

    layers = [
        await of(layer, diff_id) for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
    ]
    return image.manifest if layers == image.manifest.layers else msgspec.structs.replace(image.manifest, layers=layers)


def _known(images: Images) -> Mapping[Digest, Descriptor]:
    """Layers that some image has in gzip."""
    return {
        diff_id: layer
        for image in images.all()
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        if layer.media_type in _COMPRESSED.values()
    }


async def _compress(blobs: Store, executor: Executor, layer: Descriptor, lease: Lease) -> Descriptor:
    squeeze = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_BITS)
    file = await in_thread(executor, lambda: blobs.open(layer.digest))
    with file, blobs.ingest(f"compress-{layer.digest}") as ingest:
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
    return Descriptor(media_type=_COMPRESSED[layer.media_type], digest=digest, size=size)
