"""GET /api/v1/search, and /v1/search as `docker search` asks. (Docker Registry v1 API, "Search")

What is found is sorted by name; by our own call with `?sort=newest` what was pushed last comes first.
"""

from heapq import nlargest
from itertools import islice
from typing import Any

from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry import accounts, search
from onggi.registry.database import Connection
from onggi.registry.names import LIBRARY
from onggi.registry.permissions import AuthenticationNeeded
from onggi.registry.requests import SUBJECT, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service

MOST = 100


class Searching:
    """The handlers. Both show only what the subject may pull."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _found(self, request: web.Request, n: int, *, newest: bool = False) -> list[Any]:
        subject, query = request[SUBJECT], request.query.get("q", "")

        def read(connection: Connection) -> list[Any]:
            found = search.find(connection, accounts.viewer(connection, subject), query)
            return nlargest(n, found, key=lambda row: row["updated_at"]) if newest else list(islice(found, n))

        return await self._service.database.scan(read)

    async def docker(self, request: web.Request) -> web.StreamResponse:
        """What `docker search HOST/WORD` reads.

        Podman comes without credentials first and shows them only when it is refused: where the public finds nothing,
        it is.
        """
        n = number(request, "n", 25, MOST) or 25
        results = [
            {"name": row["name"].removeprefix(f"{LIBRARY}/"), "description": row["description"], "star_count": 0,
             "is_official": row["project"] == LIBRARY, "is_automated": False}
            for row in await self._found(request, n)
        ]  # fmt: skip
        if not results and not request[SUBJECT].known:
            raise AuthenticationNeeded
        return json_reply({
            "query": request.query.get("q", ""), "num_results": len(results), "num_pages": 1, "page": 1,
            "page_size": n, "results": results,
        })  # fmt: skip

    async def ours(self, request: web.Request) -> web.StreamResponse:
        order = request.query.get("sort", "name")
        if order not in ("name", "newest"):
            raise InvalidParameter(f"what is found is sorted by name or newest, not by {order[:40]!a}")
        rows = await self._found(request, number(request, "n", 50, MOST), newest=order == "newest")
        return json_reply([
            {"name": row["name"], "project": row["project"], "public": bool(row["public"]),
             "description": row["description"], "updated_at": row["updated_at"], "pulls": row["pulls"]}
            for row in rows
        ])  # fmt: skip


def routes(service: Service) -> list[Route]:
    handlers = Searching(service)
    return [
        Route("GET", "/v1/search", handlers.docker, None),
        Route("GET", "/api/v1/search", handlers.ours, None),
    ]
