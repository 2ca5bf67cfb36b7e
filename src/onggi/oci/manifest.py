"""Manifest and index of an image, and the one rule set by which they are read. (OCI image-spec, manifest.md)

Docker's schema 2 documents have the same shape under other media types. Schema 1 is refused, as Docker 28 does.
"""

import msgspec

from onggi.errors import InvalidParameter, NotFound
from onggi.oci.descriptor import (
    INDEXES,
    MANIFESTS,
    SCHEMA_1,
    Descriptor,
    decode_hook,
)
from onggi.oci.platform import Platform, suitability

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
"""The least a registry must accept (distribution-spec), and the most that we do."""
MOST_LAYERS = 1000
MOST_ENTRIES = 1000


class InvalidManifest(InvalidParameter):
    """A document that is no manifest and no index, or one that says two things."""


class NoMatchingPlatform(NotFound):
    """The index has no image for the platform."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(f"no matching manifest for {platform} in the manifest list entries")


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One image: its configuration and its layers, lowest first."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Several images under one name, one for each platform (and what belongs to them, such as attestations)."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    def choose(self, wanted: Platform) -> Descriptor:
        """The manifest that suits `wanted` best; of equals the first. Raises NoMatchingPlatform."""
        best: tuple[int, Descriptor] | None = None
        for entry in self.manifests:
            if entry.platform is None or entry.media_type not in MANIFESTS | INDEXES:
                continue
            fit = suitability(entry.platform, wanted)
            if fit is not None and (best is None or fit > best[0]):
                best = fit, entry
        if best is None:
            raise NoMatchingPlatform(wanted)
        return best[1]


class _Shape(msgspec.Struct, rename="camel"):
    """What tells the kinds of document apart, whatever else they hold."""

    schema_version: int = 0
    media_type: str = ""
    config: msgspec.Raw = msgspec.Raw()
    layers: msgspec.Raw = msgspec.Raw()
    manifests: msgspec.Raw = msgspec.Raw()
    fs_layers: msgspec.Raw = msgspec.Raw()
    history: msgspec.Raw = msgspec.Raw()


_shape = msgspec.json.Decoder(_Shape)
_manifest = msgspec.json.Decoder(Manifest, dec_hook=decode_hook)
_index = msgspec.json.Decoder(Index, dec_hook=decode_hook)


def parse_manifest(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a document whose bytes have been verified. `media_type` is what the registry or descriptor called it.

    A document must be one thing only (CVE-2021-41190): not both layers and manifests, and of the media type that it
    was announced with. Raises InvalidManifest.
    """
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise InvalidManifest(f"the manifest is larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        shape = _shape.decode(data)
        if media_type in SCHEMA_1 or shape.media_type in SCHEMA_1 or bytes(shape.fs_layers):
            raise InvalidManifest(
                "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. "
                "Push the image again with a current version of Docker or another tool, to use the OCI format"
            )
        if shape.schema_version != 2:
            raise InvalidManifest(f"unsupported manifest: schemaVersion is {shape.schema_version}, not 2")
        if media_type and shape.media_type and media_type in MANIFESTS | INDEXES and media_type != shape.media_type:
            raise InvalidManifest(
                f"the manifest calls itself {shape.media_type[:100]} but was announced as {media_type}"
            )
        kind = shape.media_type or (media_type if media_type in MANIFESTS | INDEXES else "")
        has_layers, has_manifests = bytes(shape.layers) != b"", bytes(shape.manifests) != b""
        if (has_layers and has_manifests) or (bytes(shape.config) and has_manifests):
            raise InvalidManifest("ambiguous manifest: it has both layers and manifests")
        if kind in INDEXES or (not kind and has_manifests):
            return _checked_index(_index.decode(data))
        if kind in MANIFESTS or (not kind and has_layers):
            return _checked_manifest(_manifest.decode(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidManifest(f"invalid manifest: {error}") from error
    raise InvalidManifest(f"unsupported manifest media type: {(kind or media_type or 'none given')[:100]}")


def _checked_index(index: Index) -> Index:
    if len(index.manifests) > MOST_ENTRIES:
        raise InvalidManifest(f"the index has {len(index.manifests)} entries; at most {MOST_ENTRIES} are taken")
    return index


def _checked_manifest(manifest: Manifest) -> Manifest:
    if len(manifest.layers) > MOST_LAYERS:
        raise InvalidManifest(f"the manifest has {len(manifest.layers)} layers; at most {MOST_LAYERS} are taken")
    return manifest
