"""The request that creates a container is the one that docker 28 sends (tests/reference/docker-create.json)."""

from pathlib import Path
from typing import Any

import pytest

from onggi.cli.commands.create import create
from onggi.cli.connection import Client
from onggi.cli.failure import Failure
from onggi.cli.main import Invocation
from tests.cli import arguments, reference
from tests.docker_recording import CREATE, canonical

RECORDED = reference(CREATE)


class _Sent(Exception):
    """Raised in place of sending."""

    def __init__(self, method: str, path: str, body: Any) -> None:
        super().__init__(path)
        self.method, self.path, self.body = method, path, body


@pytest.fixture(autouse=True)
def _nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    from onggi.cli import connection

    def post(self: Client, path: str, query: Any = None, body: Any = None, **options: Any) -> Any:
        raise _Sent("POST", path + ("?" + connection._query(query) if query else ""), body)

    monkeypatch.setattr(Client, "post", post)
    monkeypatch.setenv("VARIABLE", "value")
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONTENT_TRUST", "NOPE_X"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir("/")


def _request(words: list[str]) -> dict[str, Any]:
    import json

    try:
        create(Invocation({"host": "unix:///nonexistent"}), arguments(["create", *words]))
    except _Sent as sent:
        return canonical(sent.method, sent.path, json.dumps(sent.body))
    except Failure as failure:
        return {"status": failure.status, "message": str(failure).split("\n")[0]}
    raise AssertionError("nothing was sent")


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    inner = ("HostConfig", "NetworkingConfig")
    return base | {key: _merged(base[key], value) if key in inner else value for key, value in change.items()}


def test_nothing_said() -> None:
    assert _request(["x"])["body"] == RECORDED["bare"]


@pytest.mark.parametrize("line", RECORDED["lines"], ids=lambda line: " ".join(line["words"])[:80])
def test_as_docker(line: dict[str, Any]) -> None:
    got = _request(line["words"])
    if "message" in line:
        assert got == {"status": line["status"], "message": line["message"]}
    else:
        assert got["body"] == _merged(RECORDED["bare"], line["body"])
        assert got["query"] == line.get("query", [])


def test_environment_files(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text('A=1\n# note\n  B= 2\nVARIABLE\nNOPE_X\n\nC=a "q"\r\n')
    body = _request(["--env-file", str(file), "--label-file", str(file), "-e", "A=3", "-l", "b=", "x"])["body"]
    assert sorted(body["Env"]) == sorted(["A=1", "B= 2", "VARIABLE=value", 'C=a "q"', "A=3"])
    assert body["Labels"] == {"A": "1", "B": " 2", "C": 'a "q"', "b": ""}
    file.write_text("A B=1\n")
    assert _request(["--env-file", str(file), "x"])["message"] == (
        f"onggi: invalid env file ({file}): variable 'A B' contains whitespaces"
    )
    assert (
        _request(["--env-file", "/nonexistent", "x"])["message"]
        == "onggi: open /nonexistent: no such file or directory"
    )


def test_a_relative_source_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    body = _request(["-v", "./a:/b", "--mount", "type=bind,src=.,target=/c", "x"])["body"]
    assert body["HostConfig"]["Binds"] == [f"{tmp_path}/a:/b"]
    assert body["HostConfig"]["Mounts"][0]["Source"] == str(tmp_path)


def test_a_seccomp_profile_is_sent_by_content(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{ "b": 1,\n "a": [1, 2] }')
    body = _request(["--security-opt", f"seccomp={file}", "x"])["body"]
    assert body["HostConfig"]["SecurityOpt"] == ['seccomp={"b":1,"a":[1,2]}']


def test_proxies_of_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    body = _request(["-e", "http_proxy=mine", "x"])["body"]
    assert sorted(body["Env"]) == ["HTTP_PROXY=http://p:1", "NO_PROXY=x", "http_proxy=mine", "no_proxy=x"]


@pytest.mark.parametrize("option", ["--cpu-count=1", "--cpu-percent=1", "--io-maxiops=1", "--io-maxbandwidth=1",
                                    "--use-api-socket", "--disable-content-trust=false"])  # fmt: skip
def test_what_is_not_carried_out_is_refused(option: str) -> None:
    assert "message" in _request([option, "x"])


def test_content_trust_is_not_silently_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    assert "Docker Content Trust is not supported" in _request(["x"])["message"]
    assert "body" in _request(["--disable-content-trust", "x"])


def test_an_id_file_is_removed_when_there_is_no_container(tmp_path: Path) -> None:
    file = tmp_path / "id"
    _request(["--cidfile", str(file), "x"])
    assert not file.exists()
    file.touch()
    assert _request(["--cidfile", str(file), "x"])["message"].startswith("container ID file found, make sure the other")
