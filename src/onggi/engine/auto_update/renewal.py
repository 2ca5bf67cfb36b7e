"""What a new container is made of: what the user said of the old one, over what the new image says. Pure.

The engine keeps a container's configuration merged with its image's. What is just what the old image said is taken to be the
image's word, so that the new image's counts; all else is the user's. (As watchtower does it.)
"""

from typing import Any

from msgspec.structs import replace

from onggi.engine.container_config import ContainerConfig, EndpointSettings, HealthConfig, HostConfig, Mount
from onggi.oci.image import ImageContainerConfig
from onggi.volumes.mount_point import MountPoint


def configuration(config: ContainerConfig, image: ImageContainerConfig, container_id: str) -> ContainerConfig:
    """What the user gave. `image` is what the old image said."""
    entrypoint, cmd = config.entry, config.command
    same_entry = (entrypoint or None) == (image.entrypoint_words or None)
    if same_entry:
        entrypoint = None
        if (cmd or None) == (image.cmd_words or None):
            cmd = None
    env = [entry for entry in config.env or () if entry not in (image.env or ())]
    labels = {key: text for key, text in (config.labels or {}).items() if (image.labels or {}).get(key) != text}
    return replace(
        config,
        user="" if config.user == image.user else config.user,
        exposed_ports=_beside(config.exposed_ports, image.exposed_ports),
        env=env or None,
        cmd=cmd,
        entrypoint=entrypoint,
        healthcheck=_health(config.healthcheck, image),
        volumes=_beside(config.volumes, image.volumes),
        working_dir="" if config.working_dir == image.working_dir else config.working_dir,
        labels=labels or None,
        stop_signal="" if config.stop_signal == (image.stop_signal or "") else config.stop_signal,
        stop_timeout=None if config.stop_timeout == image.stop_timeout else config.stop_timeout,
        # The name that the engine made up from the ID; a name of its own stays.
        hostname="" if config.hostname == container_id[:12] else config.hostname,
    )


def _beside(given: dict[str, Any] | None, image: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: value for key, value in (given or {}).items() if key not in (image or {})} or None


def _health(given: HealthConfig | None, image: ImageContainerConfig) -> HealthConfig | None:
    check = image.healthcheck
    if given is None or check is None:
        return given

    def own(value: int, theirs: int) -> int:
        return 0 if value == theirs else value

    return HealthConfig(
        test=None if given.test == check.test else given.test,
        interval=own(given.interval, check.interval), timeout=own(given.timeout, check.timeout),
        start_period=own(given.start_period, check.start_period),
        start_interval=own(given.start_interval, check.start_interval), retries=own(given.retries, check.retries),
    )  # fmt: skip


def with_volumes(host: HostConfig, mounts: tuple[MountPoint, ...]) -> HostConfig:
    """The same mounts, anonymous volumes among them: what is in them stays with the service."""
    anonymous = {point.destination: point for point in mounts if point.type == "volume" and point.anonymous}
    told = []
    for mount in host.mounts or ():
        point = anonymous.pop(mount.target.rstrip("/"), None)
        told.append(replace(mount, source=point.name) if point is not None else mount)
    kept = [
        Mount(type="volume", source=point.name, target=point.destination, read_only=not point.rw)
        for point in anonymous.values()
    ]
    return replace(host, mounts=[*told, *kept] or None)


def without_ports(host: HostConfig) -> HostConfig:
    return replace(host, port_bindings={}, publish_all_ports=False)


def without_aliases(endpoints: dict[str, EndpointSettings]) -> dict[str, EndpointSettings]:
    return {network: replace(asked, aliases=None) for network, asked in endpoints.items()}


def aliases(endpoints: dict[str, EndpointSettings]) -> dict[str, list[str]]:
    return {network: list(asked.aliases or ()) for network, asked in endpoints.items()}
