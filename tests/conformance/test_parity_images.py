"""Images beside real Docker: the same commands in the same run, the same answers; the same documents from the API."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.engine import Engine
from tests.images import busybox_layer, docker_archive, file, image_config, layer, symlink
from tests.peers import CommandLine, Docker

Ask = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIG: dict[str, Any] = {
    "Env": ["A=b", "PATH=/bin"], "Cmd": ["sh", "-c", "exit 0"], "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}},
    "Labels": {"kind": "test", "x": ""}, "StopSignal": "SIGINT", "Shell": ["/bin/ash"], "OnBuild": ["RUN x"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9}, "User": "1", "WorkingDir": "/w", "Hostname": "ignored",
}  # fmt: skip


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Both:
    """Onggi and Docker. Each image of a test has this prefix, so that suites run side by side."""

    def __init__(self, engine: Engine, peer: Docker) -> None:
        self.ours, self.theirs = engine, peer
        self.sides: tuple[CommandLine, CommandLine] = (engine.docker, peer)
        self.prefix = f"parity{os.getpid()}"

    def run(self, *words: str, **options: Any) -> tuple[list[str], list[str]]:
        """What each answers to a command: exit status, output and refusal, times and container IDs made equal."""
        answers = []
        for ask in self.sides:
            done = ask(*words, **options)
            text = re.sub(r"\b[0-9a-f]{12}\b(?! )|container [0-9a-f]{12}", "<id>", f"{done.stdout}{done.stderr}")
            answers.append(
                [str(done.returncode), *re.sub(r"\d+ (seconds|minutes)|About a minute", "<age>", text).splitlines()]
            )
        return answers[0], answers[1]

    def same(self, *words: str, **options: Any) -> list[str]:
        ours, theirs = self.run(*words, **options)
        assert ours == theirs
        return ours

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[tuple[int, Any], tuple[int, Any]]:
        """Status and document of each API."""
        found = []
        for place in (self.ours.socket, self.theirs.socket):
            connection = _Connection(place)
            headers = {"Content-Type": "application/x-tar"} if body is not None else {}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            text = reply.read()
            try:
                document = json.loads(text) if text.strip() else None
            except ValueError:
                document = [json.loads(line) for line in text.splitlines()]
            found.append((reply.status, document))
            connection.close()
        return found[0], found[1]


@pytest.fixture
def both(engine: Engine, peer: Docker) -> Iterator[Both]:
    pair = Both(engine, peer)
    yield pair
    for ask in (engine.docker, peer):
        left = ask("images", "-q", "--no-trunc", "--filter", f"reference={pair.prefix}*").stdout.split()
        left += ask("images", "-q", "--no-trunc", "--filter", "label=kind=test").stdout.split()
        if left:
            ask("rmi", "-f", *dict.fromkeys(left))


@pytest.fixture
def loaded(both: Both, tmp_path: Path) -> str:
    """An image of two layers with every setting, under two names; gives the first."""
    names = [f"{both.prefix}:1", f"{both.prefix}/sub:2"]
    docker_archive(
        tmp_path / "a.tar", names, [busybox_layer(), layer([file("x", b"hello"), symlink("l", "x")])], **CONFIG
    )
    assert both.same("load", "-q", "-i", str(tmp_path / "a.tar")) == ["0", *(f"Loaded image: {name}" for name in names)]
    return names[0]


@pytest.mark.parametrize("version", ["1.51", "1.49", "1.44", "1.43"])
def test_documents_are_those_of_docker(both: Both, loaded: str, version: str) -> None:
    ours, theirs = both.get(f"/v{version}/images/{loaded}/json")
    for _, document in (ours, theirs):
        document.pop("GraphDriver")
    assert ours == theirs
    wanted = quote(json.dumps({"reference": [f"{both.prefix}*", f"{both.prefix}/*"]}))
    ours, theirs = both.get(f"/v{version}/images/json?filters={wanted}")
    assert ours == theirs
    ours, theirs = both.get(f"/v{version}/images/{loaded}/history")
    assert ours == theirs


@pytest.mark.parametrize(
    "path",
    [
        "/images/nope/json", "/images/UPPER/json", "/images/nope@sha256:1/json", "/images/a%20b/json", "/images/0123456789/json",
        "/images/sha256:0123/json", "/images/nope/history", "/images/get?names=nope",
        '/images/json?filters={"bad":["x"]}', '/images/json?filters={"before":["nope"]}',
        '/images/json?filters={"dangling":["x"]}', "/images/json?filters=x",
    ],
)  # fmt: skip
def test_refusals_are_those_of_docker(both: Both, path: str) -> None:
    ours, theirs = both.get("/v1.51" + quote(path, safe="/?=&%:@"))
    assert ours == theirs


def test_names_come_and_go_as_in_docker(both: Both, loaded: str) -> None:
    prefix = both.prefix
    both.same("tag", loaded, f"{prefix}:3")
    both.same("tag", loaded, f"{prefix}:Bad.Tag_1")
    both.same("tag", "nope", f"{prefix}:4")
    both.same("tag", loaded, f"{prefix}:3", "extra")
    for words in (["rmi", f"{prefix}:none"], ["rmi", f"{prefix}:3"], ["rmi", f"{prefix}:Bad.Tag_1", "nope:1"]):
        both.same(*words)
    ours = both.ours.docker("inspect", "-f", "{{.Id}}", loaded, check=True).stdout.strip()
    both.same("rmi", ours)
    both.same("images", "--filter", f"reference={prefix}*", "--format", "{{.Repository}} {{.Tag}} {{.Size}}")
    both.same("history", "--format", "{{.CreatedBy}} {{.Size}} {{.Comment}}", loaded)
    assert both.same("rmi", "-f", ours)[-1].startswith("Deleted: sha256:")


def test_an_image_in_use_is_kept_as_in_docker(both: Both, loaded: str, name: str) -> None:
    both.run("create", "--name", name, loaded)
    try:
        both.same("rmi", f"{both.prefix}/sub:2")
        both.same("rmi", loaded)
        image = both.ours.docker("inspect", "-f", "{{.Id}}", loaded, check=True).stdout.strip()
        both.same("rmi", image)
    finally:
        both.run("rm", "-f", name)


def test_archives_are_refused_as_in_docker(both: Both, tmp_path: Path) -> None:
    data = layer([file("y", b"other")])
    config = image_config([data], Labels={"kind": "test"})

    def packed(
        config_name: str = "c", layers: str = '"l"', tags: str = f'"{both.prefix}:1"', content: bytes = data
    ) -> bytes:
        manifest = f'[{{"Config":"{config_name}","RepoTags":[{tags}],"Layers":[{layers}]}}]'.encode()
        return layer([file("c", config), file("l", content), file("manifest.json", manifest)])

    for archive in (
        packed(layers='"l","l"'),
        packed(content=busybox_layer()),
        packed(tags=f'"{both.prefix.upper()}:1"'),
    ):
        (tmp_path / "bad.tar").write_bytes(archive)
        both.same("load", "-q", "-i", str(tmp_path / "bad.tar"))
    (tmp_path / "good.tar.gz").write_bytes(gzip.compress(packed()))
    both.same("load", "-q", "-i", str(tmp_path / "good.tar.gz"))
    (tmp_path / "nameless.tar").write_bytes(packed(tags=""))
    both.same("load", "-q", "-i", str(tmp_path / "nameless.tar"))


def test_what_one_saves_the_other_loads(both: Both, loaded: str, tmp_path: Path) -> None:
    lists = []
    for number, ask in enumerate(both.sides):
        ask("save", "-o", str(tmp_path / f"{number}.tar"), both.prefix, f"{both.prefix}/sub:2", check=True)
        with tarfile.open(tmp_path / f"{number}.tar") as tar:
            members = {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
        # Docker also keeps documents of its old format, which nothing refers to.
        names = {
            name: data
            for name, data in members.items()
            if name in ("manifest.json", "index.json", "repositories", "oci-layout")
        }
        lists.append({name: json.loads(data) for name, data in names.items()})
    assert lists[0] == lists[1]
    image = both.ours.docker("inspect", "-f", "{{.Id}}", loaded, check=True).stdout.strip()
    both.run("rmi", "-f", image)
    for number, ask in enumerate(reversed(both.sides)):
        said = ask("load", "-q", "-i", str(tmp_path / f"{number}.tar"), check=True).stdout
        assert said.splitlines() == [f"Loaded image: {both.prefix}:1", f"Loaded image: {both.prefix}/sub:2"]


def test_import_takes_the_same_changes(both: Both, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(busybox_layer())
    name = f"{both.prefix}:imported"
    edits = ['CMD ["sh"]', "CMD echo $HOME", 'ENV A=b C="d e" F=g\\ h', "ENV OLD the rest", "EXPOSE 80 90/udp 100-102",
             "LABEL kind=test",
             'LABEL "a b"=\'c d\' e=f', "ONBUILD RUN x", "STOPSIGNAL SIGUSR1", "USER a:b", "VOLUME /a /b", 'VOLUME ["/c d"]',
             "WORKDIR /x", "WORKDIR y/../z", "HEALTHCHECK --interval=5s --retries=3 CMD curl x", 'HEALTHCHECK CMD ["a", "b"]',
             "HEALTHCHECK NONE", 'ENTRYPOINT ["/bin/x"]', "ENTRYPOINT exec top"]  # fmt: skip
    for edit in edits:
        for ask in (both.ours.docker, both.theirs):
            ask(
                "import", "-c", "LABEL kind=test", "-c", edit, "-m", "why", str(tmp_path / "root.tar"), name, check=True
            )
        ours, theirs = both.get(f"/v1.51/images/{name}/json")
        for key in ("Config", "Comment", "RootFS", "Size", "Architecture", "Os", "RepoTags"):
            assert (edit, key, ours[1][key]) == (edit, key, theirs[1][key])
    for edit in (
        "RUN x",
        "nonsense",
        "ENV A",
        "LABEL",
        "EXPOSE x",
        "VOLUME",
        "ONBUILD FROM x",
        "ONBUILD ONBUILD RUN x",
    ):
        ours_said, theirs_said = both.run("import", "-c", edit, str(tmp_path / "root.tar"), name)
        assert ours_said[0] == theirs_said[0] == "1", edit


def test_commit_makes_the_same_image(both: Both, loaded: str, name: str) -> None:
    script = "echo hi >/new; rm /x; chmod 711 /home; mkdir -p /d/e; ln /new /d/hard; ln -s new /d/l"
    committed = f"{both.prefix}:committed"
    both.run(
        "run",
        "--user",
        "0",
        "--name",
        name,
        "--network",
        "none",
        "-e",
        "MORE=1",
        "--no-healthcheck",
        loaded,
        "sh",
        "-c",
        script,
    )
    try:
        ignored = ("C /w", "A /w", "A /v")  # made at the start, by Docker at the creation
        ours, theirs = both.run("diff", name)
        assert sorted(set(ours) - set(ignored)) == sorted(set(theirs) - set(ignored))
        both.run("commit", "-m", "why", "-a", "me", "-c", "ENV X=y", name, committed)
        ours_is, theirs_is = both.get(f"/v1.51/images/{committed}/json")
        assert sorted(ours_is[1]["Config"]) == sorted(theirs_is[1]["Config"])
        for key, value in theirs_is[1]["Config"].items():
            assert (key, ours_is[1]["Config"].get(key)) == (key, value)
        for key in ("Comment", "Author", "Architecture", "Os", "RepoTags"):
            assert (key, ours_is[1][key]) == (key, theirs_is[1][key])
        assert bool(ours_is[1]["Parent"]) is bool(theirs_is[1]["Parent"]) is True
        both.same("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", committed)
        both.same(
            "run",
            "--rm",
            "--user",
            "0",
            "--network",
            "none",
            committed,
            "sh",
            "-c",
            "cat /new; ls -ln /d; ls -d /x; stat -c %a /home",
        )
    finally:
        both.run("rm", "-f", name)
        both.run("rmi", "-f", committed)
