"""`onggi image verify`: what lies on the disk is compared with its digests again, and what is damaged is mended.

A blob must have its digest's bytes. An unpacked layer must be what its blob unpacks to: the blob is unpacked once more
beside it, and the two trees are compared, attributes and contents. To mend, a blob is fetched again from where the image
came from, and a layer's directory changes places with the sound one, at once: an engine that is killed meanwhile has one
or the other.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onggi.content.store import BlobUnknown
from onggi.distribution.credentials import Credentials
from onggi.distribution.repository import Repository
from onggi.errors import Conflict, OnggiError
from onggi.images.image import Image
from onggi.images.lease import Lease
from onggi.images.progress import Progress
from onggi.images.pull import Services
from onggi.images.unpack import Integrity
from onggi.linux.difference import difference
from onggi.linux.fd import Fd
from onggi.linux.path import exchange
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest

_PIECE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Damage:
    """One blob or layer that is not what it should be."""

    kind: str
    """"blob" or "layer"."""
    digest: Digest
    problem: str
    repaired: bool = False
    failure: str = ""
    """Why it could not be mended."""

    def message(self) -> dict[str, object]:
        """As the API shows it."""
        return {
            "Kind": self.kind, "Digest": str(self.digest), "Problem": self.problem, "Repaired": self.repaired,
            "Failure": self.failure,
        }  # fmt: skip


class NoOrigin(Conflict):
    """Nobody is known who has the content."""

    def __init__(self) -> None:
        super().__init__("no registry is known to have it: load, build or pull the image again")


class Verification:
    """Some images, one after the other; what they share is looked at once. `repair`: mend what is damaged."""

    def __init__(
        self, services: Services, progress: Progress, *, repair: bool, credentials: Mapping[str, Credentials]
    ) -> None:
        self._services, self._progress, self._repair = services, progress, repair
        self._credentials = credentials
        self._seen: dict[tuple[str, Digest], Damage | None] = {}

    async def run(self, image: Image) -> Sequence[Damage]:
        """All that is damaged of an image, also what has been mended."""
        found: list[Damage] = []

        images = self._services.images
        async with images.lease() as lease:
            for digest in images.blobs_of(image):
                await lease.hold_blob(digest)
                if ("blob", digest) not in self._seen:
                    self._seen["blob", digest] = await self._blob(image, digest, lease)
                if damage := self._seen["blob", digest]:
                    found.append(damage)
            for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
                await lease.hold_layer(diff_id)
                blob_damage = self._seen.get(("blob", layer.digest))
                if blob_damage is not None and not blob_damage.repaired:
                    continue  # there is nothing to compare the layer with
                if ("layer", diff_id) not in self._seen:
                    self._seen["layer", diff_id] = await self._layer(layer.digest, diff_id)
                if damage := self._seen["layer", diff_id]:
                    found.append(damage)
        return found

    # Blobs

    async def _blob(self, image: Image, digest: Digest, lease: Lease) -> Damage | None:
        problem = await self._services.in_thread(lambda: self._problem(digest))
        if not problem:
            return None
        damage = Damage("blob", digest, problem)
        if self._repair:
            try:
                await self._fetch_again(image, digest, lease)
            except (OnggiError, OSError) as error:
                damage.failure = str(error)
            else:
                damage.repaired = True
        return damage

    def _problem(self, digest: Digest) -> str:
        try:
            with self._services.blobs.open(digest) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what the disk has, not what memory has
                hasher = digest.hasher()
                while piece := file.read(_PIECE_BYTES):
                    hasher.update(piece)
        except BlobUnknown:
            return "it is missing"
        except OSError as error:
            return f"it can't be read: {(error.strerror or str(error)).lower()}"
        found = f"{digest.algorithm}:{hasher.hexdigest()}"
        return "" if found == digest else f"its bytes have the digest {found}"

    async def _fetch_again(self, image: Image, digest: Digest, lease: Lease) -> None:
        """Raises NoOrigin, Answer, Unreachable, Misbehaved, Integrity."""
        documents = {image.id: image.config_bytes, Digest.of(image.manifest_bytes): image.manifest_bytes}
        layers = {
            layer.digest: (layer, diff_id)
            for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        }
        if digest in documents:
            await self._drop(digest)
            await self._services.images.keep_document(lease, documents[digest])
            return
        failure: OnggiError = NoOrigin()
        for name in image.digests:
            try:
                client = await self._services.registries.client(name.registry, self._credentials.get(name.registry))
                repository = Repository(client, name.repository)
                size = await repository.has_blob(digest)
                if size is not None:
                    # Not a layer of this machine's image: of another one in its index. Its media type is not asked for.
                    foreign = Descriptor(media_type="", digest=digest, size=size)
                    blob, diff_id = layers.get(digest, (foreign, None))
                    await self._drop(digest)
                    await self._services.fetches.fetch(blob, diff_id, repository, self._progress)
                    return
                if digest not in layers:
                    document = await repository.manifest(digest)
                    await self._drop(digest)
                    await self._services.images.keep_document(lease, document.content)
                    return
            except OnggiError as error:
                failure = error
        raise failure

    async def _drop(self, digest: Digest) -> None:
        try:
            await self._services.in_thread(lambda: self._services.blobs.delete(digest))
        except BlobUnknown:
            pass  # it was missing

    # Layers

    async def _layer(self, blob: Digest, diff_id: Digest) -> Damage | None:
        images = self._services.images
        file = await self._services.in_thread(lambda: self._services.blobs.open(blob))
        with file, Fd(os.dup(file.fileno())) as content:
            async with images.unpack(diff_id, content) as unpacking:
                try:
                    await unpacking.finish(os.fstat(content.fileno()).st_size)
                except Integrity as error:
                    return Damage("layer", diff_id, str(error), failure="its blob does not hold it")
                directory = images.layer_directory(diff_id)
                if directory is None:
                    raise Integrity(f"layer {diff_id} was removed while it was being verified")

                def compare() -> str:
                    try:
                        with Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as here:
                            return difference(here, unpacking.root, ignored_xattr=_is_of_this_machine)
                    except OSError as error:
                        return f"it can't be read: {(error.strerror or str(error)).lower()}"

                problem = await self._services.in_thread(compare)
                if not problem:
                    return None
                damage = Damage("layer", diff_id, problem)
                if self._repair:
                    if users := images.running_on(diff_id):
                        damage.failure = f"container {users[0][:12]} runs on it: stop it first"
                        return damage
                    directory.mkdir(mode=0o700, exist_ok=True)
                    with Fd(os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as parent:
                        exchange(parent, directory.name, unpacking.name)
                    damage.repaired = True  # the damaged one has the name that is deleted now
                return damage


def _is_of_this_machine(xattr: str) -> bool:
    """Labels that a security module gives; a layer's own capabilities are none."""
    return xattr.startswith("security.") and xattr != "security.capability"
