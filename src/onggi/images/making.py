"""Images made here: `docker import` from the tar of a file system, `docker commit` from what a container changed."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from onggi.images import changes
from onggi.images.decompress import MAGIC_BYTES, compression
from onggi.images.image import Image
from onggi.images.instructions import apply
from onggi.images.job import write_all
from onggi.images.lease import Lease
from onggi.images.load import LAYER_TYPES, hash_file
from onggi.images.unpack import WrongContent
from onggi.images.worker_process import WorkerProcess
from onggi.linux.fd import Fd
from onggi.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.image import History, ImageConfig, ImageContainerConfig, RootFs
from onggi.oci.manifest import Manifest
from onggi.oci.platform import Platform, host_platform
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.images.images import Images


async def import_image(
    images: "Images", stream: AsyncIterator[bytes], reference: Reference | None, message: str,
    edits: Sequence[str], *, platform: Platform | None = None,
) -> Image:  # fmt: skip
    """`edits` are Dockerfile instructions; `message` is the comment of the history.

    Raises Integrity, InvalidParameter for an edit that is none, System.
    """
    container = apply(ImageContainerConfig(), edits)
    created, message, platform = _now(), message or "Imported from -", platform or host_platform()
    async with images.lease() as lease:
        diff_id, layer = await _receive(images, lease, stream)
        config = ImageConfig(
            architecture=platform.architecture, os=platform.os, variant=platform.variant, created=created,
            config=container, rootfs=RootFs(diff_ids=[diff_id]), comment=message,
            history=[History(created=created, comment=message)],
        )  # fmt: skip
        image = await _register(images, lease, config, [layer], reference)
    images.tell("import", image, reference.familiar if reference else image.id)
    return image


async def _receive(images: "Images", lease: Lease, stream: AsyncIterator[bytes]) -> tuple[Digest, Descriptor]:
    """Keep the stream as it came as a blob, and unpack it while it comes."""
    async with images.scratch() as directory:
        with _new_file(directory / "stream") as file, _new_file(directory / "tar") as tar:
            start = await _start(stream)
            kind = compression(start)
            # In a compression that no registry takes, the tar in it is kept instead of the stream.
            keeps_stream = kind in LAYER_TYPES
            async with images.unpack(None, file, copy=None if keeps_stream else tar) as unpacking:
                size = await asyncio.to_thread(_append, file, start)
                async for piece in stream:
                    unpacking.available(size)
                    size += await asyncio.to_thread(_append, file, piece)
                diff_id = await unpacking.finish(size, lease)
            kept = file if keeps_stream else tar
            return diff_id, await _adopt(images, lease, kept, LAYER_TYPES.get(kind, OCI_LAYER), diff_id)


async def _start(stream: AsyncIterator[bytes]) -> bytes:
    """Enough to tell the compression by."""
    start = b""
    async for piece in stream:
        start += piece
        if len(start) >= MAGIC_BYTES:
            break
    return start


def _new_file(path: Path) -> Fd:
    return Fd(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))


def _append(file: Fd, data: bytes) -> int:
    write_all(file.fileno(), data)
    return len(data)


async def _adopt(images: "Images", lease: Lease, file: Fd, media_type: str, diff_id: Digest) -> Descriptor:
    """Make a finished file a blob, under the lease that holds its layer."""
    size = os.fstat(file.fileno()).st_size
    digest = await asyncio.to_thread(hash_file, file.duplicate())
    if media_type == OCI_LAYER and digest != diff_id:
        raise WrongContent(diff_id, digest)
    if not await lease.hold_blob(digest):
        await asyncio.to_thread(images.blobs.adopt, file.fileno(), digest)
    return Descriptor(media_type=media_type, digest=digest, size=size)


async def commit_container(
    images: "Images", container_id: str, config: ImageConfig, parent: Image | None, reference: Reference | None
) -> Image:
    """An image of `parent` and, above it, what the container changed. The caller keeps it from running meanwhile.

    `config` is the new image's but for its layers: the parent's come first, with the last step of the history for ours.
    Raises NotFound, System.
    """
    async with images.lease() as lease:
        diff_id, layer = await _pack(images, lease, container_id)
        below = parent.manifest.layers if parent else []
        for blob in below:
            await lease.hold_blob(blob.digest)
        diff_ids = [*(parent.config.diff_ids if parent else ()), diff_id]
        config = msgspec.structs.replace(config, rootfs=RootFs(diff_ids=diff_ids))
        image = await _register(images, lease, config, [*below, layer], reference, parent=parent.id if parent else "")
    return image


async def _pack(images: "Images", lease: Lease, container_id: str) -> tuple[Digest, Descriptor]:
    upper = images.snapshots.root(container_id).upper
    async with images.scratch() as directory:
        with ExitStack() as stack:
            file = stack.enter_context(_new_file(directory / "tar"))
            empty = directory / "empty"
            empty.mkdir()
            root = stack.enter_context(changes.open_directory(str(empty)))
            tree = stack.enter_context(changes.open_directory(upper))
            opaque = await asyncio.to_thread(changes.opaque_directories, tree)
            listed = stack.enter_context(Fd(os.memfd_create("opaque", os.MFD_CLOEXEC)))
            _append(listed, b"".join(path + b"\0" for path in opaque))
            async with WorkerProcess(
                "pack", tree, root, file, 1, listed, task="pack the container's changes"
            ) as worker:
                diff_id, size, _ = await worker.result(0)
            async with images.unpack(diff_id, file) as unpacking:
                await unpacking.finish(size, lease)
            return diff_id, await _adopt(images, lease, file, OCI_LAYER, diff_id)


async def _register(
    images: "Images", lease: Lease, config: ImageConfig, layers: Sequence[Descriptor], reference: Reference | None,
    *, parent: str = "",
) -> Image:  # fmt: skip
    content = encode_document(config)
    digest = await images.keep_document(lease, content)
    manifest = Manifest(
        schema_version=2, media_type=OCI_MANIFEST, layers=list(layers),
        config=Descriptor(media_type=OCI_CONFIG, digest=digest, size=len(content)),
    )  # fmt: skip
    names = [reference.with_default_tag()] if reference else []
    image, _ = await images.register(
        content, encode_document(manifest), OCI_MANIFEST, names, parent=parent, tagged=bool(names)
    )
    return image


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
