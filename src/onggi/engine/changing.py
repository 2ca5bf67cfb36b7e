"""What Docker fixes for good when a container is made, and Onggi lets be changed: environment, labels, ports, mounts.

Labels count at once; published ports too, while the container runs on a bridge; the environment and mounts from the
next start on. (A part of POST /containers/{name}/update that only who asks for it sees.)
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from onggi.engine import container_store, endpoints, own_labels, validation
from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, DockerObject, HostConfig, Mount, PortBinding
from onggi.engine.lifecycle import State, Verb, require
from onggi.errors import Conflict, InvalidParameter, OnggiError, Unsupported
from onggi.network.endpoint import EndpointRequest
from onggi.network.joining import Connected
from onggi.network.publish import parse_container_port
from onggi.volumes.mount_point import MountPoint, MountRequest

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger(__name__)


class Changes(DockerObject, frozen=True):
    """What to add (an entry of the same name is replaced) and what to take away."""

    env: list[str] | None = None
    """NAME=VALUE."""
    env_remove: list[str] | None = None
    labels: dict[str, str] | None = None
    labels_remove: list[str] | None = None
    port_bindings: dict[str, list[PortBinding]] | None = None
    """As in HostConfig: "80/tcp" and where on the host."""
    ports_remove: list[str] | None = None
    """Ports of the container, "80/tcp"."""
    binds: list[str] | None = None
    mounts: list[Mount] | None = None
    mounts_remove: list[str] | None = None
    """Paths in the container."""


async def change(engine: "Engine", container: Container, asked: Changes) -> list[str]:
    """Returns warnings: what does not apply yet. Raises InvalidParameter, Conflict; then nothing is changed."""
    async with container.lock:
        require(container, Verb.UPDATE)
        runs = container.state in (State.RUNNING, State.PAUSED)
        config = _configured(container.config, asked)
        host = _published(container.host_config, asked)
        kept, gone = _without(container.mounts, asked.mounts_remove or ())
        host = replace(host, binds=_binds_left(host, gone), mounts=_mounts_left(host, gone))
        request = endpoints.request(container.name, config, host, container.endpoints)
        engine.networks.check(request)
        validation.check_config(config)
        own_labels.check(config.labels or {})
        warnings = validation.check_host_config(config, host)
        added = await _resolve(engine, container, asked, kept)
        host = replace(
            host, binds=[*(host.binds or ()), *(asked.binds or ())] or None,
            mounts=[*(host.mounts or ()), *(asked.mounts or ())] or None,
        )  # fmt: skip
        before = container.config, container.host_config, container.mounts
        connected = None
        try:
            if runs and host.port_bindings != container.host_config.port_bindings:
                request = _publishing(container, config, host)
                connected = engine.networks.connected(container.id)
                await engine.networks.republish(container.id, request)
            container.config, container.host_config, container.mounts = config, host, (*kept, *added)
            await engine.database.write(lambda connection: container_store.update_configuration(connection, container))
        except BaseException:
            # Also for who cancels in the middle: what the request changed must not outlive its refusal.
            container.config, container.host_config, container.mounts = before
            if connected is not None:
                await _publish_as_before(engine, container, connected)
            await _undo(engine, container, added)
            raise
        if not runs:
            await _leave(engine, container, gone)
    engine.events.publish("container", "update", container.id, container.attributes())
    if runs:
        warnings += _not_yet(asked, gone)
    return warnings


def _not_yet(asked: Changes, gone: Sequence[MountPoint]) -> Iterable[str]:
    if asked.env or asked.env_remove:
        yield "The environment is changed from the container's next start on."
    if asked.binds or asked.mounts or gone:
        yield "Mounts are changed from the container's next start on."


def _configured(config: ContainerConfig, asked: Changes) -> ContainerConfig:
    env = {entry.partition("=")[0]: entry for entry in config.env or ()}
    for name in asked.env_remove or ():
        if env.pop(name, None) is None:
            raise InvalidParameter(f"the container has no environment variable {name}")
    for entry in asked.env or ():
        name, equals, _ = entry.partition("=")
        if not name or not equals:
            raise InvalidParameter(f"invalid environment variable: {entry}")
        env[name] = entry
    labels = dict(config.labels or {})
    for name in asked.labels_remove or ():
        if labels.pop(name, None) is None:
            raise InvalidParameter(f"the container has no label {name}")
    exposed: dict[str, Any] = {_port(text): {} for text in asked.port_bindings or ()}
    return replace(
        config,
        env=list(env.values()),
        labels=labels | (asked.labels or {}),
        exposed_ports={**(config.exposed_ports or {}), **exposed} or None,
    )


def _port(text: str) -> str:
    first, last, protocol = parse_container_port(text)
    if first != last:
        raise InvalidParameter(f"invalid port specification: {text}")
    return f"{first}/{protocol}"


def _published(host: HostConfig, asked: Changes) -> HostConfig:
    bindings = dict(host.port_bindings or {})
    for text in asked.ports_remove or ():
        if _port(text) not in bindings:
            raise InvalidParameter(f"port {_port(text)} of the container is not published")
        del bindings[_port(text)]
    for text, rows in (asked.port_bindings or {}).items():
        # A further place on the host; the same one again changes nothing.
        had = bindings.get(_port(text)) or []
        bindings[_port(text)] = [*had, *(row for row in rows if row not in had)]
    return replace(host, port_bindings=bindings)


def _without(
    points: Sequence[MountPoint], destinations: Sequence[str]
) -> tuple[tuple[MountPoint, ...], tuple[MountPoint, ...]]:
    """The mounts that stay, and those that go."""
    wanted = {text.rstrip("/") or "/" for text in destinations}
    for text in sorted(wanted - {point.destination for point in points}):
        raise InvalidParameter(f"nothing is mounted on {text}")
    return (
        tuple(point for point in points if point.destination not in wanted),
        tuple(point for point in points if point.destination in wanted),
    )


def _binds_left(host: HostConfig, gone: Sequence[MountPoint]) -> list[str] | None:
    paths = {point.destination for point in gone}
    return [bind for bind in host.binds or () if _target(bind) not in paths] or None


def _target(bind: str) -> str:
    """Of SOURCE:TARGET[:MODE], or of TARGET alone."""
    words = bind.split(":")
    return words[1] if len(words) > 1 else words[0]


def _mounts_left(host: HostConfig, gone: Sequence[MountPoint]) -> list[Mount] | None:
    paths = {point.destination for point in gone}
    return [mount for mount in host.mounts or () if mount.target.rstrip("/") not in paths] or None


async def _resolve(
    engine: "Engine", container: Container, asked: Changes, kept: Sequence[MountPoint]
) -> tuple[MountPoint, ...]:
    """The mounts that are added: their volumes are made, and filled from the image."""
    if not (asked.binds or asked.mounts):
        return ()
    if any(mount.type == "image" for mount in asked.mounts or ()):
        raise Unsupported("an image can't be mounted in a container that is there already: make a new one with it")
    requests = [msgspec.convert(mount.document(), MountRequest) for mount in asked.mounts or ()]
    added = await engine.volumes.resolve(container.id, binds=asked.binds or (), mounts=requests)
    taken = {point.destination for point in kept} & {point.destination for point in added}
    if taken:
        await _undo(engine, container, added)
        raise Conflict(f"something is mounted on {min(taken)} already: remove that mount at the same time")
    if container.state not in (State.RUNNING, State.PAUSED):
        await engine.volumes.populate(container.id, added, engine.snapshots.root(container.id))
    return added


async def _leave(engine: "Engine", container: Container, points: Iterable[MountPoint]) -> None:
    """Let go of the volumes of some mounts, unless another mount of the container has them."""
    needed = {point.name for point in container.mounts}
    await engine.volumes.leave(container.id, [point for point in points if point.name not in needed])


async def _undo(engine: "Engine", container: Container, added: Sequence[MountPoint]) -> None:
    """The mounts are not added after all: what was made for them alone goes, too."""
    await _leave(engine, container, added)
    for point in added:
        if point.type == "volume" and point.anonymous:
            await engine.volumes.remove(point.name, force=True)


def _publishing(container: Container, config: ContainerConfig, host: HostConfig) -> EndpointRequest:
    mode = host.network_mode
    if mode in ("none", "host") or mode.startswith("container:"):
        raise Conflict(f"ports of a container in network mode {mode} can't be published")
    return endpoints.request(container.name, config, host, container.endpoints)


async def _publish_as_before(engine: "Engine", container: Container, connected: Connected) -> None:
    try:
        await engine.networks.publish_as_before(container.id, connected)
    except (OnggiError, OSError, sqlite3.Error) as error:
        # The rules are as they were by now, but for a port that somebody has taken; what could not be written down is
        # found again at the next start.
        log.error("container %s: its ports as they were: %s", container.id[:12], error)
