"""Configuration, contexts, credentials and plugins: files shared with the docker CLI."""

import json
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from onggi.cli import credentials
from onggi.cli.commands.login import store
from onggi.cli.config import Config
from onggi.cli.failure import Failure
from tests.cli import say


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ~/.docker, with no address from the environment."""
    for name in ("ONGGI_HOST", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def _helper(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_a_broken_configuration_is_a_failure(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(Failure, match=r"^loading config file: parsing config file"):
        Config()
    (folder / "config.json").write_text("[]")
    with pytest.raises(Failure, match="must hold one JSON object"):
        Config()


def test_the_file_is_private_whole_and_written_through_a_link(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.json"
    real.write_text('{"detachKeys": "a", "unknown": {"z": 1, "b": []}}')
    real.chmod(0o644)
    (folder / "config.json").symlink_to(real)
    config = Config()
    config.values["psFormat"] = "<é>"
    config.save()
    assert (folder / "config.json").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert json.loads(real.read_text()) == {"detachKeys": "a", "unknown": {"z": 1, "b": []}, "psFormat": "<é>"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "elsewhere.json"]


def test_credentials_in_the_file(folder: Path) -> None:
    config = Config()
    assert store(config, "reg.example:5000", "me", "se:cret", "")
    kept = credentials.find(Config(), "reg.example:5000")
    assert kept == {"serveraddress": "reg.example:5000", "username": "me", "password": "se:cret"}
    assert credentials.find(Config(), "other.example") == {}
    header = credentials.headers_for(Config(), "reg.example:5000/a/b")["X-Registry-Auth"]
    assert set(header) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


def test_which_registry_an_image_is_of() -> None:
    names = {"busybox": credentials.HUB, "a/b": credentials.HUB, "docker.io/library/x": credentials.HUB,
             "quay.io/a": "quay.io", "localhost/a": "localhost", "h:5/a": "h:5"}  # fmt: skip
    assert {name: credentials.registry_of(name) for name in names} == names


def test_a_helper_gives_and_keeps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _helper(
        folder,
        "mine",
        f'read line; echo "$1 $line" >> {folder}/log; echo \'{{"Username":"u","Secret":"s"}}\'',
        monkeypatch,
    )
    (folder / "config.json").write_text('{"credHelpers": {"r.example": "mine"}}')
    assert credentials.find(Config(), "r.example")["password"] == "s"
    assert not store(Config(), "r.example", "u", "token", "")
    assert (folder / "log").read_text().splitlines()[0] == "get r.example"
    assert "token" not in (folder / "config.json").read_text()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo junk", "printed no credentials"),
        ("echo locked; exit 1", "error getting credentials - err: locked"),
        ('echo "{}"', "printed no credentials"),
    ],
)
def test_a_failing_helper_is_an_error_never_no_credentials(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    _helper(folder, "bad", script, monkeypatch)
    (folder / "config.json").write_text('{"credsStore": "bad"}')
    with pytest.raises(Failure, match=sentence):
        credentials.find(Config(), "r.example")


def test_a_helper_without_credentials_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _helper(folder, "none", 'echo "credentials not found in native keychain"; exit 1', monkeypatch)
    (folder / "config.json").write_text('{"credsStore": "none"}')
    assert credentials.find(Config(), "r.example") == {}


@pytest.mark.parametrize("name", ["../x", "/bin/x", "a b", ".hidden", "a;b"])
def test_helper_names_are_names(folder: Path, name: str) -> None:
    (folder / "config.json").write_text(json.dumps({"credsStore": name}))
    with pytest.raises(Failure, match="is not a program's name"):
        credentials.find(Config(), "r.example")


def test_a_helper_in_the_current_directory_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _helper(folder, "here", "echo '{}'", monkeypatch)
    monkeypatch.chdir(folder / "bin")
    monkeypatch.setenv("PATH", ":.:")
    (folder / "config.json").write_text('{"credsStore": "here"}')
    with pytest.raises(Failure, match="executable file not found"):
        credentials.find(Config(), "r.example")


def test_contexts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "context", "create", "far", "--docker", "host=tcp://h:1", "--description", "d").out == "far\n"
    meta = next((folder / "contexts" / "meta").glob("*/meta.json"))
    assert meta.parent.name == sha256(b"far").hexdigest()
    assert json.loads(meta.read_text()) == {
        "Name": "far",
        "Metadata": {"Description": "d"},
        "Endpoints": {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": False}},
    }
    assert say(capsys, "context", "use", "far").out == "far\n"
    assert json.loads((folder / "config.json").read_text()) == {"currentContext": "far"}
    assert say(capsys, "context", "show").out == "far\n"
    listing = say(capsys, "context", "ls").out.splitlines()
    assert [line.split()[0] for line in listing] == ["NAME", "default", "far"]
    assert "far *" in listing[2]
    assert say(capsys, "context", "ls", "-q").out == "default\nfar\n"
    refused = say(capsys, "context", "rm", "far")
    assert (refused.status, refused.err) == (1, 'context "far" is in use, set -f flag to force remove\n')
    assert say(capsys, "context", "rm", "-f", "far").out == "far\n"
    assert say(capsys, "context", "show").out == "default\n"


def test_contexts_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "-c", "nosuch", "ps")
    assert said.status == 1
    assert said.err.startswith('context "nosuch": context not found: open ')
    assert say(capsys, "context", "rm", "nosuch").err == 'context "nosuch" does not exist\n'
    assert say(capsys, "context", "create", "default").err == '"default" is a reserved context name\n'
    assert "names are validated against regexp" in say(capsys, "context", "create", "../x").err


def test_completion_knows_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def words(*line: str) -> list[str]:
        return [text.partition("\t")[0] for text in say(capsys, "__complete", *line).out.splitlines()]

    assert words("im") == ["image", "images", "import"]
    assert words("container", "p") == ["pause", "port", "prune"]
    assert words("run", "--cpus") == ["--cpus", "--cpuset-cpus", "--cpuset-mems"]
    assert words("-H", "unix:///x", "ps", "--no") == ["--no-trunc"]
    assert words("run", "--name", "") == []
    for shell in ("bash", "zsh", "fish"):
        assert "__complete" in say(capsys, "completion", shell).out
    assert say(capsys, "completion", "cmd").status == 1
