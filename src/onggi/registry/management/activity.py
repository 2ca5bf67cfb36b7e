"""What happened and what is to be done: audit log, events, jobs and one more try, collecting now."""

from typing import Any

from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry import audit, garbage, jobs
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode
from onggi.registry.permissions import Action
from onggi.registry.requests import actor, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service

MOST = 500
_AUDIT = ("sequence", "at", "actor", "address", "action", "project", "subject", "outcome", "details")
_EVENTS = ("sequence", "at", "kind", "project", "repository", "reference", "digest", "actor", "details")
_JOBS = ("id", "kind", "subject", "state", "attempts", "run_at", "created_at", "finished_at", "error")


class Activity:
    """The handlers. Lists run backwards: `before` is the last number of the page before."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def audit(self, request: web.Request) -> web.StreamResponse:
        return await self._page(request, "audit", "sequence", _AUDIT)

    async def events(self, request: web.Request) -> web.StreamResponse:
        return await self._page(request, "events", "sequence", _EVENTS)

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        return await self._page(request, "jobs", "id", _JOBS)

    async def retry(self, request: web.Request) -> web.StreamResponse:
        """A job that failed runs again. What it is about may be long gone: then it fails again, or has nothing to do."""
        text = request.match_info["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise InvalidParameter(f"{text[:60]!a} is no job's number")

        def again(connection: Connection) -> None:
            row = jobs.retry(connection, int(text))
            audit.record(connection, actor(request), "retry job", subject=row["subject"],
                         details={"id": row["id"], "kind": row["kind"]})  # fmt: skip

        await self._service.write(again)
        return web.Response(status=202)

    async def _page(self, request: web.Request, table: str, key: str, columns: tuple[str, ...]) -> web.StreamResponse:
        before, n = number(request, "before", 0, 2**62), number(request, "n", 100, MOST)
        project = request.match_info.get("project", "")

        def read(connection: Connection) -> list[dict[str, Any]]:
            condition, parameters = ("AND project = ?", [project]) if project else ("", [])
            rows = connection.execute(
                f"SELECT {', '.join(columns)} FROM {table} WHERE (? = 0 OR {key} < ?) {condition}"  # noqa: S608
                f" ORDER BY {key} DESC LIMIT ?",
                (before, before, *parameters, n),
            ).fetchall()
            return [{column: row[column] for column in columns} for row in rows]

        return json_reply(await self._service.read(read))

    async def collect(self, _: web.Request) -> web.StreamResponse:
        """Collect garbage now, and say what went."""
        done = await garbage.collect(self._service.database, self._service.objects, self._service.settings)
        return web.Response(body=encode(done), content_type="application/json")


def routes(service: Service) -> list[Route]:
    handlers = Activity(service)
    return [
        Route("GET", "/api/v1/audit", handlers.audit, Action.REGISTRY),
        Route("GET", "/api/v1/events", handlers.events, Action.REGISTRY),
        Route("GET", "/api/v1/jobs", handlers.jobs, Action.REGISTRY),
        Route("POST", "/api/v1/jobs/{id}/retry", handlers.retry, Action.REGISTRY),
        Route("POST", "/api/v1/collect", handlers.collect, Action.REGISTRY),
        Route("GET", "/api/v1/projects/{project}/audit", handlers.audit, Action.PROJECT_READ),
        Route("GET", "/api/v1/projects/{project}/events", handlers.events, Action.PROJECT_READ),
    ]
