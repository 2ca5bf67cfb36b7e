"""`ps` with every filter, `stats`, `events`, `top`, `diff` and `port` by the stock command line: the same of Docker and of
Onggi, for one set of containers in many states in each of them. All by `ONGGI_TESTS_WHOLE=1`, a part otherwise."""

import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.http import Api
from tests.peers import Docker

P = f"zoo{os.getpid()}"
"""Begins every name, and is the label of all."""
SLEEP = ("busybox", "sleep", "100000")
FORM = "|".join(
    f"{{{{.{column}}}}}"
    for column in (
        "Names",
        "Image",
        "Command",
        "State",
        "Status",
        "Ports",
        "Networks",
        "Mounts",
        "LocalVolumes",
        "RunningFor",
        "Labels",
    )
)
MOUNTS = 7
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
SAMPLE = 3
_TIME = re.compile(r"\d+ (seconds?|minutes?)|Less than a second|About a minute")
_PORTS = re.compile(r"127\.0\.0\.1:\d+->")


def make(docker: Callable[..., Any]) -> None:
    def run(name: str, *words: str, verb: tuple[str, ...] = ("run", "-d")) -> None:
        docker(*verb, "--name", f"{P}-{name}", "--label", f"zoo={P}", *words, check=name not in ("exited-3", "fails"))

    docker("network", "create", f"{P}-net", check=True)
    docker("volume", "create", f"{P}-volume", check=True)
    none = ("--network", "none")
    run("created", *none, "--label", "only=this", *SLEEP, verb=("create",))
    run("running", "-p", "127.0.0.1::80", "--expose", "81", "--expose", "90-92/udp", *SLEEP)
    run("exited-0", *none, "busybox", "true", verb=("run",))
    run("exited-3", *none, "busybox", "sh", "-c", "exit 3", verb=("run",))
    run("fails", *none, "busybox", "no-such-program", verb=("run",))
    run("killed", *none, *SLEEP)
    run("paused", *none, *SLEEP)
    run("on-net", "--network", f"{P}-net", *SLEEP)
    run("on-volume", *none, "-v", f"{P}-volume:/data", "-v", "/tmp:/host:ro", "--tmpfs", "/scratch", *SLEEP)
    health = ("--health-interval", "200ms", "--health-retries")
    run("healthy", *none, *health, "1000", "--health-cmd", "true", *SLEEP)  # on a busy machine a probe may fail
    run("unhealthy", *none, *health, "1", "--health-cmd", "false", *SLEEP)
    run("starting", *none, "--health-interval", "1h", "--health-cmd", "true", *SLEEP)
    docker("kill", f"{P}-killed", check=True)
    docker("pause", f"{P}-paused", check=True)
    for word in ("healthy", "unhealthy"):
        until(lambda word=word: f"({word})" in docker("ps", "--filter", f"name={P}-{word}$").stdout, f"it is {word}")  # type: ignore[misc]


def clear(docker: Callable[..., Any]) -> None:
    left = docker("ps", "-aq", "--filter", f"label=zoo={P}").stdout.split()
    if left:
        docker("rm", "-fv", *left, check=True)
    docker("network", "rm", f"{P}-net")
    docker("volume", "rm", f"{P}-volume")


@pytest.fixture(scope="module")
def both(engine: Engine, peer: Docker) -> Iterator[list[Callable[..., Any]]]:
    """The stock command line against ours, and against Docker's; each with the same containers."""
    sides: list[Callable[..., Any]] = [engine.docker, peer]
    try:
        for docker in sides:
            make(docker)
        yield sides
    finally:
        for docker in sides:
            clear(docker)


@pytest.fixture(autouse=True)
def no_container_left() -> None:
    """Instead of the one that wants the shared engine empty after each test: these share their containers."""


def plain(text: str) -> str:
    return _PORTS.sub("127.0.0.1:PORT->", _TIME.sub("TIME", text)).replace("docker", "onggi")


def said(docker: Callable[..., Any], words: tuple[str, ...]) -> tuple[int, list[list[str]], str]:
    done = docker(*words)
    rows = [line.split("|") for line in plain(done.stdout).splitlines()]
    for row in rows:
        row[MOUNTS] = ",".join(sorted(row[MOUNTS].split(",")))  # Docker's come in the order of a Go map
    return done.returncode, rows, done.stderr


# "@" stands for P: the names of tests are the same in every process.
FILTERS = (
    "", "-a", "-n 3", "-l", "-a -n 2",
    *(f"-a --filter {text}" for text in (
        "name=@-running", "name=^/@-on-", "name=^@-exited", "name=nobody-is-called-so", "label=only", "label=only=this",
        "label=only=that", "ancestor=busybox --filter name=@-created", "ancestor=busybox:latest --filter name=@-c",
        "ancestor=no-such-image", "before=@-exited-3", "since=@-on-net", "before=nobody", "since=nobody",
        "network=@-net", "network=none", "network=nowhere", "volume=@-volume", "volume=/data", "volume=/host",
        "volume=/tmp", "volume=/scratch", "volume=/nowhere", "publish=80", "publish=80/tcp", "publish=1-65535", "publish=81",
        "publish=x", "publish=80/x", "expose=81", "expose=81/tcp", "expose=80-95/udp", "expose=91/udp", "expose=91", "expose=x",
        "is-task=false", "is-task=true", "is-task=x", "isolation=default", "isolation=hyperv", "exited=0", "exited=3",
        "exited=137", "exited=128", "exited=x", "exited=-1", "foo=bar", "status=sleeping", "health=happy", "label!=only", "id=zz",
    )),
    *(f"--filter status={state}" for state in ("created", "running", "paused", "restarting", "removing", "exited", "dead")),
    *(f"--filter health={health}" for health in ("none", "starting", "healthy", "unhealthy")),
    "--filter status=running --filter status=paused --filter health=none --filter name=@",
)  # fmt: skip


@pytest.mark.parametrize("words", FILTERS if WHOLE else FILTERS[::SAMPLE])
def test_ps(both: list[Callable[..., Any]], words: str) -> None:
    asked = ("ps", *words.replace("@", P).split(), "--filter", f"label=zoo={P}", "--no-trunc", "--format", FORM)
    ours, theirs = (said(docker, asked) for docker in both)
    assert ours == theirs


def test_ps_has_the_same_columns(both: list[Callable[..., Any]]) -> None:
    for words in (("ps", "-a"), ("ps", "-as"), ("ps", "-a", "--no-trunc")):
        tables = [docker(*words, "--filter", f"name={P}-on-", check=True).stdout.splitlines() for docker in both]
        headings = [re.split(r"\s{2,}", table[0].strip()) for table in tables]
        assert headings[0] == headings[1]
        assert len(tables[0]) == len(tables[1]) == 3


def test_ps_as_json(both: list[Callable[..., Any]]) -> None:
    words = ("ps", "-as", "--filter", f"label=zoo={P}", "--format", "json")
    ours, theirs = ([json.loads(line) for line in docker(*words, check=True).stdout.splitlines()] for docker in both)
    for row, peer_row in zip(ours, theirs, strict=True):
        for shown in (row, peer_row):
            shown["Mounts"] = ",".join(sorted(shown["Mounts"].split(",")))
        for unlike in ("ID", "CreatedAt", "Size"):
            assert (unlike in row, bool(row.pop(unlike))) == (True, bool(peer_row.pop(unlike)))
        assert {key: plain(str(text)) for key, text in row.items()} == {
            key: plain(str(text)) for key, text in peer_row.items()
        }


def test_ps_with_sizes(both: list[Callable[..., Any]]) -> None:
    sizes = []
    for docker in both:
        docker("exec", f"{P}-running", "dd", "if=/dev/zero", "of=/file", "bs=1000", "count=3000", check=True)
        shown = docker("ps", "-s", "--filter", f"name={P}-running", "--format", "{{.Size}}", check=True).stdout.strip()
        sizes.append(re.fullmatch(r"(\S+) \(virtual (\S+)\)", shown))
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert sizes[0][1] == sizes[1][1] == "3MB"
    assert sizes[0][2][-2:] == sizes[1][2][-2:] == "MB"


def shape(value: Any) -> Any:
    """Names and types; of lists the shape of one element, as their number is chance."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else "list"
    return type(value).__name__


STATS = [(name, query) for query in ("stream=0", "stream=0&one-shot=1", "stream=1")
         for name in ("running", "created", "paused", "exited-3", "on-net")]  # fmt: skip


@pytest.mark.parametrize(("name", "query"), STATS if WHOLE else STATS[::2])
def test_stats_field_by_field(engine: Engine, peer: Docker, both: object, name: str, query: str) -> None:
    if name == "paused" and query == "stream=0":
        return  # Docker's second sample of a paused container never comes
    found = []
    for api in (Api(engine.socket), Api(peer.socket)):
        with api.stream(f"/containers/{P}-{name}/stats?{query}") as answer:
            first = json.loads(answer.readline())
            found.append(
                json.loads(answer.readline()) if query == "stream=1" and name not in ("created", "exited-3") else first
            )
    ours, theirs = found
    if query.endswith("one-shot=1"):
        theirs = {"name": ours["name"], "id": ours["id"], **theirs}  # ours says whose it is
    for document in found:
        for list_of_bytes in ("io_service_bytes_recursive", "io_serviced_recursive"):  # the disk's doings are chance
            if document["blkio_stats"][list_of_bytes]:
                document["blkio_stats"][list_of_bytes] = []
        for chance in ("failcnt", "pgfault"):
            document["memory_stats"].pop(chance, None)
    assert shape(ours) == shape(theirs)
    assert (ours["name"], ours["num_procs"], ours["storage_stats"]) == (theirs["name"], 0, {})
    assert ours["pids_stats"] == theirs["pids_stats"]
    assert ours["memory_stats"].get("limit") == theirs["memory_stats"].get("limit")
    assert ours["cpu_stats"].get("online_cpus") == theirs["cpu_stats"].get("online_cpus")


def test_top_diff_port(both: list[Callable[..., Any]]) -> None:
    for docker in both:
        docker(
            "exec",
            f"{P}-on-net",
            "sh",
            "-c",
            "echo x > /tmp/new; rm /etc/group; echo y >> /etc/passwd; mkdir /made",
            check=True,
        )
    for line in (
        "diff {n}-on-net", "diff {n}-created", "top {n}-on-net -o args", "top {n}-on-net -eo args,pid", "top {n}-created",
        "top {n}-paused -o args", "port {n}-running", "port {n}-running 80", "port {n}-running 80/udp", "port {n}-running 81",
        "port {n}-running x", "port {n}-created",
    ):  # fmt: skip
        answers = []
        for docker in both:
            done = docker(*line.replace("{n}", P).split())
            text = re.sub(
                r"\b[0-9a-f]{64}\b",
                "ID",
                re.sub(r"\d+\s*$", "N", re.sub(r"127\.0\.0\.1:\d+", "HERE", done.stdout), flags=re.M),
            )
            answers.append((done.returncode, sorted(text.split("\n")), re.sub(r"\b[0-9a-f]{64}\b", "ID", done.stderr)))
        assert answers[0] == answers[1], line
    headings = [docker("top", f"{P}-on-net", check=True).stdout.split("\n")[0].split() for docker in both]
    assert headings[0] == headings[1]


LIFE: tuple[tuple[str, ...], ...] = (
    ("create", "--name", "{n}", "--label", "a=b", "--network", "none", "-it", "busybox", "sh"),
    ("start", "{n}"),
    ("exec", "{n}", "true"),
    ("exec", "-e", "A=1", "{n}", "sh", "-c", "exit 0"),
    ("top", "{n}"),
    ("pause", "{n}"),
    ("unpause", "{n}"),
    ("update", "--cpu-shares", "100", "{n}"),
    ("rename", "{n}", "{n}-2"),
    ("rename", "{n}-2", "{n}"),
    ("cp", "{n}:/etc/passwd", "-"),
    ("cp", "/etc/hostname", "{n}:/tmp/"),
    ("commit", "-m", "why", "{n}", "{n}:1"),
    ("export", "-o", "{f}", "{n}"),
    ("kill", "-s", "WINCH", "{n}"),
    ("restart", "-t", "0", "{n}"),
    ("stop", "-t", "0", "{n}"),
    ("start", "{n}"),
    ("kill", "{n}"),
    ("wait", "{n}"),
    ("rm", "{n}"),
    ("rmi", "{n}:1"),
)


def test_events_of_a_life_with_their_attributes(engine: Engine, peer: Docker, name: str, tmp_path: Path) -> None:
    told = []
    for docker in (engine.docker, peer):
        begun = time.time()
        try:
            for words in LIFE:
                done = docker(
                    *(word.replace("{n}", name.lower()).replace("{f}", str(tmp_path / "tar")) for word in words)
                )
                assert done.returncode == 0, (words, done.stderr)
            asked = ("events", "--since", f"{begun:.6f}", "--until", f"{time.time() + 0.5:.6f}", "--format",
                     "{{.Type}} {{.Action}} {{json .Actor.Attributes}}")  # fmt: skip
            lines = [line for line in docker(*asked, check=True).stdout.splitlines() if name.lower() in line]
        finally:
            docker("rm", "-f", name.lower())
            docker("rmi", f"{name.lower()}:1")
        told.append([re.sub(r"\b[0-9a-f]{64}\b", "ID", re.sub(r'"execDuration":"\d+"', "", line)) for line in lines])
    assert told[0] == _die_first(told[1])


def _die_first(lines: list[str]) -> list[str]:
    """Docker tells an end and the stop that led to it in the order in which two of its goroutines come to it."""
    found = list(lines)
    for at, (first, second) in enumerate(itertools.pairwise(lines)):
        if first.startswith("container stop ") and second.startswith("container die "):
            found[at : at + 2] = [second, first]
    return found
