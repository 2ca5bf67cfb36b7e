"""Networks: list, inspect, create, remove, prune, connect, disconnect."""

from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import read_json
from onggi.api.response import json_response, no_content
from onggi.api.route import Route
from onggi.api.wire.networks import ConnectRequest, DisconnectRequest
from onggi.engine import membership
from onggi.engine.container_config import EndpointSettings
from onggi.engine.filters import Filters
from onggi.engine.pruning import moment
from onggi.errors import InvalidParameter
from onggi.network.catalogue import NoSuchNetwork
from onggi.network.network import PREDEFINED, CreateNetwork, Network

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_PRUNE_FILTERS = frozenset({"label", "label!", "until"})


def routes(engine: "Engine") -> list[Route]:
    networks = engine.networks

    def wanted(network: Network, filters: Filters) -> bool:
        if filters.has("dangling"):
            idle = network.name not in PREDEFINED and not networks.on_network(network.id)
            if idle != filters.flag("dangling"):
                return False
        kinds = {"builtin" if network.name in PREDEFINED else "custom"}
        if filters.has("type") and not kinds & set(filters["type"]):
            return False
        return (
            filters.exact("driver", network.driver)
            and filters.exact("scope", "local")
            and (not filters.has("name") or any(part in network.name for part in filters["name"]))
            and (not filters.has("id") or any(network.id.startswith(part) for part in filters["id"]))
            and filters.labels("label", network.labels)
        )

    async def list_networks(request: web.Request) -> web.StreamResponse:
        filters = Filters.parse(request.query.get("filters", ""), _LIST_FILTERS)
        for kind in filters["type"]:
            if kind not in {"builtin", "custom"}:
                raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
        found = [network.summary(None) for network in networks.catalogue.list() if wanted(network, filters)]
        return json_response(found)

    async def inspect(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if request.query.get("scope", "") not in {"", "local"}:
            raise NoSuchNetwork(name)
        return json_response(networks.inspect(name))

    async def create(request: web.Request) -> web.StreamResponse:
        asked = await read_json(request, CreateNetwork)
        network = await engine.run(networks.catalogue.create(asked), name=f"create network {asked.name}")
        return json_response({"Id": network.id, "Warning": ""}, status=201)

    async def remove(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        await engine.run(networks.catalogue.remove(name), name=f"remove network {name}")
        return no_content()

    async def prune(request: web.Request) -> web.StreamResponse:
        filters = Filters.parse(request.query.get("filters", ""), _PRUNE_FILTERS)
        if len(filters["until"]) > 1:
            raise InvalidParameter("more than one until filter specified")
        limit = moment(filters["until"][0]) if filters.has("until") else None

        def old_enough(network: Network) -> bool:
            if limit is not None and datetime.fromisoformat(network.created_at).timestamp() >= limit:
                return False
            return filters.labels("label", network.labels) and not (
                filters.has("label!") and filters.labels("label!", network.labels)
            )

        names = await engine.run(networks.catalogue.prune(old_enough), name="prune networks")
        return json_response({"NetworksDeleted": list(names) or None})

    async def connect(request: web.Request) -> web.StreamResponse:
        asked = await read_json(request, ConnectRequest)
        if not asked.container:
            raise InvalidParameter('invalid name or ID supplied: ""')
        container = engine.containers.get(asked.container)
        work = membership.connect(
            engine, request.match_info["name"], container, asked.endpoint_config or EndpointSettings()
        )
        await engine.run(work, name=f"connect {container.name}")
        return web.Response(status=200)

    async def disconnect(request: web.Request) -> web.StreamResponse:
        asked = await read_json(request, DisconnectRequest)
        if not asked.container:
            raise InvalidParameter('invalid name or ID supplied: ""')
        container = engine.containers.get(asked.container)
        work = membership.disconnect(engine, request.match_info["name"], container, force=asked.force)
        await engine.run(work, name=f"disconnect {container.name}")
        return web.Response(status=200)

    return [
        Route("GET", "/networks", list_networks),
        Route("POST", "/networks/create", create),
        Route("POST", "/networks/prune", prune),
        Route("GET", "/networks/{name}", inspect),
        Route("DELETE", "/networks/{name}", remove),
        Route("POST", "/networks/{name}/connect", connect),
        Route("POST", "/networks/{name}/disconnect", disconnect),
    ]
