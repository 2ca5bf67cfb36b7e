"""`create`, `run`, `inspect`, `ps`, `events` asked of real Docker and of Onggi in the same run: the documents are the same."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.peers import CommandLine, Docker

Ask = Callable[..., Any]

CREATED: dict[str, list[str]] = {
    "plain": [],
    "identity": ["-h", "pot", "--domainname", "example.org", "-u", "1000:1000", "-w", "/srv", "-e", "A=1", "-l", "x=y"],
    "terminal": ["-it", "--stop-signal", "INT", "--stop-timeout", "3"],
    "limits": ["-m", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids-limit", "100", "--cpu-shares", "512",
               "--cpuset-cpus", "0", "--oom-score-adj", "100", "--ulimit", "nofile=100:200", "--shm-size", "1m"],
    "rights": ["--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--read-only", "--security-opt", "no-new-privileges",
               "--group-add", "5"],
    "privileged": ["--privileged"],
    "namespaces": ["--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host"],
    "none": ["--network", "none", "--ipc", "none"],
    "policy": ["--restart", "on-failure:3", "--log-opt", "max-size=1m", "--log-opt", "max-file=3"],
    "names": ["--dns", "10.0.0.1", "--dns-search", "example.org", "--add-host", "a:10.0.0.2"],
    "health": ["--health-cmd", "true", "--health-interval", "5s", "--health-retries", "2"],
    "mounts": ["-v", "/tmp:/host:ro", "--tmpfs", "/scratch:size=1m", "--mount", "type=tmpfs,target=/other",
               "--mount", "type=bind,source=/tmp,target=/bound,readonly"],
    "devices": ["--device", "/dev/null:/dev/nothing:r", "--device-cgroup-rule", "c 13:* rw", "--sysctl",
                "net.ipv4.ip_forward=1"],
    "requests": ["--gpus", "device=0", "--device", "vendor.example/class=name"],
    "real time": ["--cpu-rt-period", "1000", "--cpu-rt-runtime", "500"],
    "cgroups": ["--security-opt", "writable-cgroups=true", "--cgroup-parent", "/pot"],
    "mac": ["--mac-address", "02:42:ac:11:00:99"],
    "unusual": ["--annotation", "a=b", "--userns", "host", "--isolation", "default", "--volume-driver", "local"],
    "ports": ["-p", "127.0.0.1:18099:80", "--expose", "81"],
    "entrypoint": ["--entrypoint", "/bin/echo"],
}  # fmt: skip
_OURS = {
    # A namespace of its own hides the host's paths; Docker does so on cgroup v2 only.
    ("HostConfig", "CgroupnsMode"),
    ("HostConfig", "Runtime"),
    # Where things lie on the disk, and what is drawn at random.
    ("GraphDriver", "Data"), ("Id",), ("Created",), ("LogPath",), ("HostsPath",), ("HostnamePath",), ("ResolvConfPath",),
    ("NetworkSettings", "SandboxID"), ("NetworkSettings", "SandboxKey"), ("State", "Pid"), ("State", "StartedAt"),
    ("State", "FinishedAt"), ("Image",),
}  # fmt: skip
_ADDRESSES = re.compile(r"EndpointID|NetworkID|Gateway|IPAddress|IPPrefixLen|MacAddress")


def flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf with its path, but for what must differ."""
    if path in _OURS or (path and _ADDRESSES.fullmatch(path[-1])):
        return
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from flat(member, (*path, key))
    elif path == ("Mounts",):
        yield path, sorted(value, key=lambda mount: mount["Destination"])  # Docker's come in the order of a Go map
    else:
        yield path, value


def same(ours: Any, theirs: Any, *drawn: tuple[str, str]) -> None:
    text = json.dumps(theirs)
    for their_word, our_word in drawn:
        text = text.replace(their_word, our_word)
    left, right = dict(flat(ours)), dict(flat(json.loads(text)))
    assert left == right
    assert list(ours) == list(theirs), "the members come in the same order"


@pytest.fixture
def asked(engine: Engine, peer: Docker, name: str) -> Iterator[Callable[..., list[Any]]]:
    """Run the same words against both, ours first."""

    def ask(*words: str, check: bool = True) -> list[Any]:
        return [docker(*words, check=check) for docker in (engine.docker, peer)]

    yield ask
    ask("rm", "-fv", name, check=False)


@pytest.mark.parametrize("case", CREATED)
def test_inspect_of_a_created_container(asked: Callable[..., list[Any]], name: str, case: str) -> None:
    ids = [done.stdout.strip() for done in asked("create", "--name", name, *CREATED[case], "busybox", "true")]
    ours, theirs = [json.loads(done.stdout)[0] for done in asked("inspect", name)]
    assert ours["State"]["Status"] == "created"
    same(ours, theirs, (ids[1], ids[0]), (ids[1][:12], ids[0][:12]))


def test_the_file_with_its_id(engine: Engine, peer: Docker, name: str, tmp_path: Path) -> None:
    sides: tuple[CommandLine, ...] = (engine.docker, engine.onggi, peer)
    for number, docker in enumerate(sides):
        file = tmp_path / f"id-{number}"
        try:
            identifier = docker("create", "--name", name, "--cidfile", str(file), "busybox", check=True).stdout.strip()
            assert file.read_text() == identifier
            shown = docker("inspect", "-f", "{{.HostConfig.ContainerIDFile}}", name, check=True).stdout
            assert shown == f"{file}\n"
        finally:
            docker("rm", name)


def test_inspect_of_one_that_has_ended(asked: Callable[..., list[Any]], name: str) -> None:
    asked("run", "--name", name, "busybox", "sh", "-c", "exit 3", check=False)
    ours, theirs = [json.loads(done.stdout)[0] for done in asked("inspect", name)]
    same(ours, theirs, (theirs["Id"], ours["Id"]), (theirs["Id"][:12], ours["Id"][:12]))


def test_inspect_of_one_that_runs(asked: Callable[..., list[Any]], name: str) -> None:
    asked("run", "-d", "--name", name, "--stop-signal", "KILL", "--expose", "81", "busybox", "sleep", "1000")
    ours, theirs = [json.loads(done.stdout)[0] for done in asked("inspect", name)]
    same(ours, theirs, (theirs["Id"], ours["Id"]), (theirs["Id"][:12], ours["Id"][:12]))


@pytest.mark.parametrize("form", ["{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Networks}}|{{.Mounts}}|{{.Ports}}"])
def test_ps(asked: Callable[..., list[Any]], name: str, form: str) -> None:
    asked("create", "--name", name, "-v", "/tmp:/host", "--expose", "81", "busybox", "echo", "two words", "x" * 60)
    ours, theirs = asked("ps", "-a", "--no-trunc", "--filter", f"name={name}", "--format", form)
    assert ours.stdout == theirs.stdout


def test_state_after_a_failed_start(asked: Callable[..., list[Any]], name: str) -> None:
    asked("create", "--name", name, "busybox", "nope")
    refused = asked("start", name, check=False)
    assert refused[0].stderr == refused[1].stderr
    ours, theirs = [json.loads(done.stdout) for done in asked("inspect", name, "--format", "{{json .State}}")]
    assert ours == theirs


def test_events(asked: Callable[..., list[Any]], name: str) -> None:
    asked("run", "--name", name, "--label", "a=b", "--network", "none", "busybox", "true")
    asked("rename", name, f"{name}-2")
    asked("rename", f"{name}-2", name)
    asked("rm", name)
    words = (
        "events",
        "--since",
        "10m",
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "type=container",
        "--filter",
        "label=a=b",
    )
    told = asked(*words, "--format", "{{.Action}} {{json .Actor.Attributes}}")
    ours, theirs = [[line for line in done.stdout.splitlines() if f'"name":"{name}' in line] for done in told]
    duration = re.compile(r'"execDuration":"\d+"')
    assert [duration.sub("", line) for line in ours] == [duration.sub("", line) for line in theirs]
