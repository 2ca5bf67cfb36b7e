"""POST /onggi/auto-update: of Onggi's own. Replaces the containers that ask for it and whose image's tag has moved.

Query: `dry_run`. Header X-Registry-Config: credentials by registry; without it the engine uses its own. Answers a list of
`{"Id", "Name", "Image", "Policy", "Updated", "Error"}`.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import flag
from onggi.api.response import json_response
from onggi.api.route import Route
from onggi.distribution.credentials import decode_config_header

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def routes(engine: "Engine") -> list[Route]:
    async def run(request: web.Request) -> web.StreamResponse:
        credentials = decode_config_header(request.headers.get("X-Registry-Config", "")) or None
        reports = await engine.auto_update.run(dry_run=flag(request, "dry_run"), credentials=credentials)
        return json_response([report.document() for report in reports])

    return [Route("POST", "/onggi/auto-update", run)]
