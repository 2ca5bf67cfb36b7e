"""`docker-credential-onggi`: its protocol, the terminal, and both command lines with it."""

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import ROOT
from tests.engine import Engine
from tests.images import busybox_layer
from tests.registry import Registry, TokenServer, push_image

PROGRAM = str(ROOT / "scripts/docker-credential-onggi")
USAGE = "usage: docker-credential-onggi get|store|erase|list|unlock [SECONDS]|lock|key passphrase|secret-service|tpm|version"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    helper(tmp_path, "lock")  # nothing stays in the kernel


def helper(folder: Path, *words: str, text: str = "") -> tuple[int, str]:
    """In a session of its own, so without a terminal."""
    done = subprocess.run(
        [PROGRAM, *words], input=text, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
        env={"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(folder)},
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout.rstrip("\n")


def test_the_protocol(folder: Path) -> None:
    entry = {"ServerURL": "r:5000", "Username": "me", "Secret": "se:cret"}
    assert helper(folder, "list") == (0, "{}")
    assert helper(folder, "get", text="r:5000\n") == (1, "credentials not found in native keychain")
    assert helper(folder, "store", text=json.dumps(entry)) == (
        1, "the credentials are locked: run `docker-credential-onggi unlock`")  # fmt: skip
    assert helper(folder, "unlock", "60", text="short\n") == (1, "a passphrase needs 8 characters at least")
    assert helper(folder, "unlock", "60", text="long enough\n") == (0, "")
    assert helper(folder, "store", text=json.dumps(entry)) == (0, "")
    status, said = helper(folder, "get", text="r:5000\n")
    assert (status, json.loads(said)) == (0, entry)
    assert helper(folder, "list") == (0, '{"r:5000": "me"}')
    assert helper(folder, "lock") == (0, "")
    assert helper(folder, "get", text="r:5000") == (
        1,
        "the credentials are locked: run `docker-credential-onggi unlock`",
    )
    assert helper(folder, "unlock", "60", text="another one\n") == (
        1, "the passphrase is not that of the stored credentials, or their file was changed")  # fmt: skip
    assert helper(folder, "unlock", "60", text="long enough\n") == (0, "")
    assert helper(folder, "erase", text="r:5000") == (0, "")
    assert helper(folder, "erase", text="r:5000") == (0, "")
    assert helper(folder, "list") == (0, "{}")
    assert sorted(path.name for path in folder.iterdir()) == ["onggi-credentials.json", "onggi-credentials.lock"]


@pytest.mark.parametrize(
    ("words", "text", "sentence"),
    [
        (["store"], "[]", "an object with ServerURL, Username and Secret is expected"),
        (["store"], '{"ServerURL": "", "Username": "u", "Secret": "s"}', "no credentials server URL"),
        (["store"], '{"ServerURL": "r", "Username": "", "Secret": "s"}', "no credentials username"),
        (["get"], " \n", "no credentials server URL"),
        (["open"], "", USAGE),
        (["unlock", "-1"], "", USAGE),
        (["key"], "", USAGE),
        (["key", "file"], "", USAGE),
    ],
)
def test_refusals(folder: Path, words: list[str], text: str, sentence: str) -> None:
    assert helper(folder, *words, text=text) == (1, sentence)


def test_the_passphrase_is_asked_for_at_the_terminal(folder: Path) -> None:
    """The helper's own streams are pipes, as under `docker login`; what is typed is not shown."""
    entry = json.dumps({"ServerURL": "r:5000", "Username": "me", "Secret": "se:cret"})
    child, terminal = pty.fork()
    if child == 0:
        os.environ["DOCKER_CONFIG"] = str(folder)
        os.execl("/bin/sh", "sh", "-c", f"printf %s '{entry}' | {PROGRAM} store; echo ended $?")
    shown = ""
    deadline = time.monotonic() + 60
    answers = {"New passphrase for registry credentials: ": "over the terminal\n", "Once more: ": "over the terminal\n"}
    while "ended" not in shown:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown
        shown += os.read(terminal, 1000).decode()
        for prompt in [prompt for prompt in answers if shown.endswith(prompt)]:
            os.write(terminal, answers.pop(prompt).encode())
    os.waitpid(child, 0)
    os.close(terminal)
    assert "ended 0" in shown
    assert "over the terminal" not in shown
    status, said = helper(folder, "get", text="r:5000")  # another session of the same user
    assert (status, json.loads(said)["Secret"]) == (0, "se:cret")


def test_both_command_lines_keep_their_logins_in_it(engine: Engine, folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text('{"credsStore": "onggi"}')
    assert helper(folder, "unlock", "600", text="long enough\n") == (0, "")
    path = f"{ROOT / 'scripts'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DOCKER_CONFIG": str(folder), "DOCKER_HOST": f"unix://{engine.socket}"}
    environment["ONGGI_HOST"] = environment["DOCKER_HOST"]
    with TokenServer(tmp_path / "tokens", {"alice": "sesame-1"}) as tokens:
        with Registry(tmp_path / "registry", tokens=tokens) as registry:
            repository = "private/app"
            bearer = "Bearer " + tokens.sign("alice", "onggi-test", [f"repository:{repository}:pull,push"])
            push_image(registry.host, repository, "1", [busybox_layer()], authorization=bearer)
            name = f"{registry.host}/{repository}:1"
            for writer, reader in ((engine.docker, engine.onggi), (engine.onggi, engine.docker)):
                words = ("login", "-u", "alice", "--password-stdin", registry.host)
                said = writer(*words, input="sesame-1", env=environment, check=True)
                assert "Login Succeeded" in said.stdout
                assert "stored unencrypted" not in said.stderr
                assert helper(folder, "list") == (0, json.dumps({registry.host: "alice"}))
                assert "sesame" not in (folder / "config.json").read_text()
                reader("pull", "-q", name, env=environment, check=True)
                engine.docker("rmi", name, check=True)
                reader("logout", registry.host, env=environment, check=True)
                assert helper(folder, "list") == (0, "{}")
                refused = writer("pull", "-q", name, env=environment)
                assert "may require 'docker login'" in refused.stderr
