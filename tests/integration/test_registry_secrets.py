"""Passwords and tokens of registries: they go to the registry and nowhere else. Looked for where a stranger would look."""

import os
import secrets
import stat
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.registry import Registry, TokenServer, layer_of

USER = "alice"


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """The command line and environment of every process that there is meanwhile, looked at again and again."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    for name in ("cmdline", "environ"):
                        try:
                            seen.add((process / name).read_bytes())
                        except OSError:
                            continue  # it has ended

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        done.set()
        watching.join()


def holders(roots: Sequence[Path], words: Sequence[bytes]) -> dict[str, int]:
    """Files that hold one of the words, and their permissions."""
    found = {}
    for root in roots:
        for path in [root, *root.rglob("*")]:
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                if any(word in content for word in words):
                    found[path.name] = stat.S_IMODE(path.stat().st_mode)
    return found


@pytest.mark.parametrize("client", ["docker", "onggi"])
def test_a_password_is_nowhere_but_at_the_registry(tmp_path: Path, client: str) -> None:
    password = secrets.token_hex(12)
    (tmp_path / "engine").mkdir()
    hidden = [password.encode(), b64encode(f"{USER}:{password}".encode())]
    with (
        TokenServer(tmp_path / "tokens", {USER: password}) as tokens,
        Registry(tmp_path / "registry", tokens=tokens) as registry,
        Engine(tmp_path / "engine", number=1, options=("--log-level", "debug")) as engine,
    ):
        signed: list[bytes] = []
        sign = tokens.sign

        def noted(account: str, service: str, scopes: Sequence[str]) -> str:
            token = sign(account, service, scopes)
            signed.append(token.encode())
            return token

        tokens.sign = noted  # type: ignore[method-assign]
        name = f"{registry.host}/private/app:1"
        run = engine.docker if client == "docker" else engine.onggi
        archive = layer_of({"a": os.urandom(100)})
        with command_lines() as seen:
            run("login", "-u", USER, "--password-stdin", registry.host, input=password, check=True)
            assert run("login", "-u", USER, "--password-stdin", registry.host, input=f"{password}x").returncode == 1
            run("import", "-", name, input=archive, text=False, check=True)
            run("push", name, check=True)
            run("rmi", name, check=True)
            run("pull", name, check=True)
            said = run("pull", f"{registry.host}/private/none:1")
            assert said.returncode == 1
            events = run("events", "--since", "0", "--until", "0s", check=True).stdout
            told = [said.stdout, said.stderr, events, run("info", check=True).stdout]
        assert len(signed) >= 3
        hidden += signed
        assert not [words for words in seen if any(word in words for word in hidden)]
        assert len(seen) > 20
        assert not [text for text in told if any(word in text.encode() for word in hidden)]
        # The client keeps what it is told to keep; the engine keeps nothing.
        assert holders([engine.directory, engine.data_root, engine.exec_root], hidden) == {"config.json": 0o600}
        assert b"debug" in engine.log.read_bytes().lower()
