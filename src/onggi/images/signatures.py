"""Signatures at a registry: read, to be verified by `signing`, and attached. Keys never come here: who signs has them.

bundle      a manifest whose subject is the image, found by the referrers' list
simple      one more layer of the manifest under the tag `sha256-….sig`
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from onggi.distribution.credentials import Credentials
from onggi.distribution.failure import AnswerNotFound, Misbehaved
from onggi.distribution.referring import put
from onggi.distribution.registries import Registries
from onggi.distribution.repository import Repository
from onggi.errors import Conflict
from onggi.oci.descriptor import OCI_EMPTY, OCI_MANIFEST, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.manifest import InvalidManifest, Manifest, parse_manifest
from onggi.oci.reference import Reference
from onggi.signing import cosign
from onggi.signing.gathering import MOST_MANIFEST_BYTES, MOST_SIGNATURES, SIGNATURES, Signature, Trusted, gather

log = logging.getLogger(__name__)
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_NOTHING = b"{}"
_EMPTY = Descriptor(media_type=OCI_EMPTY, digest=Digest.of(_NOTHING), size=len(_NOTHING))
_LONG_AGO = "0001-01-01T00:00:00Z"
"""Signatures by cosign have no date."""


class Fetched:
    """A repository's documents about one image, at hand for `gather`."""

    def __init__(self) -> None:
        self.manifests: list[tuple[Digest, str, bytes]] = []
        self.tag: tuple[Digest, bytes] | None = None
        self.blobs: dict[Digest, bytes] = {}

    def referrers(self, image: Digest) -> Iterable[tuple[Digest, str, bytes]]:
        return self.manifests

    def tagged(self, tag: str) -> tuple[Digest, bytes] | None:
        return self.tag

    def blob(self, digest: Digest) -> bytes:
        return self.blobs.get(digest, b"")


async def _open(registries: Registries, name: Reference, credentials: Credentials | None, actions: str) -> Repository:
    client = await registries.client(name.registry, credentials)
    return Repository(client, name.repository, actions=actions)


async def _image(repository: Repository, name: Reference) -> Descriptor:
    document = await repository.manifest(name.digest or name.tag or "latest")
    return Descriptor(media_type=document.media_type, digest=document.digest, size=len(document.content))


async def verify(
    registries: Registries, name: Reference, trusted: Sequence[Trusted], credentials: Credentials | None
) -> tuple[Digest, list[Signature]]:
    """The image's digest, and its signatures held against keys. Raises Answer, Unreachable, Misbehaved."""
    repository = await _open(registries, name.with_default_tag(), credentials, "pull")
    image = (await _image(repository, name.with_default_tag())).digest
    fetched = await _fetch(repository, image)
    return image, await asyncio.to_thread(gather, image, fetched, trusted, datetime.now(UTC))


async def _fetch(repository: Repository, image: Digest) -> Fetched:
    found = Fetched()
    listed = [each for each in await repository.referrers(image) if each.artifact_type in SIGNATURES]
    for entry in listed[:MOST_SIGNATURES]:
        if entry.size > MOST_MANIFEST_BYTES:
            continue
        try:
            document = await repository.manifest(entry.digest)
        except (AnswerNotFound, Misbehaved) as error:
            log.info("the signature %s is passed over: %s", entry.digest, error)
            continue  # whoever may push could list one that is none, and hide all others so
        found.manifests.append((entry.digest, entry.artifact_type, document.content))
        await _blobs(repository, document.content, found)
    try:
        document = await repository.manifest(cosign.signature_tag(image))
    except AnswerNotFound:
        return found
    found.tag = document.digest, document.content
    await _blobs(repository, document.content, found)
    return found


async def _blobs(repository: Repository, content: bytes, found: Fetched) -> None:
    try:
        manifest = parse_manifest(content, "")
    except InvalidManifest:
        return  # somebody's: it is no signature
    if not isinstance(manifest, Manifest):
        return
    for layer in manifest.layers[:MOST_SIGNATURES]:
        if layer.digest not in found.blobs and layer.size <= cosign.MOST_BYTES:
            try:
                found.blobs[layer.digest] = await repository.small_blob(
                    layer.digest, cosign.MOST_BYTES, "the signature"
                )
            except (AnswerNotFound, Misbehaved) as error:
                log.info("the signature %s is passed over: %s", layer.digest, error)


# Attaching


async def attach_bundle(
    registries: Registries, name: Reference, image: Digest, bundle: bytes, credentials: Credentials | None
) -> Digest:
    """Gives the digest of the manifest that carries it. Raises Misbehaved when the name means another image by now."""
    repository = await _open(registries, name, credentials, "pull,push")
    subject = await _checked(repository, name.with_digest(image), image)
    await _upload(repository, _NOTHING)
    layer = await _upload(repository, bundle, cosign.BUNDLE)
    manifest = Manifest(
        schema_version=2, media_type=OCI_MANIFEST, artifact_type=cosign.BUNDLE, config=_EMPTY, layers=[layer], subject=subject,
        annotations={"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": cosign.PREDICATE,
                     "org.opencontainers.image.created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
    )  # fmt: skip
    content = encode_document(manifest)
    entry = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(content), size=len(content), artifact_type=cosign.BUNDLE,
                       annotations=manifest.annotations)  # fmt: skip
    await put(repository, entry.digest, content, entry, image)
    return entry.digest


async def attach_simple(
    registries: Registries,
    name: Reference,
    image: Digest,
    payload: bytes,
    signature: str,
    credentials: Credentials | None,
) -> Digest:
    """Gives the digest of the manifest under the tag, which has the signatures that were there, too."""
    repository = await _open(registries, name, credentials, "pull,push")
    await _checked(repository, name.with_digest(image), image)
    tag = cosign.signature_tag(image)
    layers: list[Descriptor] = []
    try:
        before = parse_manifest((await repository.manifest(tag)).content, "")
        if not isinstance(before, Manifest):
            raise Conflict(f"the tag {tag}, where signatures stand, names something else: use --form bundle")
        layers = list(before.layers)
    except AnswerNotFound:
        pass  # the first one
    layer = await _upload(repository, payload, cosign.SIMPLE_SIGNING)
    layers.append(Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size,
                             annotations={cosign.SIGNATURE: signature}))  # fmt: skip
    # As cosign writes it: an image's configuration whose layers are the payloads.
    config = msgspec.json.encode({
        "architecture": "", "created": _LONG_AGO, "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [str(each.digest) for each in layers]},
        "history": [{"created": _LONG_AGO} for _ in layers],
    })  # fmt: skip
    content = encode_document(Manifest(
        schema_version=2, media_type=OCI_MANIFEST, config=await _upload(repository, config, _OCI_CONFIG), layers=layers
    ))  # fmt: skip
    await repository.put_manifest(tag, content, OCI_MANIFEST)
    return Digest.of(content)


async def _checked(repository: Repository, name: Reference, image: Digest) -> Descriptor:
    found = await _image(repository, name)
    if found.digest != image:
        raise Misbehaved(f"the registry gave out another image than {image}")
    return found


async def _upload(repository: Repository, data: bytes, media_type: str = "") -> Descriptor:
    digest = Digest.of(data)
    if await repository.has_blob(digest) is None:
        location = await repository.begin_upload(digest)
        if location is not None:
            await repository.upload(location, digest, len(data), lambda: data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
