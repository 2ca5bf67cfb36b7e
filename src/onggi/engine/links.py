"""`--link` on the default bridge: another container by an alias, in /etc/hosts and in the environment.

    docker run --link db:store web      web finds db as "store", and STORE_PORT_5432_TCP and so on in its environment

A link is stored with the linked container's ID (`ID/NAME:ALIAS`), so that renaming it changes nothing; it is shown as
Docker shows it, `/db:/web/store`. On networks of one's own links are aliases, which the resolver answers (see `network`).
Source: moby daemon/links.go, daemon/links/links.go.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from onggi.engine import container_store
from onggi.engine.container import Container
from onggi.engine.container_config import EndpointSettings, HostConfig
from onggi.engine.lifecycle import is_running
from onggi.errors import InvalidParameter, NotFound, System, Unsupported

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_ALIAS = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_OF_THE_IMAGE = frozenset({"HOME", "PATH"})
_HOSTS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a container: to whom, and by which name."""

    container: Container
    alias: str


def parse(text: str) -> tuple[str, str]:
    """`NAME[:ALIAS]` → name, alias. Raises InvalidParameter with Docker's sentence."""
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise InvalidParameter(f"bad format for links: {text}")
    if name.startswith("/"):  # as inspect shows them: /db:/web/store
        name, alias = name[1:], alias.rpartition("/")[2]
    alias = alias or name
    if not _ALIAS.fullmatch(alias):
        raise InvalidParameter(f"invalid link alias: {alias!r}")
    return name, alias


def resolve(
    engine: "Engine", host: HostConfig, endpoints: dict[str, EndpointSettings]
) -> tuple[HostConfig, dict[str, EndpointSettings]]:
    """What `create` was asked for, with IDs for names; for a network of one's own moved to its endpoint.

    Raises InvalidParameter and NotFound with Docker's sentences.
    """
    if not host.links:
        return host, endpoints
    wanted = [parse(text) for text in host.links]
    mode = host.network_mode
    if mode == "host" or mode.startswith("container:"):
        kind = "host type networking" if mode == "host" else "container type network"
        raise InvalidParameter(
            f"conflicting options: {kind} can't be used with links. This would result in undefined behavior"
        )
    if mode not in ("bridge", "none"):
        asked = endpoints.get(mode, EndpointSettings())
        moved = replace(asked, links=[*(asked.links or ()), *(f"{name}:{alias}" for name, alias in wanted)])
        return replace(host, links=None), {**endpoints, mode: moved}
    found = []
    for name, alias in wanted:
        try:
            other = engine.containers.get(name)
        except NotFound as error:
            raise InvalidParameter(f"could not get container for {name}: {error}") from error
        if other.host_config.network_mode == "host":
            raise InvalidParameter(
                "conflicting options: host type networking can't be used with links. This would result in undefined "
                "behavior"
            )
        found.append(f"{other.id}/{other.name}:{alias}")
    return replace(host, links=found), endpoints


def _of(engine: "Engine", container: Container) -> Iterator[tuple[str, str, Container | None]]:
    """Name, alias and, unless it has been removed, the container of each link."""
    for text in container.host_config.links or ():
        linked, _, alias = text.partition(":")
        linked_id, _, name = linked.partition("/")
        try:
            other = engine.containers.get(linked_id)
        except NotFound:
            yield name, alias, None
        else:
            yield other.name, alias, other


def shown(engine: "Engine", container: Container) -> list[str] | None:
    """HostConfig.Links as `inspect` shows them; None: there are none."""
    return [f"/{name}:/{container.name}/{alias}" for name, alias, _ in _of(engine, container)] or None


def names(engine: "Engine") -> dict[str, list[str]]:
    """Container ID → the further names that links give it: `web/store`."""
    found: dict[str, list[str]] = {}
    for container in engine.containers.linking():
        for _, alias, other in _of(engine, container):
            if other is not None:
                found.setdefault(other.id, []).append(f"{container.name}/{alias}")
    return found


def running(engine: "Engine", container: Container) -> list[Link]:
    """The links of a container that starts. Raises System in Docker's words when one can't be had; Unsupported."""
    found = []
    for name, alias, other in _of(engine, container):
        if other is None or not is_running(other.state):
            raise System(f"Cannot link to a non running container: /{name} AS /{container.name}/{alias}")
        if not address(engine, other):
            raise System(f"Cannot link to /{other.name}, as it does not belong to the default network")
        if not engine.settings.icc:
            raise Unsupported(
                "--link is not supported by Onggi where containers must not talk (--icc=false): connect both containers "
                "to a network of their own"
            )
        found.append(Link(other, alias))
    return found


def present(engine: "Engine", container: Container) -> list[Link]:
    """The links of a running container, as far as the others run."""
    return [
        Link(other, alias) for _, alias, other in _of(engine, container) if other is not None and address(engine, other)
    ]


def address(engine: "Engine", container: Container) -> str:
    """A container's address on the default bridge; "" when it is not there."""
    return next(
        (endpoint.address for endpoint in engine.networks.endpoints(container.id) if endpoint.network_name == "bridge"),
        "",
    )


def host_names(link: Link) -> str:
    """By what a linked container is known in /etc/hosts."""
    own = [] if link.alias == link.container.name else [link.container.name]
    return " ".join([link.alias, link.container.config.hostname, *own])


def hosts(engine: "Engine", links: list[Link]) -> list[tuple[str, str]]:
    """Lines for /etc/hosts: address, names."""
    return [(address(engine, link.container), host_names(link)) for link in links]


def environment(engine: "Engine", container: Container, links: list[Link]) -> list[str]:
    """The variables that tell of the linked containers, in Docker's order."""
    found: list[str] = []
    for link in links:
        prefix = link.alias.upper().replace("-", "_")
        found += _ports(prefix, address(engine, link.container), list(link.container.config.exposed_ports or ()))
        found.append(f"{prefix}_NAME=/{container.name}/{link.alias}")
        for entry in link.container.config.env or ():
            name, equals, value = entry.partition("=")
            if equals and name not in _OF_THE_IMAGE:
                found.append(f"{prefix}_ENV_{name}={value}")
    return found


def _ports(prefix: str, address: str, exposed: list[str]) -> list[str]:
    """Each exposed port, TCP first; of a run of neighbouring ones the first and the last are named once more."""
    split = [(protocol or "tcp", int(number)) for number, _, protocol in (port.partition("/") for port in exposed)]
    ports = sorted(split, key=lambda port: (port[0] != "tcp", port))
    found: list[str] = []
    start = end = ports[0] if ports else ("", 0)
    for at, (protocol, number) in enumerate(ports):
        url = f"{protocol}://{address}:{number}"
        one = f"{prefix}_PORT_{number}_{protocol.upper()}"
        if at == 0:
            found.append(f"{prefix}_PORT={url}")
        found += [f"{one}={url}", f"{one}_ADDR={address}", f"{one}_PORT={number}", f"{one}_PROTO={protocol}"]
        if (protocol, number - 1) == end:
            end = (protocol, number)
            if at + 1 < len(ports):
                continue
        if start != end:
            run = f"{prefix}_PORT_{start[1]}_{start[0].upper()}"
            found += [
                f"{run}_START={start[0]}://{address}:{start[1]}", f"{run}_PORT_START={start[1]}",
                f"{run}_END={end[0]}://{address}:{end[1]}", f"{run}_PORT_END={end[1]}",
            ]  # fmt: skip
        start = end = (protocol, number)
    return found


async def remove(engine: "Engine", name: str, alias: str) -> None:
    """`rm --link NAME/ALIAS`. Raises NotFound."""
    container = engine.containers.get(name)
    async with container.lock:
        host = container.host_config
        left = [text for text in host.links or () if text.partition(":")[2] != alias]
        if len(left) == len(host.links or ()):
            raise NotFound(f"No such container: {name}/{alias}")
        changed = replace(host, links=left or None)
        await engine.database.write(
            lambda connection: container_store.update_host_config(connection, container.id, changed)
        )
        container.host_config = changed


def find(engine: "Engine", name: str, alias: str) -> Container:
    """The container that a link `NAME/ALIAS` leads to. Raises NotFound."""
    for _, known, other in _of(engine, engine.containers.get(name)):
        if known == alias and other is not None:
            return other
    raise NotFound(f"No such container: {name}/{alias}")


async def tell(engine: "Engine", started: Container) -> None:
    """A container has started: running ones that are linked to it learn its address."""
    for container in engine.containers.linking():
        if not is_running(container.state):
            continue
        for link in present(engine, container):
            if link.container is started:
                line = (address(engine, started), host_names(link))
                await asyncio.to_thread(_rewrite, container, line)


def _rewrite(container: Container, line: tuple[str, str]) -> None:
    """Put an address before names that are in the container's hosts. In place: the file itself is what is mounted."""
    address, names = line
    try:
        with open(container.directory / "hosts", "r+", encoding="utf-8", errors="surrogateescape") as file:
            before = file.read(_HOSTS_BYTES + 1)
            if len(before) > _HOSTS_BYTES:
                return  # the container has made it its own
            after = re.sub(rf"(?m)^\S+\t{re.escape(names)}$", f"{address}\t{names}", before)
            if after != before:
                file.seek(0)
                file.truncate()
                file.write(after)
    except FileNotFoundError:
        return  # it has ended and been removed meanwhile
