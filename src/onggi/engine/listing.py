"""`ps`: containers in short, and which of them pass the filters. (moby: daemon/list.go)"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onggi.durations import in_words
from onggi.engine import links
from onggi.engine.container import Container
from onggi.engine.filters import Filters
from onggi.engine.inspection import network_documents
from onggi.engine.lifecycle import State, is_running
from onggi.engine.pattern import Pattern
from onggi.errors import InvalidParameter, NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

FILTERS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task", "label", "name", "network"}
    | {"publish", "since", "status", "volume"}
)
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
Test = Callable[[Container], bool]


def status(container: Container, now: datetime) -> str:
    """The column STATUS."""
    if container.state is State.CREATED:
        return "Created"
    if container.state is State.REMOVING:
        return "Removal In Progress"
    if container.state is State.DEAD:
        return "Dead"
    if container.state in (State.EXITED, State.RESTARTING):
        ended = (now - (container.finished_at or now)).total_seconds()
        return f"{str(container.state).capitalize()} ({container.exit_code}) {in_words(ended)} ago"
    up = f"Up {in_words((now - (container.started_at or now)).total_seconds())}"
    if container.state is State.PAUSED:
        return f"{up} (Paused)"
    if container.health is not None:
        word = "health: starting" if container.health.status == "starting" else str(container.health.status)
        return f"{up} ({word})"
    return up


def command(container: Container) -> str:
    """The column COMMAND."""
    program, *arguments = container.config.argv() or [""]
    return " ".join([program, *(f"'{word}'" if " " in word else word for word in arguments)])


def ports(engine: "Engine", container: Container) -> list[dict[str, Any]]:
    """The column PORTS; empty unless it runs."""
    if not is_running(container.state):
        return []
    found = []
    for port, bindings in engine.networks.ports(container.id).items():
        number, _, protocol = port.partition("/")
        if not bindings:
            found.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
        found += [
            {
                "IP": binding.host_ip,
                "PrivatePort": int(number),
                "PublicPort": int(binding.host_port),
                "Type": protocol or "tcp",
            }
            for binding in bindings or ()
        ]
    return found


def summary(engine: "Engine", container: Container, now: datetime, further: Sequence[str] = ()) -> dict[str, Any]:
    """One element of GET /containers/json. `further`: the names that links give it."""
    return {
        "Id": container.id,
        "Names": sorted(f"/{name}" for name in (container.name, *further)),
        "Image": container.image_name,
        "ImageID": container.image_id,
        "Command": command(container),
        "Created": int(container.created_at.timestamp()),
        "Ports": ports(engine, container),
        "Labels": container.config.labels or {},
        "State": str(container.state),
        "Status": status(container, now),
        "HostConfig": {"NetworkMode": container.host_config.network_mode}
        | ({"Annotations": container.host_config.annotations} if container.host_config.annotations else {}),
        "NetworkSettings": {"Networks": network_documents(engine, container)},
        "Mounts": [point.summary() for point in container.mounts if point.type != "tmpfs" or point.spec],
    }


def summaries(engine: "Engine", *, every: bool, limit: int, filters: Filters) -> Sequence[Mapping[str, Any]]:
    """Newest first. Without `every`, `limit` or a filter on the state only those that run."""
    tests = _tests(engine, filters)
    every = every or limit > 0 or filters.has("status") or filters.has("exited")
    now = datetime.now(UTC)
    further = links.names(engine)
    found: list[Mapping[str, Any]] = []
    for container in engine.containers.all():
        if not every and not is_running(container.state):
            continue
        if not all(test(container) for test in tests):
            continue
        found.append(summary(engine, container, now, further.get(container.id, ())))
        if len(found) == limit:
            break
    return found


def _tests(engine: "Engine", filters: Filters) -> list[Test]:
    """One test for each key that is given. Raises InvalidParameter and NotFound in Docker's words."""
    tests: list[Test] = []
    for key in filters.values():
        values = filters[key]
        if key == "id":
            tests.append(lambda container, values=values: any(container.id.startswith(value) for value in values))  # type: ignore[misc]
        elif key == "name":
            tests.append(_by_name(values))
        elif key == "label":
            tests.append(lambda container: filters.labels("label", container.config.labels or {}))
        elif key == "status":
            tests.append(_by_word(key, values, _STATES, lambda container: str(container.state)))
        elif key == "health":
            tests.append(_by_word(key, values, _HEALTHS, lambda c: str(c.health.status) if c.health else "none"))
        elif key == "exited":
            tests.append(_by_exit_code(values))
        elif key in ("before", "since"):
            tests.append(_by_age(engine, key, values))
        elif key == "ancestor":
            tests.append(_by_ancestor(engine, values))
        elif key == "network":
            tests.append(_by_network(engine, values))
        elif key == "volume":
            tests.append(
                lambda container, values=values: any(  # type: ignore[misc]
                    value in (point.name, point.destination, point.source)
                    for point in container.mounts
                    if point.type != "tmpfs" or point.spec
                    for value in values
                )
            )
        elif key in ("publish", "expose"):
            tests.append(_by_port(engine, key, values))
        elif key == "is-task":
            wanted = filters.flag(key)  # no container here is a task of a swarm
            tests.append(lambda _, wanted=wanted: not wanted)  # type: ignore[misc]
        elif key == "isolation":
            continue  # of Windows: ignored as Docker ignores it here
    return tests


def _by_name(values: Sequence[str]) -> Test:
    patterns = [Pattern(value) for value in values]
    return lambda container: any(
        pattern.found_in(f"/{container.name}") or pattern.found_in(container.name) for pattern in patterns
    )


def _by_word(key: str, values: Sequence[str], known: Sequence[str], word: Callable[[Container], str]) -> Test:
    for value in values:
        if value not in known:
            what = {"status": "state"}.get(key, key)
            raise InvalidParameter(
                f"invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {', '.join(known)}"
            )
    return lambda container: word(container) in values


def _by_exit_code(values: Sequence[str]) -> Test:
    for value in values:
        if not value.removeprefix("-").isdecimal():
            raise InvalidParameter(
                f"invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
            )
    codes = {int(value) for value in values}
    # A container that has never run has no exit code, whatever its row holds.
    return lambda container: (
        container.exit_code in codes and not is_running(container.state) and container.started_at is not None
    )


def _by_age(engine: "Engine", key: str, values: Sequence[str]) -> Test:
    moments = [engine.containers.get(value).created_at for value in values]
    if key == "before":
        return lambda container: all(container.created_at < moment for moment in moments)
    return lambda container: all(container.created_at > moment for moment in moments)


def _by_ancestor(engine: "Engine", values: Sequence[str]) -> Test:
    """Made of the image, or of one that stands on its layers."""
    ids: set[str] = set()
    stacks = []
    for value in values:
        try:
            image = engine.images.get(value)
        except (NotFound, InvalidParameter):
            continue  # Docker warns in its log and finds nothing
        ids.add(str(image.id))
        stacks.append(tuple(image.config.diff_ids))

    def test(container: Container) -> bool:
        if container.image_id in ids:
            return True
        try:
            own = tuple(engine.images.get(container.image_id).config.diff_ids)
        except NotFound:
            return False
        return any(stack and own[: len(stack)] == stack for stack in stacks)

    return test


def _by_network(engine: "Engine", values: Sequence[str]) -> Test:
    def test(container: Container) -> bool:
        for name, settings in network_documents(engine, container).items():
            network_id = settings["NetworkID"]
            if any(value == name or (network_id and network_id.startswith(value)) for value in values):
                return True
        return False

    return test


def _port_numbers(key: str, value: str) -> tuple[range, str]:
    numbers, _, protocol = value.partition("/")
    bounds = []
    for text in numbers.split("-", 1):
        why = "" if text.isascii() and text.isdecimal() else "invalid syntax"
        if why or int(text) > 65535:
            raise InvalidParameter(
                f'error while looking up for {key} {value}: strconv.ParseUint: parsing "{text}": '
                f"{why or 'value out of range'}"
            )
        bounds.append(int(text))
    return range(bounds[0], bounds[-1] + 1), protocol or "tcp"


def _by_port(engine: "Engine", key: str, values: Sequence[str]) -> Test:
    wanted = [_port_numbers(key, value) for value in values]

    def test(container: Container) -> bool:
        if key == "expose":
            shown = [port.partition("/")[::2] for port in container.config.exposed_ports or ()]
            pairs = [(int(number), protocol or "tcp") for number, protocol in shown if number.isdecimal()]
        else:
            pairs = [(port["PublicPort"], port["Type"]) for port in ports(engine, container) if "PublicPort" in port]
        return any(number in numbers and protocol == kind for numbers, kind in wanted for number, protocol in pairs)

    return test
