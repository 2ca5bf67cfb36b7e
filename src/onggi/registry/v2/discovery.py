"""GET /v2/, tags, the catalogue and referrers. (distribution-spec, "Content Discovery", "Listing Referrers")"""

from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from onggi.oci.descriptor import OCI_INDEX, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.registry import accounts, catalogue, details, manifests, tags, warning
from onggi.registry.database import Connection
from onggi.registry.metrics import CONTENT_TYPE
from onggi.registry.permissions import Action, AuthenticationNeeded, PasswordNotChosen
from onggi.registry.repositories import find
from onggi.registry.requests import REPOSITORY, SUBJECT, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.tokens import CATALOG

MOST = 1000
"""Entries of one answer; a Link leads to more."""
MOST_REFERRERS = 200
"""Each may hold many annotations, and the answer must stay within what clients read (4 MiB)."""
_ANSWER_BYTES = 3 * 1024 * 1024


def _next(path: str, n: int, last: str, **more: str) -> dict[str, str]:
    return {"Link": f'<{path}?{urlencode({**more, "n": n, "last": last})}>; rel="next"'}


class Discovery:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def base(self, request: web.Request) -> web.StreamResponse:
        """Is this a registry, and am I signed in? Who comes without credentials is told where to get a token."""
        if not request.headers.get("Authorization"):
            raise AuthenticationNeeded
        if request[SUBJECT].must_change_password:
            raise PasswordNotChosen
        return json_reply({})

    async def tags(self, request: web.Request) -> web.StreamResponse:
        repository, n, last = request[REPOSITORY], number(request, "n", MOST, MOST), request.query.get("last", "")

        def read(connection: Connection) -> list[str]:
            repository_id = find(connection, repository)["id"]
            return tags.names(connection, repository_id, last, n + 1) if n else []

        upstreams, hint = await self._service.cache.tags(repository)
        if upstreams is None:
            found = await self._service.read(read)
        else:
            found = [tag for tag in upstreams if tag > last][: n + 1] if n else []
        shown, headers = found[:n], warning.headers([hint])
        if len(found) > n > 0:
            headers |= _next(f"/v2/{request.match_info['name']}/tags/list", n, shown[-1])
        return json_reply({"name": request.match_info["name"], "tags": shown}, headers=headers)

    async def catalog(self, request: web.Request) -> web.StreamResponse:
        """Only what the subject may pull. A token must have been asked for with `registry:catalog:*`.

        Who comes without any is sent for one, an anonymous one perhaps: else clients would not show who they are.
        """
        service, subject = self._service, request[SUBJECT]
        if not request.headers.get("Authorization") or (subject.granted is not None and CATALOG not in subject.granted):
            raise AuthenticationNeeded("registry:catalog:*")
        n, last = number(request, "n", MOST, MOST), request.query.get("last", "")
        shown: list[str] = []
        more = False
        if n:
            shown, more = await service.database.scan(
                lambda connection: catalogue.visible_names(connection, accounts.current(connection, subject), last, n)
            )
        headers = _next("/v2/_catalog", n, shown[-1]) if more else {}
        return json_reply({"repositories": shown}, headers=headers)

    async def referrers(self, request: web.Request) -> web.StreamResponse:
        service, repository, digest = self._service, request[REPOSITORY], Digest(request.match_info["digest"])
        wanted, last = request.query.get("artifactType", ""), request.query.get("last", "")
        n = number(request, "n", MOST_REFERRERS, MOST_REFERRERS) or MOST_REFERRERS

        def read(connection: Connection) -> tuple[list[dict[str, Any]], bool]:
            rows = manifests.referrers(connection, repository, digest, last, n + 1, wanted)
            shown: list[dict[str, Any]] = []
            size = 0
            for row in rows[:n]:
                size += row["size_bytes"]
                if shown and size > _ANSWER_BYTES:
                    break  # no more documents are read than the answer has room for
                shown.append(_descriptor(row, manifests.find(connection, repository, row["digest"]).content))
            return shown, len(rows) > len(shown)

        upstreams, hint = await service.cache.referrers(repository, digest)
        if upstreams is not None:
            shown, others = _fitting(upstreams, wanted, last, n)
        else:
            shown, others = await service.read(read)
        headers = warning.headers([hint])
        headers |= {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        if others:
            more = {"artifactType": wanted} if wanted else {}
            headers |= _next(f"/v2/{request.match_info['name']}/referrers/{quote(digest, safe=':')}", n,
                             shown[-1]["digest"], **more)  # fmt: skip
        reply = json_reply({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown}, headers=headers)
        reply.content_type = OCI_INDEX
        return reply

    async def healthy(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def ready(self, _: web.Request) -> web.StreamResponse:
        await self._service.read(lambda connection: connection.execute("SELECT 1 FROM settings LIMIT 1").fetchone())
        return web.Response(text="ready\n")

    async def metrics(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=self._service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _fitting(entries: list[Descriptor], wanted: str, last: str, n: int) -> tuple[list[dict[str, Any]], bool]:
    """Of an upstream's referrers those that fit, after `last` in the order of their digests, and whether there are more."""
    fitting = sorted(
        (entry for entry in entries if entry.digest > last and wanted in ("", entry.artifact_type)),
        key=lambda entry: entry.digest,
    )
    shown: list[dict[str, Any]] = []
    size = 0
    for entry in fitting[:n]:
        encoded = encode_document(entry)
        size += len(encoded)
        if shown and size > _ANSWER_BYTES:
            break
        shown.append(msgspec.json.decode(encoded))
    return shown, len(fitting) > len(shown)


def _descriptor(row: Any, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": row["media_type"], "digest": row["digest"], "size": row["size_bytes"]}
    if row["artifact_type"]:
        found["artifactType"] = row["artifact_type"]
    annotations = details.annotations(content)
    if annotations:
        found["annotations"] = annotations
    return found


def routes(service: Service) -> list[Route]:
    handlers = Discovery(service)
    return [
        Route("GET", "/v2/", handlers.base, None),
        Route("HEAD", "/v2/", handlers.base, None),
        Route("GET", "/v2", handlers.base, None),
        Route("GET", "/v2/_catalog", handlers.catalog, None),
        Route("GET", "/v2/{name*}/tags/list", handlers.tags, Action.PULL),
        Route("GET", "/v2/{name*}/referrers/{digest}", handlers.referrers, Action.PULL),
        Route("GET", "/healthz", handlers.healthy, None),
        Route("GET", "/readyz", handlers.ready, None),
        Route("GET", "/metrics", handlers.metrics, None),
    ]
