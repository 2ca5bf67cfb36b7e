"""`network connect` and `disconnect`: a container's wishes change, and while it runs its links too."""

from typing import TYPE_CHECKING

from onggi.engine import container_store
from onggi.engine.container import Container
from onggi.engine.container_config import EndpointSettings
from onggi.engine.endpoints import attachment, network_namespace
from onggi.engine.lifecycle import State
from onggi.errors import Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def connect(engine: "Engine", container: Container, network: str, asked: EndpointSettings) -> None:
    """Put a container on one more network. Raises NotFound, Forbidden, InvalidParameter, Conflict."""
    found = engine.networks.catalogue.get(network)
    async with container.lock:
        _refuse_the_gone(container, "connected to")
        mode = container.host_config.network_mode
        if mode.startswith("container:") or mode == "host":
            raise Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any other "
                "network"
            )
        if container.state in (State.RUNNING, State.PAUSED):
            with network_namespace(container) as namespace:
                await engine.networks.attach(container.id, namespace, container.name, attachment(found.name, asked))
        await _save(engine, container, {**container.endpoints, found.name: asked})


async def disconnect(engine: "Engine", container: Container, network: str, *, force: bool) -> None:
    """Take a container from a network. `force`: also when the network itself is gone."""
    async with container.lock:
        _refuse_the_gone(container, "disconnected from")
        try:
            found = engine.networks.catalogue.get(network)
            names = {found.name, found.id, network}
        except NotFound:
            if not force:
                raise
            names = {network}
        if container.state in (State.RUNNING, State.PAUSED):
            with network_namespace(container) as namespace:
                await engine.networks.detach(container.id, namespace, network)
        elif not names & container.endpoints.keys():
            raise Forbidden(f"container {container.id} is not connected to the network {network}")
        await _save(
            engine, container, {name: asked for name, asked in container.endpoints.items() if name not in names}
        )


def _refuse_the_gone(container: Container, what: str) -> None:
    if container.state in (State.REMOVING, State.DEAD):
        raise Conflict(f"Container {container.id} is marked for removal and cannot be {what} a network")


async def _save(engine: "Engine", container: Container, asked: dict[str, EndpointSettings]) -> None:
    await engine.database.write(lambda connection: container_store.update_endpoints(connection, container.id, asked))
    container.endpoints = asked
