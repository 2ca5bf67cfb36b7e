"""Image: one image on this host, as everything above `images` sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from onggi.errors import NotFound
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig
from onggi.oci.manifest import Manifest
from onggi.oci.reference import Reference


class NoSuchImage(NotFound):
    """`name` is what the user wrote, with the default tag where none was given."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such image: {name}")


@dataclass(frozen=True, slots=True)
class Image:
    """One image as it was when it was looked up: names may have moved since."""

    id: Digest
    """The digest of the configuration's bytes."""
    config: ImageConfig
    config_bytes: bytes
    manifest: Manifest
    """Where the layers' blobs are in the content store."""
    manifest_bytes: bytes
    manifest_media_type: str
    names: tuple[Reference, ...]
    """With tag, in order of their text."""
    digests: tuple[Reference, ...]
    """With digest, as a registry knows the image; in order of their text."""
    size_bytes: int
    """Of the files in all its layers."""
    parent: str
    """ID of the image that this one was built or committed on here, or empty."""
    created_at: datetime | None
    tagged_at: datetime | None
    """When it last got a name."""
    last_used_at: datetime | None
    """When it came here, or a container was last made of it or removed."""
    index: Digest | None = None
    """The index that it came with, when all that this lists is here too."""

    @property
    def repo_tags(self) -> Sequence[str]:
        return [name.familiar for name in self.names]

    @property
    def repo_digests(self) -> Sequence[str]:
        return [name.familiar for name in self.digests]
