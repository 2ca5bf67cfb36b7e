"""engine.own_labels: what is asked for by labels, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, HostConfig
from onggi.engine.own_labels import RESTART_UNHEALTHY, Condition, asks, check, dependencies, mounts_to_wait_for
from onggi.errors import InvalidParameter


def labelled(name: str, **labels: str) -> Container:
    """A container with these labels; "__" stands for "." and "_" for "-"."""
    names = {key.replace("__", ".").replace("_", "-"): value for key, value in labels.items()}
    return Container(
        id=name, name=name, created_at=datetime.now(UTC), image_id="", image_name="", config=ContainerConfig(labels=names),
        host_config=HostConfig(), endpoints={}, directory=Path("/nowhere"),
    )  # fmt: skip


def of_compose(name: str, project: str, service: str, depends_on: str = "") -> Container:
    container = labelled(name)
    labels = container.config.labels
    assert labels is not None
    labels |= {"com.docker.compose.project": project, "com.docker.compose.service": service}
    labels["com.docker.compose.depends_on"] = depends_on
    return container


def test_dependencies_by_name() -> None:
    everyone = {name: labelled(name) for name in ("db", "cache", "seed")}
    app = labelled("app", io__onggi__depends_on="db:healthy, cache,seed:completed,unknown:healthy")
    found = [(dependency.container.name, dependency.condition) for dependency in dependencies(app, everyone)]
    assert found == [("db", Condition.HEALTHY), ("cache", Condition.STARTED), ("seed", Condition.COMPLETED)]


def test_dependencies_of_compose_stay_within_the_project() -> None:
    everyone = {
        container.name: container
        for container in (
            of_compose("p-db-1", "p", "db"),
            of_compose("p-db-2", "p", "db"),
            of_compose("q-db-1", "q", "db"),
        )
    }
    web = of_compose("p-web-1", "p", "web", "db:service_healthy:false,gone:service_started:true")
    found = [(dependency.container.name, dependency.condition) for dependency in dependencies(web, everyone)]
    assert found == [("p-db-1", Condition.HEALTHY), ("p-db-2", Condition.HEALTHY)]


def test_nothing_is_asked_for_by_itself() -> None:
    plain = Container(
        id="x", name="x", created_at=datetime.now(UTC), image_id="", image_name="", config=ContainerConfig(),
        host_config=HostConfig(), endpoints={}, directory=Path("/nowhere"),
    )  # fmt: skip
    assert not asks(plain, RESTART_UNHEALTHY)
    assert mounts_to_wait_for(plain) == []
    assert list(dependencies(plain, {"x": plain})) == []
    assert not asks(labelled("y", io__onggi__restart_unhealthy="false"), RESTART_UNHEALTHY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("restart-unhealthy", "yes"), ("exec-ends-with-client", ""), ("wait-for-mounts", "/a,b"), ("depends-on", ":healthy"),
        ("depends-on", "db:well"), ("depends-on", "db:"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check({f"io.onggi.{name}": value})
    assert str(refused.value).startswith(f"invalid label io.onggi.{name}")


def test_what_is_said_well_passes() -> None:
    check(
        {
            "io.onggi.depends-on": "db:healthy,cache",
            "io.onggi.wait-for-mounts": "/a,/b",
            RESTART_UNHEALTHY: "true",
            "x": "y",
        }
    )
