"""After a restart of the machine: what the policies say is started again, in the order of what depends on what."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine, inspected, state
from tests.integration.test_containers_crash import cgroups

SLEEP = ("busybox", "sleep", "100000")


def of_engine(engine: Engine) -> list[int]:
    """Processes of the engine and of its containers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if str(engine.exec_root).encode() in (entry / "cmdline").read_bytes() or (
                    f"/{engine.bridge}/" in (entry / "cgroup").read_text()
                ):
                    found.append(int(entry.name))
    return found


def reboot(engine: Engine) -> None:
    """What a restart of the machine leaves of an engine: its data root, and nothing else."""
    engine.kill()

    def killed() -> bool:
        pids = of_engine(engine)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    until(killed, "every process is gone")
    for directory in sorted(cgroups(engine), reverse=True):
        with suppress(FileNotFoundError):
            os.rmdir(directory)
    shutil.rmtree(engine.exec_root)
    subprocess.run(["ip", "link", "delete", engine.bridge], check=True)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    for line in tables.splitlines():
        if engine.bridge in line:
            subprocess.run(["nft", "delete", *line.split()], check=True)
    engine.start()


def test_policies_survive_the_machine(own_engine: Engine) -> None:
    docker = own_engine.docker
    for name, policy in (("always", "always"), ("stopped", "always"), ("unless", "unless-stopped"), ("plain", "no"),
                         ("unless-not", "unless-stopped")):  # fmt: skip
        docker(
            "run", "-d", "--name", name, "--restart", policy, "--stop-signal", "KILL", "-p", "80", *SLEEP, check=True
        )
    docker("run", "-d", "--rm", "--name", "removes-itself", *SLEEP, check=True)
    docker("pause", "unless", check=True)
    docker("stop", "stopped", "unless-not", check=True)
    reboot(own_engine)
    for name in ("always", "stopped", "unless"):
        until(lambda name=name: state(own_engine, name)["Status"] == "running", f"{name} runs again")  # type: ignore[misc]
    assert inspected(own_engine, "always")["NetworkSettings"]["Ports"]["80/tcp"]
    assert {name: state(own_engine, name)["ExitCode"] for name in ("plain", "unless-not")} == {
        "plain": 255,
        "unless-not": 137,
    }
    assert [state(own_engine, name)["Running"] for name in ("plain", "unless-not")] == [False, False]
    assert docker("inspect", "removes-itself").returncode == 1
    docker("stop", "always", "stopped", "unless", check=True)
    assert docker("start", "plain", check=True).stdout == "plain\n"


@pytest.fixture
def ordered(own_engine: Engine, tmp_path: Path) -> Iterator[tuple[Engine, Path]]:
    """A directory that each of the containers writes its name into when it starts."""
    shared = tmp_path / "order"
    shared.mkdir()
    yield own_engine, shared / "order"
    names = own_engine.docker("ps", "-aq").stdout.split()
    own_engine.docker("rm", "-f", *names, check=True)


def make(
    engine: Engine, order: Path, name: str, *options: str, before: str = "", after: str = "exec sleep 100000"
) -> None:
    script = f"{before} echo {name} >> /order/order; {after}"
    engine.onggi("run", "-d", "--name", name, "--restart", "always", "--network", "none", "-v", f"{order.parent}:/order",
                 *options, "busybox", "sh", "-c", script, check=True)  # fmt: skip


def test_what_depends_on_others_is_started_after_them(ordered: tuple[Engine, Path]) -> None:
    engine, order = ordered
    # Made in the opposite order, so that no other order of the engine's gives the right one by itself.
    make(engine, order, "web", "--depends-on", "app:started")
    make(engine, order, "app", "--depends-on", "base:healthy,nobody", "--depends-on", "circle")
    make(engine, order, "base", "--health-cmd", "test -e /tmp/ready", "--health-interval", "100ms",
         before="rm -f /tmp/ready; sleep 0.5;", after="touch /tmp/ready; exec sleep 100000")  # fmt: skip
    make(engine, order, "circle", "--depends-on", "circle")
    until(lambda: order.read_text().count("\n") == 4, "all have run")
    order.write_text("")
    reboot(engine)
    until(lambda: order.read_text().count("\n") == 4, "all run again")
    found = order.read_text().split()
    assert found.index("base") < found.index("app") < found.index("web")
    labels = inspected(engine, "app")["Config"]["Labels"]
    assert labels == {"io.onggi.depends-on": "base:healthy,nobody,circle"}


def test_composes_dependencies_are_understood(ordered: tuple[Engine, Path]) -> None:
    engine, order = ordered

    def service(name: str, *more: str) -> list[str]:
        labels = ("com.docker.compose.project=p", f"com.docker.compose.service={name}", *more)
        return [word for label in labels for word in ("--label", label)]

    make(engine, order, "p-web-1", *service("web", "com.docker.compose.depends_on=db:service_healthy:false"))
    make(engine, order, "p-db-1", *service("db"), "--health-cmd", "test -e /tmp/ready", "--health-interval", "100ms",
         before="rm -f /tmp/ready; sleep 0.5;", after="touch /tmp/ready; exec sleep 100000")  # fmt: skip
    until(lambda: order.read_text().count("\n") == 2, "both have run")
    order.write_text("")
    reboot(engine)
    until(lambda: order.read_text().count("\n") == 2, "both run again")
    assert order.read_text().split() == ["p-db-1", "p-web-1"]


def test_mounts_are_waited_for(ordered: tuple[Engine, Path], tmp_path: Path) -> None:
    engine, order = ordered
    place = tmp_path / "a place"
    place.mkdir()
    make(engine, order, "waits", "--wait-for-mount", str(place))
    make(engine, order, "other")
    until(lambda: order.read_text().count("\n") == 2, "both have run")
    order.write_text("")
    reboot(engine)
    until(lambda: order.read_text().split() == ["other"], "the other runs")
    assert state(engine, "waits")["Status"] == "exited"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        until(lambda: order.read_text().split() == ["other", "waits"], "it has waited for the mount")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_what_is_unhealthy_is_restarted_if_asked(own_engine: Engine) -> None:
    script = "touch /tmp/well; trap 'exit 0' TERM; while :; do sleep 0.05; done"
    checks = ("--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "2")
    for name, more in (("heals", ["--restart-unhealthy"]), ("stays", [])):
        own_engine.onggi("run", "-d", "--name", name, "--network", "none", *checks, *more, "busybox", "sh", "-c", script,
                         check=True)  # fmt: skip
    before = state(own_engine, "heals")
    for name in ("stays", "heals"):
        own_engine.docker("exec", name, "rm", "/tmp/well", check=True)
    until(lambda: inspected(own_engine, "heals")["RestartCount"] == 1, "it is ended, and comes back")
    until(lambda: state(own_engine, "heals").get("Health", {}).get("Status") == "healthy", "it is well again")
    assert state(own_engine, "heals")["StartedAt"] > before["StartedAt"]
    until(lambda: state(own_engine, "stays")["Health"]["Status"] == "unhealthy", "nobody cares")
    assert inspected(own_engine, "stays")["RestartCount"] == 0
    # Who stops it means it.
    own_engine.docker("exec", "heals", "rm", "/tmp/well", check=True)
    own_engine.docker("stop", "heals", check=True)
    assert state(own_engine, "heals")["Status"] == "exited"


@pytest.mark.parametrize(
    "label", ["io.onggi.restart-unhealthy=yes", "io.onggi.depends-on=db:happy", "io.onggi.wait-for-mounts=data"]
)
def test_a_label_that_says_nothing_is_refused(engine: Engine, label: str) -> None:
    refused = engine.docker("create", "--label", label, "busybox")
    assert refused.returncode == 1
    assert f"invalid label {label.partition('=')[0]}" in refused.stderr
