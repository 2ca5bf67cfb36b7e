"""`Descriptor` and `Manifests` of an image, as API 1.51 has them."""

from typing import Any

import msgspec

from onggi.engine.image_manifests import Kind, ListedManifest, listed, target
from onggi.images.image import Image
from onggi.images.images import Images


def manifests(images: Images, image: Image) -> dict[str, Any]:
    """The members that `manifests=1` adds."""
    return {
        "Descriptor": _plain(target(images, image)),
        "Manifests": [_manifest(images, image, found) for found in listed(images, image)],
    }


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value, enc_hook=str)
    return found


def _manifest(images: Images, image: Image, found: ListedManifest) -> dict[str, Any]:
    """ImageManifestSummary. Sizes are of what is here: of a manifest that is not, none."""
    content = unpacked = 0
    if found.available:
        content = len(image.config_bytes) + sum(layer.size for layer in image.manifest.layers)
        unpacked = image.size_bytes
    document: dict[str, Any] = {
        "ID": str(found.descriptor.digest),
        "Descriptor": _plain(found.descriptor),
        "Available": found.available,
        "Size": {"Content": content, "Total": content + unpacked},
        "Kind": str(found.kind),
    }
    if found.kind == Kind.IMAGE:
        platform = found.descriptor.platform or image.config.platform
        users = [user.id for user in images.containers_of(image)] if found.available else []
        document["ImageData"] = {
            "Platform": _plain(platform), "Containers": users, "Size": {"Unpacked": unpacked},
        }  # fmt: skip
    if found.kind == Kind.ATTESTATION:
        document["AttestationData"] = {"For": found.subject}
    return document
