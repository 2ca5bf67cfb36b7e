"""`manifest`: the stock command line and ours, step by step beside each other: words, files, and what the registry gets."""

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.registry import INDEX, Registry, layer_of, push_image

STEPS = [
    "inspect LIST",
    "inspect --insecure AMD",
    "inspect --insecure -v ARM",
    "create --insecure LIST AMD ARM",
    "create --insecure LIST AMD",
    "create --insecure LIST-other NONE",
    "create --insecure --amend LIST OTHER",
    "annotate LIST ARM --variant v9 --os-features a,b",
    "annotate LIST ARM --os-features b,c --os-version 1.2",
    "annotate LIST ARM --arch z80",
    "annotate LIST NONE --arch arm",
    "inspect LIST",
    "inspect LIST ARM",
    "inspect -v LIST",
    "inspect --insecure LIST OTHER",
    "push --insecure LIST",
    "push --insecure --purge LIST",
    "push --insecure LIST",
    "inspect --insecure LIST",
    "inspect --insecure -v LIST",
    "rm LIST AMD",
    "create --insecure LIST AMD",
    "rm LIST",
]


class Side:
    """One of the command lines, with a folder and a repository of its own."""

    def __init__(self, engine: Engine, registry: Registry, folder: Path, repository: str, *, ours: bool) -> None:
        self._run = engine.onggi if ours else engine.docker
        self._folder = folder
        folder.mkdir()
        self.environment = {**os.environ, "DOCKER_CONFIG": str(folder), "ONGGI_HOST": f"unix://{engine.socket}"}
        self.environment["DOCKER_HOST"] = f"unix://{engine.socket}"
        self._program = "onggi" if ours else "docker"
        self._repository = repository
        self._names = {
            "LIST": f"{registry.host}/{repository}:multi", "AMD": f"{registry.host}/{repository}:amd64",
            "ARM": f"{registry.host}/{repository}:arm64", "OTHER": f"{registry.host}/{repository}-s390x:1",
            "NONE": f"{registry.host}/{repository}:none",
        }  # fmt: skip

    def say(self, step: str) -> tuple[int, str, str]:
        words = [self._names.get(word, word.replace("LIST", self._names["LIST"])) for word in step.split()]
        done: subprocess.CompletedProcess[str] = self._run("manifest", *words, env=self.environment)
        return done.returncode, self._neutral(done.stdout), self._neutral(done.stderr)

    def files(self) -> dict[str, object]:
        root = self._folder / "manifests"
        return {
            self._neutral(str(path.relative_to(root))): json.loads(self._neutral(path.read_text()))
            for path in sorted(root.rglob("*")) if path.is_file()
        }  # fmt: skip

    def _neutral(self, text: str) -> str:
        for name in (self._repository, self._repository.replace("/", "_")):
            text = text.replace(name, "REPOSITORY")
        return text.replace(self._program, "PROGRAM")


@pytest.fixture
def sides(engine: Engine, registry: Registry, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    found = []
    for name in ("docker", "onggi"):
        repository = f"{name}/{tmp_path.name}"
        arm = {"architecture": "arm64", "os": "linux", "variant": "v8"}
        push_image(registry.host, repository, "amd64", [layer_of({"a": b"1"})])
        push_image(registry.host, repository, "arm64", [layer_of({"a": b"2"})], platform=arm)
        other = {"architecture": "s390x", "os": "linux"}
        push_image(registry.host, f"{repository}-s390x", "1", [layer_of({"a": b"3"})], platform=other)
        found.append(Side(engine, registry, tmp_path / name, repository, ours=name == "onggi"))
    yield found[0], found[1]
    for name in ("docker", "onggi"):
        shutil.rmtree(tmp_path / name)


def test_each_step_is_dockers(sides: tuple[Side, Side], registry: Registry) -> None:
    docker, onggi = sides
    for step in STEPS:
        assert onggi.say(step) == docker.say(step), step
        assert onggi.files() == docker.files(), step


def test_the_list_at_the_registry_is_a_pullable_image(
    sides: tuple[Side, Side], registry: Registry, engine: Engine, tmp_path: Path
) -> None:
    _, onggi = sides
    assert onggi.say("create --insecure LIST AMD ARM OTHER")[0] == 0
    status, said, _ = onggi.say("push --insecure LIST")
    assert status == 0
    name = f"onggi/{tmp_path.name}"
    connection = http.client.HTTPConnection(registry.host, timeout=60)
    connection.request("GET", f"/v2/{name}/manifests/multi", headers={"Accept": INDEX})
    answer = connection.getresponse()
    assert answer.headers["Docker-Content-Digest"] == said.splitlines()[-1]
    platforms = [entry["platform"]["architecture"] for entry in json.load(answer)["manifests"]]
    assert platforms == ["amd64", "arm64", "s390x"]
    for platform in ("linux/s390x", "linux/arm64"):
        engine.docker("pull", "-q", "--platform", platform, f"{registry.host}/{name}:multi", check=True)
        found = engine.docker(
            "image", "inspect", "-f", "{{.Architecture}}", f"{registry.host}/{name}:multi", check=True
        )
        assert found.stdout.strip() == platform.partition("/")[2]
    engine.docker("rmi", f"{registry.host}/{name}:multi", check=True)
