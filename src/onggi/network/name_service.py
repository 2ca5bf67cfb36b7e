"""What the embedded resolver is told of the containers that may ask it, and of those that have names."""

from collections.abc import Callable, Mapping

from onggi.linux.fd import Fd
from onggi.network.catalogue import Catalogue
from onggi.network.endpoint import Endpoint
from onggi.network.joining import Connected, linked_names, name_entries, resolving_networks, upstream
from onggi.network.resolver_client import ResolverClient, ResolverProcess
from onggi.network.sandbox import NamespaceThread, Ready


class NameService:
    """Names for the containers on user-defined networks; the others ask their resolv.conf's servers."""

    def __init__(
        self,
        resolver: ResolverProcess,
        catalogue: Catalogue,
        thread: NamespaceThread,
        active: Callable[[str], Mapping[str, Endpoint]],
    ) -> None:
        """`active` tells who is on a network; its owner enters and leaves `resolver` and `thread`."""
        self._resolver = resolver
        self._catalogue = catalogue
        self._thread = thread
        self._active = active

    async def find(self, containers: Mapping[str, Connected]) -> None:
        """Go on with the resolver of the engine before, for the containers that were there."""
        served = {
            container_id: ResolverClient(resolving_networks(connected), upstream(connected), self._own_names(), None)
            for container_id, connected in containers.items()
            if resolving_networks(connected)
        }
        entries = {
            (container_id, entry.network_id): entry
            for container_id in served
            for entry in name_entries(containers[container_id], self._catalogue.segments)
        }
        await self._resolver.find(served, entries)

    async def mend(self, container_id: str, namespace: Fd, connected: Connected) -> None:
        """Serve a running container again, should the resolver have ended."""
        if resolving_networks(connected) and not self._resolver.serves(container_id):
            await self.serve(container_id, Ready(namespace, None), connected)

    async def serve(self, container_id: str, ready: Ready, connected: Connected) -> None:
        """Open the embedded resolver inside, or tell it of other networks and names."""
        if self._resolver.serves(container_id):
            await self.change(container_id, connected)
            return
        sockets = ready.resolver or await self._thread.open_resolver(ready.namespace)
        ready.resolver = None  # the client's from now on
        names = self._own_names() | linked_names(connected, self._active)
        client = ResolverClient(resolving_networks(connected), upstream(connected), names, sockets)
        await self._resolver.open(container_id, client, name_entries(connected, self._catalogue.segments))

    async def change(self, container_id: str, connected: Connected) -> None:
        """Tell the resolver of the networks and names that a container has now."""
        entries = name_entries(connected, self._catalogue.segments)
        await self._resolver.change(container_id, resolving_networks(connected), entries)

    async def close(self, container_id: str) -> None:
        await self._resolver.close(container_id)

    def _own_names(self) -> dict[str, str]:
        """What every container on a user-defined network may ask for."""
        return dict.fromkeys(("host.docker.internal", "gateway.docker.internal"), str(self._catalogue.default.gateway))
