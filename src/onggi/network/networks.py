"""The networks of one engine: bridges, the containers on them, and their names."""

from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network
from types import TracebackType
from typing import Protocol, Self

from onggi.errors import Unsupported
from onggi.linux.fd import Fd
from onggi.network.endpoint import Attachment, Binding, Endpoint, EndpointRequest, Sandbox
from onggi.state.database import Database

Publish = Callable[[str, str, str, Mapping[str, str]], None]
"""Type ("network"), action ("connect"), actor ID, attributes: `Events.publish`."""


class Pool(Protocol):
    @property
    def base(self) -> IPv4Network: ...
    @property
    def size(self) -> int: ...


class NetworkSettings(Protocol):
    """What is read of the engine's settings."""

    @property
    def bridge_name(self) -> str: ...
    @property
    def bip(self) -> IPv4Interface | None: ...
    @property
    def fixed_cidr(self) -> IPv4Network | None: ...
    @property
    def default_address_pools(self) -> Sequence[Pool]: ...
    @property
    def mtu(self) -> int: ...
    @property
    def ip_forward(self) -> bool: ...
    @property
    def icc(self) -> bool: ...
    @property
    def dns(self) -> Sequence[str]: ...
    @property
    def dns_search(self) -> Sequence[str]: ...
    @property
    def dns_options(self) -> Sequence[str]: ...


class Networks:
    """Enter it to make the default bridge and the pool of ready namespaces; leave it to stop refilling the pool.

    Containers that run keep their network when it is left.
    """

    def __init__(self, settings: NetworkSettings, database: Database, publish: Publish) -> None:
        self._settings = settings
        self._database = database
        self._publish = publish

    async def __aenter__(self) -> Self:
        raise Unsupported("networks are being written")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise Unsupported("networks are being written")

    def check(self, request: EndpointRequest) -> None:
        """Refuse at `create` what can never be connected: unknown network, bad address, port or host entry."""
        raise Unsupported("networks are being written")

    async def connect(self, container_id: str, request: EndpointRequest) -> Sandbox:
        """Give a container that is about to start its network. Undo it with `release`, also when the start fails."""
        raise Unsupported("networks are being written")

    async def release(self, container_id: str) -> None:
        """Take back addresses and published ports of a container that has stopped. Idempotent."""
        raise Unsupported("networks are being written")

    async def reconcile(self, running: Collection[str]) -> None:
        """After a start of the engine: keep what the running containers have, release all others."""
        raise Unsupported("networks are being written")

    def endpoints(self, container_id: str) -> Sequence[Endpoint]:
        """What a running container has; empty when it has stopped or uses no network of its own."""
        raise Unsupported("networks are being written")

    def ports(self, container_id: str) -> Mapping[str, Sequence[Binding]]:
        """NetworkSettings.Ports of a running container."""
        raise Unsupported("networks are being written")

    async def attach(self, container_id: str, namespace: Fd, name: str, attachment: Attachment) -> Endpoint:
        """`network connect` of a running container."""
        raise Unsupported("networks are being written")

    async def detach(self, container_id: str, namespace: Fd | None, network: str, *, force: bool) -> None:
        """`network disconnect` of a running container; without `namespace` only what the host has of it."""
        raise Unsupported("networks are being written")
