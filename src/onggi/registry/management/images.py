"""What is in a repository, to be looked at: tags with what they name, and one image in full.

GET …/-/tags                         by name, or `?sort=newest`; `?q=` those that hold the text
GET …/-/tags/TAG                     one of them
GET …/-/manifests/REFERENCE          layers, history, configuration, what the index names, what names the image
"""

import contextlib
from typing import Any

import msgspec
from aiohttp import web

from onggi.content.objects import ObjectUnknown
from onggi.errors import InvalidParameter
from onggi.oci.descriptor import IMAGE_CONFIGS, Descriptor
from onggi.oci.image import CONFIG_LIMIT_BYTES, InvalidImageConfig, parse_image_config
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.registry import blobs, manifests, projects, repositories, tags
from onggi.registry.database import Connection
from onggi.registry.names import project_of, tag_name
from onggi.registry.permissions import Action
from onggi.registry.refusals import BlobNotHere, ManifestUnknown
from onggi.registry.requests import REPOSITORY, json_reply, number
from onggi.registry.route import Route
from onggi.registry.scanning import scans
from onggi.registry.service import Service
from onggi.scan.ignoring import Ignore
from onggi.signing.gathering import SIGNATURES

MOST = 500
MOST_REFERRERS = 200
"""More of what names an image are not shown; the referrers' API lists all."""


def _size(parsed: Manifest | Index) -> int:
    """What a pull of an image transfers; of an index nothing, its images are counted by themselves."""
    if isinstance(parsed, Index):
        return 0
    return parsed.config.size + sum(layer.size for layer in parsed.layers)


def _kind(parsed: Manifest | Index) -> str:
    if isinstance(parsed, Index):
        return "index"
    return "image" if not parsed.artifact_type and parsed.config.media_type in IMAGE_CONFIGS else "artifact"


class Images:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def tags(self, request: web.Request) -> web.StreamResponse:
        """At most `n` after the tag `last`."""
        last, n, text = request.query.get("last", ""), number(request, "n", 100, MOST), request.query.get("q", "")
        order = request.query.get("sort", "name")
        if order not in ("name", "newest"):
            raise InvalidParameter(f"tags are sorted by name or newest, not by {order[:40]!a}")
        name = request[REPOSITORY]

        def read(connection: Connection) -> list[dict[str, Any]]:
            repository_id = repositories.find(connection, name)["id"]
            rules = scans.rules(connection, projects.find(connection, project_of(name))["id"])
            rows = tags.listing(connection, repository_id, last, n, newest=order == "newest", text=text)
            return [_tag(connection, rules, repository_id, row) for row in rows]

        return json_reply(await self._service.database.scan(read))

    async def tag(self, request: web.Request) -> web.StreamResponse:
        name, tag = request[REPOSITORY], tag_name(request.match_info["tag"])

        def read(connection: Connection) -> dict[str, Any]:
            repository_id = repositories.find(connection, name)["id"]
            rules = scans.rules(connection, projects.find(connection, project_of(name))["id"])
            return _tag(connection, rules, repository_id, tags.find(connection, repository_id, tag))

        return json_reply(await self._service.database.scan(read))

    async def look(self, request: web.Request) -> web.StreamResponse:
        repository, reference = request[REPOSITORY], request.match_info["reference"]

        def read(connection: Connection) -> dict[str, Any]:
            stored = manifests.find(connection, repository, reference)
            repository_id = repositories.find(connection, repository)["id"]
            rules = scans.rules(connection, projects.find(connection, project_of(repository))["id"])
            parsed = parse_manifest(stored.content, stored.media_type)
            row = manifests.row(connection, repository_id, stored.digest)
            config = self._config(connection, repository, parsed)
            return {
                "digest": stored.digest, "media_type": stored.media_type, "kind": _kind(parsed),
                "artifact_type": row["artifact_type"], "subject": row["subject"], "pushed_at": row["pushed_at"],
                "pushed_by": row["pushed_by"], "pulled_at": row["pulled_at"], "size_bytes": _size(parsed),
                "annotations": parsed.annotations or {}, "tags": tags.of_manifest(connection, repository_id, stored.digest),
                "platforms": _platform(connection, repository_id, stored.digest),
                "layers": [_layer(layer) for layer in parsed.layers] if isinstance(parsed, Manifest) else [],
                "config": config, "manifests": _members(connection, repository_id, parsed),
                "part_of": manifests.part_of(connection, repository_id, stored.digest),
                "referrers": [
                    {"digest": each["digest"], "artifact_type": each["artifact_type"], "size_bytes": each["size_bytes"]}
                    for each in manifests.referrers(connection, repository, stored.digest, "", MOST_REFERRERS, "")
                ],
                "scan": _scan(connection, rules, repository_id, [stored.digest]),
            }  # fmt: skip

        return json_reply(await self._service.database.scan(read))

    def _config(self, connection: Connection, repository: str, parsed: Manifest | Index) -> dict[str, Any]:
        """What the configuration says; {} where there is none, or one that is no image's."""
        if isinstance(parsed, Index) or _kind(parsed) != "image" or parsed.config.size > CONFIG_LIMIT_BYTES:
            return {}
        try:
            with self._service.objects.open(blobs.find(connection, repository, parsed.config.digest).key) as file:
                content = file.read(CONFIG_LIMIT_BYTES)
            config = parse_image_config(content)
        except (BlobNotHere, ObjectUnknown, InvalidImageConfig):
            return {}  # a cache has not fetched it yet, or the client pushed something else under this name
        container = config.container
        return {
            "created": config.created or "", "author": config.author, "user": container.user,
            "working_dir": container.working_dir, "entrypoint": container.entrypoint_words or [],
            "cmd": container.cmd_words or [], "env": container.env or [], "labels": container.labels or {},
            "exposed_ports": sorted(container.exposed_ports or {}), "volumes": sorted(container.volumes or {}),
            "stop_signal": container.stop_signal or "",
            "history": [msgspec.to_builtins(step) for step in config.history or []],
        }  # fmt: skip


def _tag(connection: Connection, rules: list[Ignore], repository_id: int, row: Any) -> dict[str, Any]:
    parsed = parse_manifest(bytes(row["content"]), row["media_type"])
    members = _members(connection, repository_id, parsed)
    images = [member for member in members if member["kind"] == "image"]
    return {
        "name": row["name"], "digest": row["digest"], "media_type": row["media_type"], "kind": _kind(parsed),
        "artifact_type": row["artifact_type"], "updated_at": row["updated_at"], "updated_by": row["updated_by"],
        "pulled_at": row["pulled_at"], "size_bytes": _size(parsed) or sum(image["size_bytes"] for image in images),
        "platforms": [image["platform"] for image in images] or _platform(connection, repository_id, row["digest"]),
        "immutable": tags.is_immutable(connection, repository_id, row["name"]),
        "signatures": _signature_count(connection, repository_id, row["digest"]),
        "scan": _scan(connection, rules, repository_id, [row["digest"], *(image["digest"] for image in images)]),
    }  # fmt: skip


def _layer(layer: Descriptor) -> dict[str, Any]:
    return {"digest": layer.digest, "media_type": layer.media_type, "size_bytes": layer.size}


def _members(connection: Connection, repository_id: int, parsed: Manifest | Index) -> list[dict[str, Any]]:
    """What an index names, as far as it is here."""
    if not isinstance(parsed, Index):
        return []
    found = []
    for entry in parsed.manifests:
        member: dict[str, Any] = {
            "digest": entry.digest, "media_type": entry.media_type, "platform": str(entry.platform or ""),
            "kind": "artifact", "size_bytes": entry.size,
        }  # fmt: skip
        with contextlib.suppress(ManifestUnknown):  # a cache has only what was asked for
            row = manifests.row(connection, repository_id, entry.digest)
            inner = parse_manifest(bytes(row["content"]), row["media_type"])
            member |= {"size_bytes": _size(inner)}
            unknown = entry.platform is not None and entry.platform.os == "unknown"  # buildx calls attestations so
            member["kind"] = "artifact" if unknown else _kind(inner)
        found.append(member)
    return found


def _platform(connection: Connection, repository_id: int, digest: str) -> list[str]:
    row = connection.execute(
        "SELECT value FROM image_details WHERE repository_id = ? AND digest = ? AND name = 'platform'",
        (repository_id, digest),
    ).fetchone()
    return [row["value"]] if row is not None else []


def _signature_count(connection: Connection, repository_id: int, digest: str) -> int:
    """How many are attached, by whomever: whether one is right says …/signatures."""
    kinds = ", ".join("?" * len(SIGNATURES))
    attached = connection.execute(
        "SELECT COUNT(*) AS count FROM manifests WHERE repository_id = ? AND subject = ? AND deleted_at = ''"  # noqa: S608
        f" AND artifact_type IN ({kinds})",
        (repository_id, digest, *SIGNATURES),
    ).fetchone()["count"]
    tagged = connection.execute(
        "SELECT COUNT(*) AS count FROM tags WHERE repository_id = ? AND name = ?",
        (repository_id, digest.replace(":", "-") + ".sig"),
    ).fetchone()["count"]
    return int(attached) + int(tagged)


def _scan(connection: Connection, rules: list[Ignore], repository_id: int, digests: list[str]) -> dict[str, Any]:
    """State and, of each severity, the most that one of the images has; {} where none is scanned yet."""
    found = [scan for digest in digests if (scan := scans.summary(connection, rules, repository_id, digest))]
    if not found:
        return {}
    return {
        "state": found[0]["state"],
        "counts": {severity: max(scan["counts"][severity] for scan in found) for severity in found[0]["counts"]},
    }


def routes(service: Service) -> list[Route]:
    handlers = Images(service)
    one = "/api/v1/repositories/{name*}/-"
    return [
        Route("GET", one + "/tags", handlers.tags, Action.PULL),
        Route("GET", one + "/tags/{tag}", handlers.tag, Action.PULL),
        Route("GET", one + "/manifests/{reference}", handlers.look, Action.PULL),
    ]
