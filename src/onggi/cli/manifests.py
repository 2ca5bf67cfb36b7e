"""Manifest lists being made: `~/.docker/manifests/LIST/MANIFEST`, the files that `docker manifest` keeps, in its form.

A file's name is its reference with "/" as "_" and ":" as "-". In it: Ref, Descriptor, Raw (base64 of the manifest as the
registry has it) and the manifest once more, as an object.
"""

import json
import os
import shutil
from base64 import b64decode

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.oci.reference import Reference

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def _file_name(reference: "Reference") -> str:
    return reference.canonical.replace(":", "-").replace("/", "_")


def manifest_of(reference: str, found: "dict[str, Any]") -> "dict[str, Any]":
    """What is kept of an image's manifest. `found` is the engine's answer. Raises Failure for a list."""
    kind = found["Descriptor"]["mediaType"]
    names = {OCI_MANIFEST: "OCIManifest", DOCKER_MANIFEST: "SchemaV2Manifest"}
    if kind not in names:
        raise Failure(f"{reference} is a manifest list")
    return {
        "Ref": reference, "Descriptor": ordered(found["Descriptor"]), "Raw": found["Raw"],
        names[kind]: json.loads(b64decode(found["Raw"])),
    }  # fmt: skip


def ordered(descriptor: "dict[str, Any]") -> "dict[str, Any]":
    """In the order of Go's fields."""
    return {
        key: ordered_platform(descriptor[key]) if key == "platform" else descriptor[key]
        for key in ("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
        if descriptor.get(key)
    }


def ordered_platform(platform: "dict[str, Any]") -> "dict[str, Any]":
    names = ("architecture", "os", "os.version", "os.features", "variant")
    return {key: platform[key] for key in names if platform.get(key)}


class Store:
    """All manifest lists below the folder of config.json."""

    def __init__(self, folder: str) -> None:
        self._root = os.path.join(folder, "manifests")

    def _folder(self, target: "Reference") -> str:
        return os.path.join(self._root, _file_name(target))

    def has(self, target: "Reference") -> bool:
        return os.path.isdir(self._folder(target))

    def every(self, target: "Reference") -> "list[dict[str, Any]]":
        """All manifests of a list, in the order of their names. Raises Failure when there is none."""
        try:
            names = sorted(os.listdir(self._folder(target)))
        except FileNotFoundError:
            raise Failure(f"No such manifest: {target.canonical}") from None
        return [self._read(os.path.join(self._folder(target), name)) for name in names if not name.startswith(".")]

    def get(self, target: "Reference", image: "Reference") -> "dict[str, Any] | None":
        path = os.path.join(self._folder(target), _file_name(image))
        return self._read(path) if os.path.exists(path) else None

    def save(self, target: "Reference", image: "Reference", manifest: "dict[str, Any]") -> None:
        """As a whole, or not at all."""
        folder = self._folder(target)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        path = os.path.join(folder, _file_name(image))
        temporary = os.path.join(folder, f".{os.getpid()}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(manifest, file, separators=(",", ":"), ensure_ascii=False)
        os.replace(temporary, path)

    def remove(self, target: "Reference") -> None:
        """Raises Failure when there is none."""
        try:
            shutil.rmtree(self._folder(target))
        except FileNotFoundError:
            raise Failure(f"No such manifest: {target.canonical}") from None

    def _read(self, path: str) -> "dict[str, Any]":
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        except ValueError as error:
            raise Failure(f"{path} can't be understood: {error}") from None
        if not isinstance(found, dict) or "Descriptor" not in found or "Raw" not in found:
            raise Failure(f"{path} can't be understood: it is no manifest")
        return found


def index(manifests: "list[dict[str, Any]]") -> "tuple[str, bytes]":
    """Media type and bytes of the list: byte for byte what docker pushes."""
    for manifest in manifests:
        platform = manifest["Descriptor"].get("platform") or {}
        if not platform.get("architecture") or not platform.get("os"):
            raise Failure(f"manifest {manifest['Ref']} must have an OS and Architecture to be pushed to a registry")
    kind = OCI_INDEX if manifests[0]["Descriptor"]["mediaType"] == OCI_MANIFEST else DOCKER_LIST
    return kind, encoded(kind, [manifest["Descriptor"] for manifest in manifests])


def encoded(kind: str, descriptors: "list[dict[str, Any]]") -> bytes:
    """A list as Go writes it: its order of fields, three spaces a level."""
    entries = []
    for descriptor in descriptors:
        entry: dict[str, Any] = {
            key: descriptor[key] for key in ("mediaType", "size", "digest", "annotations") if key in descriptor
        }
        if descriptor.get("platform"):
            entry["platform"] = ordered_platform(descriptor["platform"])
        entries.append(entry)
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    return json.dumps(document, indent=3, ensure_ascii=False).encode()
