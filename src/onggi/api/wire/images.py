"""Bodies of answers about images, as API 1.51 has them, and what older versions add or lack."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from onggi.api.version import ApiVersion
from onggi.engine.image_list import Listed
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.images.names import parse_time
from onggi.images.removal import Removed
from onggi.oci.image import ImageContainerConfig

_NEVER = "0001-01-01T00:00:00Z"
_UNTIL_VIRTUAL_SIZE, _UNTIL_CONTAINER_CONFIG, _UNTIL_CONTAINER_MEMBERS, _SINCE_COUNTS = (
    (1, 43),
    (1, 44),
    (1, 49),
    (1, 51),
)
_CONTAINER_MEMBERS = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Tty": False,
    "OpenStdin": False, "StdinOnce": False, "Image": "",
}  # fmt: skip
_EMPTY_CONFIG = {
    "User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None,
    "Labels": None,
}  # fmt: skip


class DeletedItem(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """One line of the answers to DELETE /images/{name} and POST /images/prune."""

    untagged: str = ""
    deleted: str = ""


class PruneAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    images_deleted: list[DeletedItem] | None
    space_reclaimed: int


class HistoryItem(msgspec.Struct, frozen=True, rename="pascal"):
    comment: str
    created: int
    created_by: str
    id: str
    size: int
    tags: list[str] | None


def deleted_items(records: Sequence[Removed]) -> list[DeletedItem]:
    return [DeletedItem(record.untagged, record.deleted) for record in records]


def summary(images: Images, listed: Listed, version: ApiVersion, *, shared_size: bool) -> dict[str, Any]:
    """One image of GET /images/json."""
    image = listed.image
    document: dict[str, Any] = {
        "Containers": len(images.containers_of(image)) if version >= _SINCE_COUNTS else -1,
        "Created": _seconds(image.created_at),
        "Id": image.id,
        "Labels": image.config.container.labels,
        "ParentId": image.parent,
        "RepoDigests": [name.familiar for name in listed.digests],
        "RepoTags": [name.familiar for name in listed.names],
        "SharedSize": images.shared_bytes(image) if shared_size else -1,
        "Size": image.size_bytes,
    }
    if version <= _UNTIL_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size_bytes
    return document


def inspection(images: Images, image: Image, version: ApiVersion) -> dict[str, Any]:
    """GET /images/{name}/json."""
    config = image.config
    document: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": config.comment or (config.history[-1].comment if config.history else ""),
    }
    if config.created:
        document["Created"] = config.created
    if version <= _UNTIL_CONTAINER_CONFIG:
        document["ContainerConfig"] = _CONTAINER_MEMBERS | _EMPTY_CONFIG
    document |= {"DockerVersion": config.docker_version, "Author": config.author, "Architecture": config.architecture}
    if config.variant:
        document["Variant"] = config.variant
    document["Os"] = config.os
    if config.os_version:
        document["OsVersion"] = config.os_version
    document["Size"] = image.size_bytes
    if version <= _UNTIL_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size_bytes
    document["GraphDriver"] = {"Data": _places(images.layer_directories(image)), "Name": "overlay2"}
    document["RootFS"] = {"Type": config.rootfs.type, "Layers": list(config.diff_ids)}
    tagged = image.tagged_at.isoformat().replace("+00:00", "Z") if image.tagged_at else _NEVER
    document["Metadata"] = {"LastTagTime": tagged}
    document["Config"] = container_defaults(config.container, version)
    return document


def _places(directories: Sequence[str]) -> dict[str, str] | None:
    """As the overlay2 driver tells them: the topmost layer, and those below it."""
    if not directories:
        return None
    upper, *lower = directories
    return ({"LowerDir": ":".join(lower)} if lower else {}) | {"UpperDir": upper}


def container_defaults(config: ImageContainerConfig, version: ApiVersion) -> dict[str, Any]:
    """The image's `Config`."""
    document: dict[str, Any] = _CONTAINER_MEMBERS.copy() if version <= _UNTIL_CONTAINER_MEMBERS else {}
    document |= {
        "User": config.user,
        "Env": config.env,
        "Entrypoint": config.entrypoint_words,
        "Cmd": config.cmd_words,
        "Volumes": config.volumes,
        "WorkingDir": config.working_dir,
        "Labels": config.labels,
        "OnBuild": config.on_build,
    }
    optional: dict[str, Any] = {
        "ExposedPorts": config.exposed_ports,
        "StopSignal": config.stop_signal,
        "Healthcheck": config.healthcheck,
        "Shell": config.shell_words,
        "ArgsEscaped": config.args_escaped,
    }
    return dict(sorted((document | {key: value for key, value in optional.items() if value}).items()))


def history(images: Images, image: Image) -> list[HistoryItem]:
    """GET /images/{name}/history, newest first."""
    sizes = list(images.layer_sizes(image))
    items = []
    for step in image.config.history or ():
        # A history that tells of more layers than there are is the image's fault; it is only shown.
        size = 0 if step.empty_layer or not sizes else sizes.pop(0)
        items.append((step, size))
    found: list[HistoryItem] = []
    shown: Image | None = image
    for step, size in reversed(items):
        found.append(
            HistoryItem(
                comment=step.comment,
                created=_seconds(parse_time(step.created)),
                created_by=step.created_by,
                id=shown.id if shown else "<missing>",
                size=size,
                tags=list(shown.repo_tags) or None if shown else None,
            )
        )
        shown = images.by_id(shown.parent) if shown and shown.parent else None
    return found


def _seconds(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0
