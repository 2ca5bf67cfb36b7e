"""The feature: every page's route. It is installed last, for it asks the routes of all others."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from onggi.registry.app import PathUnknown
from onggi.registry.page import administering, looking, projects, signing_in
from onggi.registry.page.asking import Api
from onggi.registry.page.visit import Site
from onggi.registry.route import Route
from onggi.registry.service import Service


def install(service: Service, routes: Sequence[Route]) -> list[Route]:
    site = Site(service, Api(service, routes))
    service.show_failure = site.failed
    service.begin_session = partial(signing_in.arrive, site)

    async def asset(request: web.Request) -> web.StreamResponse:
        found = site.renderer.asset(request.match_info["file"])
        if found is None:
            raise PathUnknown
        return found

    return [
        *signing_in.routes(site),
        *looking.routes(site),
        *projects.routes(site),
        *administering.routes(site),
        Route("GET", "/assets/{file}", asset, None, authenticate=site.who),
    ]
