"""A project's policy and an image's signatures, over the management API."""

from typing import Any

from aiohttp import web

from onggi.oci.digest import Digest
from onggi.registry import audit, manifests, projects
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.names import project_of
from onggi.registry.permissions import Action
from onggi.registry.requests import REPOSITORY, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.trust import policies
from onggi.registry.trust.gate import Gate, signatures
from onggi.signing.gathering import SIGNATURES


class Trust:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def show(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]

        def read(connection: Connection) -> policies.Policy:
            projects.find(connection, name)
            return policies.of_project(connection, name)

        return json_reply(await self._service.read(read))

    async def put(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, policies.decoder), request.match_info["project"]
        given.check()

        def write(connection: Connection) -> None:
            by = actor(request)
            policies.put(connection, projects.find(connection, name), given, by.name)
            audit.record(connection, by, "change policy", project=name,
                         details={"keys": [key.name for key in given.keys], "rules": len(given.rules)})  # fmt: skip

        await self._service.write(write)
        return json_reply(given)

    async def signatures(self, request: web.Request) -> web.StreamResponse:
        repository, reference = request[REPOSITORY], request.match_info["reference"]

        def read(connection: Connection) -> dict[str, Any]:
            digest = Digest(manifests.find(connection, repository, reference).digest)
            policy = policies.of_project(connection, project_of(repository))
            return {"digest": digest, "signatures": signatures(self._service, connection, repository, digest, policy)}

        return json_reply(await self._service.database.scan(read))


def _tell(service: Service, connection: Connection, event: Event) -> None:
    """A signature that was pushed is an event of the image that it signs."""
    if event.kind is not EventKind.PUSH or not event.digest:
        return
    row = connection.execute(
        "SELECT m.artifact_type, m.subject FROM repositories r JOIN manifests m ON m.repository_id = r.id"
        " WHERE r.name = ? AND m.digest = ?",
        (event.repository, event.digest),
    ).fetchone()
    if row is not None and row["subject"] and row["artifact_type"] in SIGNATURES:
        service.events.publish(connection, Event(EventKind.SIGNATURE, event.repository, event.actor, digest=row["subject"],
                                                 details={"artifact": event.digest, "kind": row["artifact_type"]}))  # fmt: skip


def install(service: Service) -> list[Route]:
    """The feature: the gate, its routes, its event."""
    service.pull_gates.append(Gate(service).check)
    service.events.subscribe(lambda connection, event: _tell(service, connection, event))
    handlers = Trust(service)
    return [
        Route("GET", "/api/v1/projects/{project}/policy", handlers.show, Action.PROJECT_READ),
        Route("PUT", "/api/v1/projects/{project}/policy", handlers.put, Action.PROJECT_EDIT),
        Route(
            "GET", "/api/v1/repositories/{name*}/-/manifests/{reference}/signatures", handlers.signatures, Action.PULL
        ),
    ]
