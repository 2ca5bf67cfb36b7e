"""A container's wishes as the network package takes them."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.engine import links
from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, EndpointSettings, HostConfig
from onggi.errors import Conflict, NotFound, Unsupported
from onggi.linux.fd import Fd
from onggi.network.endpoint import Attachment, Binding, EndpointRequest

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def attachment(network: str, asked: EndpointSettings) -> Attachment:
    """What was asked of one network."""
    addresses = asked.ipam_config
    if addresses and (addresses.ipv6_address or addresses.link_local_ips):
        raise Unsupported("IPv6 and link-local addresses for containers are not supported")
    return Attachment(
        network=network,
        aliases=tuple(asked.aliases or ()),
        links=tuple(asked.links or ()),
        ipv4_address=addresses.ipv4_address if addresses else "",
        mac_address=asked.mac_address,
        driver_options=asked.driver_opts or {},
        gateway_priority=asked.gw_priority,
    )


def request(
    name: str,
    config: ContainerConfig,
    host: HostConfig,
    endpoints: dict[str, EndpointSettings],
    *,
    namespace: Fd | None = None,
    linked: Sequence[tuple[str, str]] = (),
) -> EndpointRequest:
    """All wishes of a container, to be checked at `create` and to be met at `start`."""
    attachments: Sequence[Attachment] = [attachment(network, asked) for network, asked in endpoints.items()]
    ports = {
        port: [Binding(binding.host_ip, binding.host_port) for binding in bindings or ()]
        for port, bindings in (host.port_bindings or {}).items()
    }
    return EndpointRequest(
        name=name,
        mode="none" if config.network_disabled else host.network_mode,
        attachments=attachments,
        hostname=config.hostname,
        domainname=config.domainname,
        ports=ports,
        exposed=tuple(config.exposed_ports or ()),
        publish_all=host.publish_all_ports,
        extra_hosts=tuple(host.extra_hosts or ()),
        dns=tuple(host.dns or ()),
        dns_search=tuple(host.dns_search or ()),
        dns_options=tuple(host.dns_options or ()),
        mac_address=config.mac_address,
        linked_hosts=linked,
        namespace=namespace,
    )


def endpoint_request(engine: "Engine", container: Container) -> EndpointRequest:
    """The wishes at a start. A namespace in it belongs to the caller."""
    mode = container.host_config.network_mode
    namespace = None
    if mode.startswith("container:"):
        try:
            other = engine.containers.get(mode.removeprefix("container:"))
        except NotFound as error:
            raise NotFound(f"joining network namespace of container: {error}") from error
        namespace = network_namespace(other)
    has_links = container.host_config.links and mode == "bridge"
    linked = links.hosts(engine, links.running(engine, container)) if has_links else ()
    return request(
        container.name,
        container.config,
        container.host_config,
        container.endpoints,
        namespace=namespace,
        linked=linked,
    )


def network_namespace(container: Container) -> Fd:
    """The network namespace a running container lives in; the caller owns the descriptor."""
    not_running = Conflict(
        f"cannot join network namespace of a non running container: container {container.name} is {container.state}"
    )
    if not container.pid:
        raise not_running
    try:
        return Fd(os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise not_running from None
