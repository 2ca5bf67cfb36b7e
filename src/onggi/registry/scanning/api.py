"""Reports, bills of materials, and what a project sets aside: /api/v1/repositories/NAME/-/manifests/REFERENCE/…"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

import onggi
from onggi.errors import InvalidParameter
from onggi.oci.descriptor import INDEXES, MANIFESTS
from onggi.oci.manifest import Index, parse_manifest
from onggi.registry import audit, clock, manifests, projects, repositories, search
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode
from onggi.registry.names import project_of
from onggi.registry.permissions import Action
from onggi.registry.requests import REPOSITORY, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.scanning import advisory_store, scans, work
from onggi.registry.scanning.scans import Scan, ScanState
from onggi.registry.service import Service
from onggi.scan.documents import cyclonedx, sarif, spdx
from onggi.scan.ignoring import Ignore, Sorted


class NewIgnore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    problem: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=2000)]
    package: Annotated[str, msgspec.Meta(max_length=300)] = ""
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


_new_ignore = msgspec.json.Decoder(NewIgnore)


def _json(value: Any, kind: str = "application/json") -> web.Response:
    return web.Response(body=encode(value), content_type=kind)


def report(connection: Connection, repository: str, scan: Scan) -> tuple[Sorted, dict[str, Any]]:
    """Findings sorted by the project's rules, and the report as JSON."""
    project = projects.find(connection, project_of(repository))
    sorted_ = scans.sorted_findings(connection, project["id"], scan)
    return sorted_, {
        "digest": scan.digest, "state": scan.state.value, "scanned_at": scan.at, "error": scan.error,
        "distribution": scan.inventory.distribution, "packages": len(scan.inventory.packages),
        "remarks": scan.inventory.remarks, "counts": scans.counts(sorted_.open), "findings": sorted_.open,
        "ignored": [{"finding": finding, "reason": rule.reason, "until": rule.until} for finding, rule in sorted_.ignored],
    }  # fmt: skip


class Scanning:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`?format=json|sarif`. Of an index: the state of each of its images."""
        repository, reference = request[REPOSITORY], request.match_info["reference"]
        form = request.query.get("format", "json")
        if form not in ("json", "sarif"):
            raise InvalidParameter(f"a report comes as json or sarif, not as {form[:40]!a}")

        def read(connection: Connection) -> dict[str, Any]:
            stored = manifests.find(connection, repository, reference)
            parsed = parse_manifest(stored.content, stored.media_type)
            if isinstance(parsed, Index):
                return {
                    "digest": stored.digest,
                    "state": "index",
                    "manifests": self._members(connection, repository, parsed),
                }
            repository_id = repositories.find(connection, repository)["id"]
            sorted_, shown = report(connection, repository, scans.find(connection, repository_id, stored.digest))
            if form == "sarif":
                return sarif(sorted_.open, sorted_.ignored, f"{repository}@{stored.digest}", onggi.__version__)
            return shown

        return _json(await self._service.database.scan(read))

    @staticmethod
    def _members(connection: Connection, repository: str, index: Index) -> list[dict[str, Any]]:
        repository_id = repositories.find(connection, repository)["id"]
        shown = []
        for entry in index.manifests:
            if entry.media_type not in MANIFESTS | INDEXES:
                continue
            member: dict[str, Any] = {"digest": entry.digest, "platform": str(entry.platform or ""), "state": "waiting"}
            try:
                _, found = report(connection, repository, scans.find(connection, repository_id, entry.digest))
                member |= {"state": found["state"], "counts": found["counts"]}
            except scans.NotScanned:
                pass  # it waits
            shown.append(member)
        return shown

    async def bill(self, request: web.Request) -> web.StreamResponse:
        """`?format=cyclonedx|spdx`."""
        repository, reference = request[REPOSITORY], request.match_info["reference"]
        form = request.query.get("format", "cyclonedx")
        if form not in ("cyclonedx", "spdx"):
            raise InvalidParameter(f"a bill of materials comes as cyclonedx or spdx, not as {form[:40]!a}")

        def read(connection: Connection) -> dict[str, Any]:
            stored = manifests.find(connection, repository, reference)
            scan = scans.find(connection, repositories.find(connection, repository)["id"], stored.digest)
            at = clock.moment(scan.at)
            if scan.state is not ScanState.DONE:
                raise scans.NoBill(stored.digest, scan.error or scan.state.value)
            if form == "spdx":
                return spdx(scan.inventory, repository, stored.digest, at, onggi.__version__)
            return cyclonedx(scan.inventory, repository, stored.digest, at, onggi.__version__, scan.findings)

        document = await self._service.database.scan(read)
        return _json(document, {"cyclonedx": "application/vnd.cyclonedx+json", "spdx": "application/spdx+json"}[form])

    async def ask(self, request: web.Request) -> web.StreamResponse:
        repository, reference = request[REPOSITORY], request.match_info["reference"]

        def enqueue(connection: Connection) -> str:
            digest = manifests.find(connection, repository, reference).digest
            work.ask(connection, repository, digest)
            audit.record(
                connection,
                actor(request),
                "ask for a scan",
                project=project_of(repository),
                subject=f"{repository}@{digest}",
            )
            return digest

        return json_reply({"digest": await self._service.write(enqueue), "state": "waiting"}, 202)

    async def ignores(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        rows = await self._service.read(
            lambda connection: scans.ignores(connection, projects.find(connection, name)["id"])
        )
        return json_reply(
            [{key: row[key] for key in ("problem", "package", "reason", "until", "by", "at")} for row in rows]
        )

    async def ignore(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _new_ignore), request.match_info["project"]
        rule = Ignore(id=given.problem, reason=given.reason, package=given.package, until=given.until)

        def add(connection: Connection) -> None:
            by = actor(request)
            scans.ignore(connection, projects.find(connection, name)["id"], rule, by.name)
            audit.record(connection, by, "set a problem aside", project=name, subject=f"{rule.id} {rule.package}".strip(),
                         details={"reason": rule.reason})  # fmt: skip

        await self._service.write(add)
        return json_reply(given, 201)

    async def stop_ignoring(self, request: web.Request) -> web.StreamResponse:
        name, problem = request.match_info["project"], request.query.get("problem", "")
        package = request.query.get("package", "")

        def remove(connection: Connection) -> None:
            scans.stop_ignoring(connection, projects.find(connection, name)["id"], problem, package)
            audit.record(
                connection,
                actor(request),
                "take a problem up again",
                project=name,
                subject=f"{problem} {package}".strip(),
            )

        await self._service.write(remove)
        return web.Response(status=204)

    async def sources(self, _: web.Request) -> web.StreamResponse:
        rows = await self._service.read(advisory_store.sources)
        return json_reply(
            [{key: row[key] for key in ("name", "form", "location", "imported_at", "advisories")} for row in rows]
        )


def install(service: Service) -> list[Route]:
    """The feature: jobs, routes, and a word for search."""
    work.install(service)
    search.FILTERS["package"] = scans.has_package
    handlers = Scanning(service)
    of_manifest = "/api/v1/repositories/{name*}/-/manifests/{reference}"
    of_project = "/api/v1/projects/{project}/ignores"
    return [
        Route("GET", f"{of_manifest}/scan", handlers.show, Action.PULL),
        Route("POST", f"{of_manifest}/scan", handlers.ask, Action.SCAN),
        Route("GET", f"{of_manifest}/bom", handlers.bill, Action.PULL),
        Route("GET", of_project, handlers.ignores, Action.PROJECT_READ),
        Route("POST", of_project, handlers.ignore, Action.PROJECT_EDIT),
        Route("DELETE", of_project, handlers.stop_ignoring, Action.PROJECT_EDIT),
        Route("GET", "/api/v1/advisories", handlers.sources, Action.REGISTRY),
    ]
