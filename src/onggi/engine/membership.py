"""`network connect` and `network disconnect`: of running containers at once, of others from their next start on."""

import asyncio
from typing import TYPE_CHECKING

from onggi.engine import container_store, endpoints, links
from onggi.engine.container import Container
from onggi.engine.container_config import EndpointSettings
from onggi.engine.lifecycle import State, is_running
from onggi.errors import Conflict, Forbidden
from onggi.network.endpoint import EndpointRequest
from onggi.network.joining import check_attachment, refusal_to_join

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def connect(engine: "Engine", network_name: str, container: Container, asked: EndpointSettings) -> None:
    """Raises NoSuchNetwork, Forbidden, InvalidParameter, Conflict."""
    network = engine.networks.catalogue.get(network_name)
    wanted = endpoints.attachment(network.name, asked)
    mode = container.host_config.network_mode
    async with container.lock:
        _require_present(container)
        if network.driver != "bridge" or mode == "none":
            raise Forbidden(refusal_to_join(network))
        if mode == "host" or mode.startswith("container:"):
            raise Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any "
                "other network"
            )
        check_attachment(network, wanted)
        if is_running(container.state):
            before = engine.networks.texts(container.id, _request(engine, container))
            with endpoints.network_namespace(container) as namespace:
                await engine.networks.attach(container.id, namespace, container.name, wanted)
            await asyncio.to_thread(_rewrite, engine, container, before)
        await _save(engine, container, _default_named(container) | {network.name: asked})


async def disconnect(engine: "Engine", network_name: str, container: Container, *, force: bool) -> None:
    """Raises NoSuchNetwork, Forbidden. `force`: also when the container does not know of the network any more."""
    network = engine.networks.catalogue.get(network_name)
    async with container.lock:
        _require_present(container)
        known = _default_named(container)
        names = {network.name, network.id} & known.keys()
        if not names and not force:
            raise Forbidden(f"container {container.id} is not connected to network {network.name}")
        if network.driver == "host":
            raise Forbidden("container cannot be disconnected from host network or connected to host network")
        if is_running(container.state):
            before = engine.networks.texts(container.id, _request(engine, container))
            with endpoints.network_namespace(container) as namespace:
                await engine.networks.detach(container.id, namespace, network.id)
            await asyncio.to_thread(_rewrite, engine, container, before)
        await _save(engine, container, {name: asked for name, asked in known.items() if name not in names})


def _request(engine: "Engine", container: Container) -> EndpointRequest:
    linked = links.hosts(engine, links.present(engine, container))
    return endpoints.request(
        container.name, container.config, container.host_config, container.endpoints, linked=linked
    )


def _rewrite(engine: "Engine", container: Container, before: tuple[str, str]) -> None:
    """Bring hosts and resolv.conf up to date, unless somebody has edited them: then they are the container's own."""
    after = engine.networks.texts(container.id, _request(engine, container))
    for name, old, new in zip(("hosts", "resolv.conf"), before, after, strict=True):
        # In place: the file itself is what is mounted in the container.
        with open(container.directory / name, "r+", encoding="utf-8", errors="replace") as file:
            if file.read(len(old) + 1) == old:
                file.seek(0)
                file.truncate()
                file.write(new)


def _require_present(container: Container) -> None:
    if container.state in (State.REMOVING, State.DEAD):
        raise Conflict(
            f"container {container.id} is marked for removal and cannot be connected or disconnected to the network"
        )


def _default_named(container: Container) -> dict[str, EndpointSettings]:
    """Its networks, the default bridge among them by its name."""
    return {("bridge" if name == "default" else name): asked for name, asked in container.endpoints.items()}


async def _save(engine: "Engine", container: Container, found: dict[str, EndpointSettings]) -> None:
    await engine.database.write(lambda connection: container_store.update_endpoints(connection, container.id, found))
    container.endpoints = found
