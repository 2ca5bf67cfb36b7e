"""What Docker's API has and this engine does not offer: swarm mode, plugins, builds, checkpoints.

Each is refused in a sentence. What only asks is answered as Docker answers where there is nothing: no node of a swarm, no
plugin, an empty build cache.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.response import json_response
from onggi.api.route import Handler, Route
from onggi.errors import NotFound, Unavailable, Unsupported

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


class NoSwarmManager(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
            "swarm and try again."
        )


async def _no_manager(_request: web.Request) -> web.StreamResponse:
    raise NoSwarmManager


async def _not_part_of_a_swarm(_request: web.Request) -> web.StreamResponse:
    raise Unavailable("This node is not part of a swarm")


async def _no_plugins(_request: web.Request) -> web.StreamResponse:
    return json_response([])


async def _no_such_plugin(request: web.Request) -> web.StreamResponse:
    raise NotFound(f'plugin "{request.match_info["name"]}" not found')


async def _empty_build_cache(_request: web.Request) -> web.StreamResponse:
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


def _refusing(sentence: str) -> Handler:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        raise Unsupported(sentence)

    return refuse


def routes(engine: "Engine") -> list[Route]:
    swarm = _refusing("swarm mode is not supported: this engine runs containers on one machine")
    plugins = _refusing("plugins are not supported")
    builds = _refusing("builds are not supported yet: build with another tool and use docker load or docker pull")
    checkpoints = _refusing("checkpoints are not supported")
    managed = ("services", "nodes", "tasks", "secrets", "configs")
    return [
        Route("GET", "/swarm", _no_manager),
        Route("GET", "/swarm/unlockkey", _no_manager),
        *(Route("GET", f"/{kind}", _no_manager) for kind in managed),
        *(Route("GET", f"/{kind}/{{name*}}", _no_manager) for kind in managed),
        *(Route("POST", f"/{kind}/create", _no_manager) for kind in managed),
        *(Route("POST", f"/{kind}/{{name}}/update", _no_manager) for kind in managed),
        *(Route("DELETE", f"/{kind}/{{name}}", _no_manager) for kind in managed),
        Route("POST", "/swarm/init", swarm),
        Route("POST", "/swarm/join", swarm),
        Route("POST", "/swarm/update", _no_manager),
        Route("POST", "/swarm/unlock", _no_manager),
        Route("POST", "/swarm/leave", _not_part_of_a_swarm),
        Route("GET", "/plugins", _no_plugins),
        Route("GET", "/plugins/privileges", plugins),
        Route("GET", "/plugins/{name*}/json", _no_such_plugin),
        Route("DELETE", "/plugins/{name*}", _no_such_plugin),
        Route("POST", "/plugins/{name*}", plugins),
        Route("POST", "/build", builds),
        Route("POST", "/session", builds),
        Route("POST", "/grpc", builds),
        Route("POST", "/build/prune", _empty_build_cache),
        Route("GET", "/containers/{name}/checkpoints", checkpoints),
        Route("POST", "/containers/{name}/checkpoints", checkpoints),
        Route("DELETE", "/containers/{name}/checkpoints/{checkpoint}", checkpoints),
    ]
