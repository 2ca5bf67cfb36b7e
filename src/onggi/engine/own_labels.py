"""What Docker does not offer, asked for by labels: any client, and Compose, can give them. None of them is on by itself.

    io.onggi.restart-unhealthy=true      end the container when it becomes unhealthy, and start it again
    io.onggi.depends-on=db:healthy,seed:completed,cache
                                         with the engine, start it after these
    io.onggi.wait-for-mounts=/srv,/data  with the engine, start it when these are mount points of the host
    io.onggi.exec-ends-with-client=true  what is exec'd in it ends when its last client has left

Those of auto-update are in `auto_update.wishes`. Compose's own label of a service's dependencies is understood as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from onggi.engine.auto_update import wishes
from onggi.engine.container import Container
from onggi.errors import InvalidParameter

RESTART_UNHEALTHY = "io.onggi.restart-unhealthy"
DEPENDS_ON = "io.onggi.depends-on"
WAIT_FOR_MOUNTS = "io.onggi.wait-for-mounts"
EXEC_ENDS_WITH_CLIENT = "io.onggi.exec-ends-with-client"
_FLAGS = (RESTART_UNHEALTHY, EXEC_ENDS_WITH_CLIENT)
_COMPOSE_DEPENDS_ON = "com.docker.compose.depends_on"
_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_SERVICE = "com.docker.compose.service"


class Condition(StrEnum):
    """What is waited for."""

    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed"
    """It has ended with exit code 0."""


_COMPOSE_CONDITIONS = {
    "service_started": Condition.STARTED,
    "service_healthy": Condition.HEALTHY,
    "service_completed_successfully": Condition.COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Dependency:
    container: Container
    condition: Condition


def check(labels: Mapping[str, str]) -> None:
    """Refuse what is said wrongly in our own labels: what is mistyped would be missing one day. Raises InvalidParameter."""
    wishes.read(labels)
    for name in _FLAGS:
        if labels.get(name, "true") not in ("true", "false"):
            raise InvalidParameter(f"invalid label {name}={labels[name]}: must be true or false")
    for path in _words(labels, WAIT_FOR_MOUNTS):
        if not path.startswith("/"):
            raise InvalidParameter(f"invalid label {WAIT_FOR_MOUNTS}: {path} is not an absolute path")
    known = ", ".join(Condition)
    for word in _words(labels, DEPENDS_ON):
        name, colon, condition = word.partition(":")
        if not name or (colon and condition not in tuple(Condition)):
            raise InvalidParameter(f"invalid label {DEPENDS_ON}: {word}: must be NAME[:CONDITION], one of {known}")


def asks(container: Container, flag: str) -> bool:
    return (container.config.labels or {}).get(flag) == "true"


def mounts_to_wait_for(container: Container) -> list[str]:
    return _words(container.config.labels or {}, WAIT_FOR_MOUNTS)


def dependencies(container: Container, everyone: Mapping[str, Container]) -> Iterator[Dependency]:
    """What a container is to be started after. `everyone` is by name; whom nobody knows is left out."""
    labels = container.config.labels or {}
    for word in _words(labels, DEPENDS_ON):
        name, _, condition = word.partition(":")
        if name in everyone:
            yield Dependency(everyone[name], Condition(condition or Condition.STARTED))
    project = labels.get(_COMPOSE_PROJECT, "")
    for word in _words(labels, _COMPOSE_DEPENDS_ON):  # SERVICE:CONDITION:whether to restart it along
        service, _, rest = word.partition(":")
        condition = _COMPOSE_CONDITIONS.get(rest.partition(":")[0], Condition.STARTED)
        for other in everyone.values():
            theirs = other.config.labels or {}
            if project and (theirs.get(_COMPOSE_PROJECT), theirs.get(_COMPOSE_SERVICE)) == (project, service):
                yield Dependency(other, Condition(condition))


def _words(labels: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in labels.get(name, "").split(",") if word.strip()]
