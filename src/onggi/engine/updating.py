"""What can be changed of a container that exists: its name, its limits, its restart policy."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from onggi.engine import container_store, names, resources, validation
from onggi.engine.container import Container
from onggi.engine.container_config import HostConfig, Resources, RestartPolicy
from onggi.engine.lifecycle import State, Verb, require
from onggi.errors import Conflict, InvalidParameter
from onggi.runtime.process import NotRunning

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_FIXED = ("cgroup_parent", "devices", "device_cgroup_rules", "device_requests", "ulimits", "blkio_weight_device")
"""Limits that Docker ignores in an update; we say so."""


async def rename(engine: "Engine", container: Container, new_name: str) -> None:
    if not new_name:
        raise InvalidParameter("Neither old nor new names may be empty")
    try:
        wanted = names.check("/" + new_name.removeprefix("/"))
    except InvalidParameter as error:
        raise InvalidParameter(f"Error when allocating new name: {error}") from error
    if wanted == container.name:
        raise InvalidParameter("Renaming a container with the same name as its current name")
    async with container.lock:
        require(container, Verb.RENAME)
        old = container.name
        with engine.containers.reserve_rename(wanted, container):
            await engine.database.write(
                lambda connection: container_store.update_name(connection, container.id, wanted)
            )
            container.name = wanted
        await engine.networks.rename(container.id, wanted)
    engine.events.publish("container", "rename", container.id, container.attributes(oldName=f"/{old}"))


def _changed(host: HostConfig, asked: Resources, policy: RestartPolicy | None) -> HostConfig:
    """`host` with what was given; 0, "" and None mean "as it is". Raises InvalidParameter with Docker's sentences."""
    given: dict[str, Any] = {name: value for name in Resources.__struct_fields__ if (value := getattr(asked, name))}
    for name in _FIXED:
        if given.get(name):
            raise InvalidParameter(f"{name.replace('_', ' ')} can't be updated: make a new container with it")
    if asked.memory and not asked.memory_swap and host.memory_swap > 0 and asked.memory > host.memory_swap:
        raise InvalidParameter(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if host.nano_cpus and (asked.cpu_period or asked.cpu_quota) and not asked.nano_cpus:
        what = "CPU Period" if asked.cpu_period else "CPU Quota"
        raise InvalidParameter(f"Conflicting options: {what} cannot be updated as NanoCPUs has already been set")
    if asked.nano_cpus and (host.cpu_period or host.cpu_quota):
        what = "CPU period" if host.cpu_period else "CPU quota"
        raise InvalidParameter(f"Conflicting options: Nano CPUs cannot be updated as {what} has already been set")
    if asked.memory_swappiness == -1:
        given.pop("memory_swappiness", None)
    if policy is not None and policy.name:
        if host.auto_remove:
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
        validation.check_restart_policy(policy)
        given["restart_policy"] = policy
    if given.get("pids_limit", 1) < 0:
        given["pids_limit"] = None
    return replace(host, **given)


async def update(engine: "Engine", container: Container, asked: Resources, policy: RestartPolicy | None) -> list[str]:
    async with container.lock:
        require(container, Verb.UPDATE)
        try:
            changed = _changed(container.host_config, asked, policy)
        except Conflict as error:
            raise Conflict(f"Cannot update container {container.id}: {error}") from error
        warnings = validation.check_resources(changed)
        if container.state in (State.RUNNING, State.PAUSED):
            try:
                await engine.runtime.update(container.id, resources.limits(changed))
            except NotRunning:
                pass  # it has just ended: the limits are there when it starts again
            except OSError as error:
                raise Conflict(f"Cannot update container {container.id}: {error.strerror}") from error
        await engine.database.write(
            lambda connection: container_store.update_host_config(connection, container.id, changed)
        )
        container.host_config = changed
    engine.events.publish("container", "update", container.id, container.attributes())
    return warnings
