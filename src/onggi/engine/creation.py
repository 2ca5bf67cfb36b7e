"""Making a container: from a request to a row, a snapshot, volumes and a directory."""

import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from onggi.engine import (
    capabilities,
    container_store,
    endpoints,
    links,
    names,
    own_labels,
    runtimes,
    unsupported,
    validation,
)
from onggi.engine.container import Container
from onggi.engine.container_config import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
    RestartPolicy,
    Ulimit,
)
from onggi.engine.container_spec import MASKED_PATHS, READONLY_PATHS, cgroup_path
from onggi.engine.ids import SHORT, new_id
from onggi.engine.image_defaults import merge
from onggi.engine.log_drivers import drivers
from onggi.engine.settings import Settings
from onggi.errors import InvalidParameter, NotFound
from onggi.images.image import Image
from onggi.oci.image import ImageContainerConfig
from onggi.oci.platform import Platform, suitability
from onggi.runtime.host import Host
from onggi.state.journal import settle
from onggi.volumes.mount_point import MountPoint, MountRequest

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

CREATE = "container create"
"""The intent that tells of volumes made for a container whose row is not there yet."""


def _ulimit(text: str) -> Ulimit:
    """A default of the engine: NAME=SOFT[:HARD]."""
    name, _, value = text.partition("=")
    soft, _, hard = value.partition(":")
    return Ulimit(name, hard=int(hard or soft), soft=int(soft))


def complete(host: HostConfig, settings: Settings, cgroup_version: int) -> HostConfig:
    """HostConfig with Docker's defaults filled in, as `inspect` shows it."""
    log = drivers.merge(host.log_config, settings.log_driver, settings.log_opts)
    swappiness = host.memory_swappiness
    security = host.security_opt
    if (host.privileged or host.pid_mode == "host" or host.ipc_mode == "host") and not any(
        option.startswith("label") for option in security or ()
    ):
        security = [*(security or ()), "label=disable"]
    systempaths = host.privileged or "systempaths=unconfined" in (security or ())
    ulimits = host.ulimits
    if settings.default_ulimits:
        given = {limit.name for limit in ulimits or ()}
        defaults = [_ulimit(text) for text in settings.default_ulimits]
        ulimits = [*(ulimits or ()), *(limit for limit in defaults if limit.name not in given)]
    return replace(
        host,
        log_config=log,
        network_mode="bridge" if host.network_mode in ("", "default") else host.network_mode,
        restart_policy=host.restart_policy if host.restart_policy.name else RestartPolicy("no"),
        cap_add=_capabilities(host.cap_add, "CapAdd"),
        cap_drop=_capabilities(host.cap_drop, "CapDrop"),
        ipc_mode=host.ipc_mode or "private",
        # A namespace of its own on either version, also where Docker keeps the host's (v1): less is shown inside.
        cgroupns_mode=host.cgroupns_mode or "private",
        shm_size=host.shm_size or settings.default_shm_size_bytes,
        security_opt=security,
        runtime=host.runtime or settings.default_runtime,
        memory_swap=host.memory * 2 if host.memory > 0 and host.memory_swap == 0 else host.memory_swap,
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=(host.oom_kill_disable or False) if cgroup_version == 1 else None,
        pids_limit=host.pids_limit if host.pids_limit and host.pids_limit > 0 else None,
        ulimits=ulimits,
        masked_paths=None if systempaths else MASKED_PATHS_LIST if host.masked_paths is None else host.masked_paths,
        readonly_paths=None
        if systempaths
        else READONLY_PATHS_LIST
        if host.readonly_paths is None
        else host.readonly_paths,
    )


def _capabilities(given: list[str] | str | None, option: str) -> list[str] | None:
    """In Docker's spelling: CAP_NET_ADMIN. Raises InvalidParameter for a name that is none."""
    if given is None:
        return None
    return capabilities.normalise([given] if isinstance(given, str) else given, option)


MASKED_PATHS_LIST, READONLY_PATHS_LIST = list(MASKED_PATHS), list(READONLY_PATHS)


def _without_what_the_kernel_lacks(host: HostConfig, kernel: Host, warnings: list[str]) -> HostConfig:
    """Limits that this kernel can't set are left out with Docker's warnings."""
    if host.memory > 0 and not kernel.swap_limit:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
        host = replace(host, memory_swap=-1)
    if host.oom_kill_disable and kernel.cgroup_version == 2:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    if not (host.blkio_weight or host.blkio_weight_device) or _weighs_block_io(kernel):
        return host
    for given, what in ((host.blkio_weight, "Block I/O weight"), (host.blkio_weight_device, "Block I/O weight_device")):
        if given:
            word = "Weight-device" if what.endswith("device") else "Weight"
            warnings.append(f"Your kernel does not support {what} or the cgroup is not mounted. {word} discarded.")
    return replace(host, blkio_weight=0, blkio_weight_device=[])


def _weighs_block_io(kernel: Host) -> bool:
    if kernel.cgroup_version == 2:
        return "io" in kernel.controllers
    return any(os.path.exists(f"/sys/fs/cgroup/blkio/{name}") for name in ("blkio.weight", "blkio.bfq.weight"))


def _named(config: ContainerConfig, host: HostConfig, container_id: str) -> ContainerConfig:
    """With the host name that the container will have."""
    hostname = config.hostname
    if not hostname:
        hostname = os.uname().nodename if host.network_mode == "host" else container_id[:SHORT]
    return replace(config, hostname=hostname, cmd=config.command, entrypoint=config.entry)


def _asked(networking: NetworkingConfig, mode: str, mac_address: str) -> dict[str, EndpointSettings]:
    """What is asked of each network by its name; the one that the mode names is always among them.

    `mac_address` is the container-wide one of old: it is meant for that network.
    """
    given = {
        ("bridge" if name == "default" else name): settings or EndpointSettings()
        for name, settings in (networking.endpoints_config or {}).items()
    }
    if mode.startswith("container:"):
        return {}
    named = given.get(mode, EndpointSettings())
    if mac_address and not named.mac_address:
        named = replace(named, mac_address=mac_address)
    return {**given, mode: named} if mode in given else {mode: named, **given}


def _inherited(engine: "Engine", sources: Sequence[str]) -> list[tuple[Sequence[MountPoint], str]]:
    """For each --volumes-from the other container's mounts and the mode. Raises InvalidParameter as Docker does."""
    found: list[tuple[Sequence[MountPoint], str]] = []
    for source in sources:
        name, _, mode = source.partition(":")
        try:
            found.append((engine.containers.get(name).mounts, mode))
        except NotFound as error:
            raise InvalidParameter(str(error)) from error
    return found


def _check_joined(engine: "Engine", host: HostConfig) -> HostConfig:
    """`container:NAME` modes are stored with the container's ID, so that renaming it changes nothing.

    As in Docker a network may be shared with a container that comes only later; the other namespaces may not.
    """
    ids = []
    for mode in (host.ipc_mode, host.pid_mode, host.network_mode):
        if mode.startswith("container:"):
            try:
                mode = f"container:{engine.containers.get(mode.removeprefix('container:')).id}"
            except NotFound as error:
                if mode != host.network_mode:
                    raise InvalidParameter(str(error)) from error
        ids.append(mode)
    return replace(host, ipc_mode=ids[0], pid_mode=ids[1], network_mode=ids[2])


async def create(
    engine: "Engine",
    name: str,
    config: ContainerConfig,
    host: HostConfig,
    networking: NetworkingConfig,
    *,
    platform: Platform | None,
) -> tuple[Container, list[str]]:
    """Make a container. Whatever fails, nothing of it is left. Returns it and warnings."""
    wanted = names.check(name) if name else ""
    image = engine.images.get(config.image) if config.image else None
    defaults = image.config.container if image else ImageContainerConfig()
    if image is not None and platform is not None and suitability(image.config.platform, platform) is None:
        raise NotFound(
            f"image with reference {config.image} was found but does not provide the specified platform ({platform})"
        )
    unsupported.check_config(config)
    validation.check_restart_policy(host.restart_policy)
    warnings: list[str] = []
    host = _without_what_the_kernel_lacks(host, engine.host, warnings)
    host = complete(host, engine.settings, engine.host.cgroup_version)
    unsupported.check_host_config(host)
    runtimes.program(host.runtime, engine.settings)
    warnings += validation.check_host_config(config, host)
    merged = merge(config, defaults)
    validation.check_config(merged)
    if merged.labels:
        own_labels.check(merged.labels)
    host = _check_joined(engine, host)

    container_id = new_id()
    merged = _named(merged, host, container_id)
    asked = _asked(networking, host.network_mode, merged.mac_address)
    host, asked = links.resolve(engine, host, asked)
    with engine.containers.reserve(wanted, container_id) as wanted:
        engine.networks.check(endpoints.request(wanted, merged, host, asked))
        container = Container(
            id=container_id,
            name=wanted,
            created_at=datetime.now(UTC),
            image_id=str(image.id) if image else "",
            image_name=config.image,
            config=merged,
            host_config=host,
            endpoints=asked,
            directory=engine.settings.data_root / "containers" / container_id,
        )
        cgroup_path(container, engine.settings)
        await _make(engine, container, image)
        engine.containers.add(container)
    engine.events.publish("container", "create", container.id, container.attributes())
    return container, warnings


async def _make(engine: "Engine", container: Container, image: Image | None) -> None:
    """Volumes, snapshot, row, in this order; after a failure or a crash none of them stays.

    A snapshot without a row is found at the engine's start by itself; volumes are made for ever, so that an intent must
    tell of them.
    """
    intent = None
    if _wants_mounts(container):
        intent = await engine.journal.record(CREATE, container.id)

    def save(connection: sqlite3.Connection) -> None:
        container_store.insert(connection, container)
        if intent is not None:
            settle(connection, intent)

    try:
        if intent is not None:
            container.mounts = await _mounts(engine, container)
        root = await engine.snapshots.prepare(container.id, image, _mounted_images(engine, container))
        if container.mounts:
            await engine.volumes.populate(container.id, container.mounts, root)
        await engine.database.write_short(save)
    except BaseException:
        await clear_away(engine, container.id)
        if intent is not None:
            done = intent
            await engine.database.write_short(lambda connection: settle(connection, done))
        raise


def _mounted_images(engine: "Engine", container: Container) -> dict[str, Image]:
    """Those of `--mount type=image`, by their place in the container. Raises NoSuchImage."""
    return {point.destination: engine.images.get(point.name) for point in container.mounts if point.type == "image"}


def _wants_mounts(container: Container) -> bool:
    host = container.host_config
    return bool(host.binds or host.mounts or host.tmpfs or host.volumes_from or container.config.volumes)


async def _mounts(engine: "Engine", container: Container) -> tuple[MountPoint, ...]:
    host = container.host_config
    return await engine.volumes.resolve(
        container.id,
        binds=host.binds or (),
        mounts=[msgspec.convert(mount.document(), MountRequest) for mount in host.mounts or ()],
        tmpfs=host.tmpfs,
        declared=list(container.config.volumes or ()),
        inherited=_inherited(engine, host.volumes_from or ()),
        volume_driver=host.volume_driver,
    )


async def clear_away(engine: "Engine", container_id: str) -> None:
    """Undo a creation. Idempotent: also for one that a crash cut short."""
    await engine.volumes.forget(container_id, remove_anonymous=True)
    await engine.snapshots.remove(container_id)
