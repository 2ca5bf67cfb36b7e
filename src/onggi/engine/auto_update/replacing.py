"""One container is replaced by a new one of another image, or nothing has happened.

start-first     the new one is made without ports and aliases, started, and found well; then the ports are handed over, in one
                step of the kernel's, the names change, and the old one is stopped and removed
stop-first      for those that can't run twice: the old one is stopped, the new one started and found well, the old one removed

Until REPLACED is written the old one counts: any failure, and a crash, lead back to it. From then on the new one does.
"""

import asyncio
import json
import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from onggi.engine import container_store
from onggi.engine.auto_update import renewal
from onggi.engine.auto_update.wishes import Order, Wishes
from onggi.engine.container import Container
from onggi.engine.container_config import NetworkingConfig
from onggi.engine.events import FILTERS
from onggi.engine.filters import Filters
from onggi.engine.health import DEFAULT_INTERVAL_NS, DEFAULT_RETRIES, DEFAULT_TIMEOUT_NS, SECOND_NS, HealthStatus
from onggi.engine.lifecycle import State, is_running
from onggi.errors import Conflict, NotFound, OnggiError
from onggi.images.image import Image
from onggi.state.journal import Intent, settle

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.auto_update")
REPLACING, REPLACED = "container replace", "container discard"
"""Intents. The subject of both: `OLD-ID NAME`; of REPLACED the ID is all that counts."""
_SLACK_S = 30.0
_NEWS = Filters.parse(json.dumps({"type": ["container"], "event": ["health_status", "die", "destroy"]}), FILTERS)


class NotWell(OnggiError):
    """The new container was found not to be well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `name` is the old one's, and will be the new one's."""

    old: Container
    image: Image
    before: Image
    name: str
    order: Order
    settle_s: float

    @property
    def place(self) -> str:
        """What the new one is called until it has the name; the old one afterwards."""
        return f"{self.name}.{self.old.id[:8]}"


def plan(engine: "Engine", old: Container, image: Image, wishes: Wishes) -> Plan:
    """Raises Conflict for a container that can't be replaced."""
    if old.host_config.auto_remove:
        raise Conflict("a container with --rm is not replaced: it goes when it is stopped")
    for other in engine.containers.all():
        host = other.host_config
        if f"container:{old.id}" in (host.network_mode, host.pid_mode, host.ipc_mode):
            raise Conflict(f"the container {other.name} shares a namespace with it, and would lose it")
    before = engine.images.get(old.image_id)
    return Plan(old, image, before, old.name, wishes.order or order_of(old), wishes.settle_s)


def order_of(container: Container) -> Order:
    """Stop-first where two can't be at once: the same address, or data that both would write."""
    host = container.host_config
    fixed = any(
        asked.mac_address or (asked.ipam_config and asked.ipam_config.ipv4_address)
        for asked in container.endpoints.values()
    )
    writes = any(point.rw and point.type in ("bind", "volume") for point in container.mounts)
    shares = host.network_mode == "host" or host.network_mode.startswith("container:")
    return Order.STOP_FIRST if fixed or writes or shares or container.config.mac_address else Order.START_FIRST


async def carry_out(engine: "Engine", plan: Plan) -> Container:
    """Returns the new container, which runs under the name. Raises OnggiError when the old one had to stay.

    Call it by `Engine.run`, so that nobody cancels it in the middle.
    """
    old = plan.old
    intent = await engine.journal.record(REPLACING, f"{old.id} {plan.name}")
    try:
        new = await _make(engine, plan)
        if plan.order is Order.STOP_FIRST:
            await engine.containers.stop(old.id)
            await _swap_names(engine, plan, new)
        await engine.containers.start(new.id)
        await _be_well(engine, new, plan.settle_s)
        if plan.order is Order.START_FIRST:
            await _hand_over(engine, plan, new)
    except BaseException:  # whatever it was: a half of a replacement must not stay
        await go_back(engine, intent)
        raise
    discard = await _commit(engine, intent)
    await finish(engine, discard)
    return new


async def _commit(engine: "Engine", intent: Intent) -> Intent:
    """From here on the new one counts."""
    discard = await engine.journal.record(REPLACED, intent.subject)
    await engine.database.write_short(lambda connection: settle(connection, intent))
    return discard


async def _make(engine: "Engine", plan: Plan) -> Container:
    old, first = plan.old, plan.order is Order.START_FIRST
    config = renewal.configuration(old.config, plan.before.config.container, old.id)
    host = renewal.with_volumes(old.host_config, old.mounts)
    new, _ = await engine.containers.create(
        plan.place,
        replace(config, image=old.image_name),
        renewal.without_ports(host) if first else host,
        NetworkingConfig(endpoints_config={**(renewal.without_aliases(old.endpoints) if first else old.endpoints)}),
    )
    if new.image_id != str(plan.image.id):
        raise Conflict("the image has moved on meanwhile: try again")
    return new


async def _be_well(engine: "Engine", container: Container, settle_s: float) -> None:
    """Until its health check says that it is well; without one, until it has run for `settle_s`. Raises NotWell."""
    config = container.config.healthcheck
    limit_s = settle_s
    if container.health is not None and config is not None:
        once = (config.interval or DEFAULT_INTERVAL_NS) + (config.timeout or DEFAULT_TIMEOUT_NS)
        limit_s = (config.start_period + once * ((config.retries or DEFAULT_RETRIES) + 1)) / SECOND_NS + _SLACK_S
    run = container.pid, container.pid_start
    try:
        async with (
            asyncio.timeout(limit_s),
            engine.events.subscribe(since_ns=None, until_ns=None, filters=_NEWS) as events,
        ):
            if not _settled(container, run):
                async for event in events:
                    if event.actor == container.id and _settled(container, run):
                        break
    except TimeoutError:
        if container.health is not None:
            raise NotWell(f"it was not healthy within {limit_s:.0f} s") from None
    _settled(container, run)


def _settled(container: Container, run: tuple[int, int]) -> bool:
    """True when there is nothing to wait for any more. Raises NotWell."""
    if (
        (container.pid, container.pid_start) != run
        or not is_running(container.state)
        or container.state is State.RESTARTING
    ):
        raise NotWell(f"it ended with exit code {container.exit_code}")
    if container.health is None:
        return False
    if container.health.status == HealthStatus.UNHEALTHY:
        said = container.health.log[-1].output.strip()[-200:] if container.health.log else ""
        raise NotWell(f"its health check says that it is not well{': ' if said else ''}{said}")
    return container.health.status == HealthStatus.HEALTHY


async def _hand_over(engine: "Engine", plan: Plan, new: Container) -> None:
    """What comes from now on comes to the new one."""
    old = plan.old
    if not is_running(old.state):
        raise Conflict("the old container has been stopped meanwhile")
    async with old.lock, new.lock:
        if _publishes(engine, old):
            await engine.networks.hand_over(old.id, new.id)
        published, asked = old.host_config, old.endpoints
        new.host_config = replace(
            new.host_config, port_bindings=published.port_bindings, publish_all_ports=published.publish_all_ports
        )
        new.endpoints = asked

        def save(connection: sqlite3.Connection) -> None:
            container_store.update_host_config(connection, new.id, new.host_config)
            container_store.update_endpoints(connection, new.id, asked)

        await engine.database.write_short(save)
    await _swap_names(engine, plan, new)


def _publishes(engine: "Engine", container: Container) -> bool:
    return any(endpoint.ports for endpoint in engine.networks.endpoints(container.id))


async def _swap_names(engine: "Engine", plan: Plan, new: Container) -> None:
    old = plan.old
    await engine.containers.rename(new.id, f"{plan.name}.{new.id[:8]}")
    await engine.containers.rename(old.id, plan.place)
    await engine.containers.rename(new.id, plan.name)
    await engine.networks.rename(old.id, plan.place, {})
    await engine.networks.rename(new.id, plan.name, renewal.aliases(new.endpoints))


def _heirs(engine: "Engine", old_id: str, name: str) -> list[Container]:
    """Whatever was made to take the place of `old_id`, by what it is called."""
    marks = {name, f"{name}.{old_id[:8]}"}
    return [
        container for container in engine.containers.all()
        if container.id != old_id and (container.name in marks or container.name == f"{name}.{container.id[:8]}")
    ]  # fmt: skip


async def go_back(engine: "Engine", intent: Intent) -> None:
    """The old container is what it was; nothing is left of a new one. Also after a crash, at any step."""
    old_id, name = intent.subject.split(" ", 1)
    try:
        old = engine.containers.get(old_id)
    except NotFound:
        await engine.database.write_short(lambda connection: settle(connection, intent))
        return  # somebody has removed it: what there is is theirs
    for heir in _heirs(engine, old_id, name):
        if is_running(old.state) and is_running(heir.state) and _publishes(engine, heir):
            await engine.networks.hand_over(heir.id, old.id)
        await engine.containers.remove(heir.id, force=True, volumes=False)
    if old.name != name:
        await engine.containers.rename(old.id, name)
    await engine.networks.rename(old.id, name, renewal.aliases(old.endpoints))
    if not is_running(old.state):
        await engine.containers.start(old.id)
    await engine.database.write_short(lambda connection: settle(connection, intent))


async def finish(engine: "Engine", intent: Intent) -> None:
    """The old container goes, in its own time to stop."""
    old_id = intent.subject.split(" ", 1)[0]
    try:
        if is_running(engine.containers.get(old_id).state):
            await engine.containers.stop(old_id)
        await engine.containers.remove(old_id, force=True, volumes=False)
    except NotFound:
        pass  # done before a crash
    await engine.database.write_short(lambda connection: settle(connection, intent))
