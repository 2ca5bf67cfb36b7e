"""Manifests at registries, without pulling anything: what `onggi manifest` needs of one (inspect, create, push)."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from onggi.distribution.credentials import Credentials
from onggi.distribution.failure import Misbehaved
from onggi.distribution.registries import Registries
from onggi.distribution.repository import Repository
from onggi.errors import InvalidParameter
from onggi.oci.descriptor import IMAGE_CONFIGS, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.image import CONFIG_LIMIT_BYTES
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference

_platform = msgspec.json.Decoder(Platform)


@dataclass(frozen=True, slots=True)
class Found:
    """A document at a registry. The descriptor has the platform that the image's configuration names."""

    descriptor: Descriptor
    content: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """An image that an index is to list, and where it is."""

    source: Reference
    media_type: str
    content: bytes


async def find(
    registries: Registries, reference: Reference, credentials: Credentials | None, *, insecure: bool
) -> Found:
    """What a registry has under a name. Raises Answer, Unreachable, Misbehaved, InvalidManifest."""
    reference = reference.with_default_tag()
    client = await registries.client(reference.registry, credentials, insecure=insecure)
    repository = Repository(client, reference.repository)
    document = await repository.manifest(reference.digest or reference.tag or "latest")
    parsed = parse_manifest(document.content, document.media_type)
    kind = parsed.media_type or document.media_type
    platform = None
    if isinstance(parsed, Manifest) and parsed.config.media_type in IMAGE_CONFIGS:
        content = await repository.small_blob(parsed.config.digest, CONFIG_LIMIT_BYTES, "image config")
        try:
            platform = _platform.decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Misbehaved("the image's configuration is malformed") from error
    descriptor = Descriptor(
        media_type=kind, digest=document.digest, size=len(document.content), platform=platform
    )  # fmt: skip
    return Found(descriptor, document.content)


async def push(
    registries: Registries, target: Reference, content: bytes, media_type: str, members: Sequence[Member],
    credentials: Credentials | None, *, insecure: bool,
) -> tuple[Digest, Sequence[Reference]]:  # fmt: skip
    """Put an index under a name. Members of other repositories of the same registry are taken over first, blobs and all.

    Gives the index's digest, and what was taken over, by digest. Raises InvalidParameter, Answer, Unreachable.
    """
    target = target.with_default_tag()
    for member in members:
        if member.source.registry != target.registry:
            raise InvalidParameter(
                "cannot use source images from a different registry than the target image: "
                f"{member.source.registry} != {target.registry}"
            )
    parse_manifest(content, media_type)
    client = await registries.client(target.registry, credentials, insecure=insecure)
    repository = Repository(client, target.repository, actions="pull,push")
    taken = []
    for member in members:
        if member.source.repository == target.repository:
            continue
        parsed = parse_manifest(member.content, member.media_type)
        if not isinstance(parsed, Manifest):
            raise InvalidParameter(f"{member.source.familiar} is a manifest list")
        for digest in dict.fromkeys(blob.digest for blob in (parsed.config, *parsed.layers)):
            await _mount(repository, digest, member.source.repository)
        digest = Digest.of(member.content)
        await repository.put_manifest(str(digest), member.content, member.media_type)
        taken.append(target.with_digest(digest))
    await repository.put_manifest(target.tag or str(Digest.of(content)), content, media_type)
    return Digest.of(content), taken


async def _mount(repository: Repository, digest: Digest, source: str) -> None:
    if await repository.has_blob(digest) is not None:
        return
    location = await repository.begin_upload(digest, source)
    if location is not None:
        await repository.cancel_upload(location)
        raise Misbehaved(f"the registry did not mount {digest} from {source}: pull and push the image instead")
