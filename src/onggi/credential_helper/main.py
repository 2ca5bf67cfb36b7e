"""The credential helper's protocol (docker-credential-helpers), and `unlock` and `lock` for people.

    docker-credential-onggi get      server on stdin          {"ServerURL", "Username", "Secret"}
                            erase    server on stdin
                            store    the object on stdin
                            list                              {server: user}
                            unlock [SECONDS]                  asks for the passphrase (stdin, if it is no terminal)
                            lock
                            version

What goes wrong is one sentence on stdout, and exit status 1: there the callers look for it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import onggi
from onggi.credential_helper import key as keys
from onggi.credential_helper.vault import Credentials, Parameters, Vault
from onggi.errors import InvalidParameter, NotFound, OnggiError

_LIMIT = 64 * 1024
_USAGE = "usage: docker-credential-onggi get|store|erase|list|unlock [SECONDS]|lock|version"


class NoCredentials(NotFound):
    def __init__(self) -> None:
        super().__init__("credentials not found in native keychain")  # the words that callers know


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _run(words)
    except OnggiError as error:
        print(error)
        return 1
    except OSError as error:
        print(f"{error.filename or 'the credentials'}: {(error.strerror or str(error)).lower()}")
        return 1
    return 0


def _run(words: list[str]) -> None:
    vault = Vault(_folder() / "onggi-credentials.json")
    match words:
        case ["version"]:
            print(f"docker-credential-onggi {onggi.__version__}")
        case ["get"]:
            print(json.dumps(get(vault, _server())))
        case ["list"]:
            print(json.dumps({server: user for server, (user, _) in _read(vault).items()}))
        case ["store"]:
            store(vault, sys.stdin.read(_LIMIT))
        case ["erase"]:
            erase(vault, _server())
        case ["unlock"]:
            unlock(vault, keys.DEFAULT_S)
        case ["unlock", text] if text.isascii() and text.isdigit() and 0 < int(text) < 2**31:
            unlock(vault, int(text))
        case ["lock"]:
            if (parameters := vault.parameters()) is not None:
                keys.forget(vault, parameters)
        case _:
            raise InvalidParameter(_USAGE)


def get(vault: Vault, server: str) -> dict[str, str]:
    found = _read(vault).get(server)
    if found is None:
        raise NoCredentials
    return {"ServerURL": server, "Username": found[0], "Secret": found[1]}


def store(vault: Vault, text: str) -> None:
    try:
        given: Any = json.loads(text)
        server, user, secret = (str(given[name]) for name in ("ServerURL", "Username", "Secret"))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidParameter("an object with ServerURL, Username and Secret is expected") from error
    if not server:
        raise InvalidParameter("no credentials server URL")
    if not user:
        raise InvalidParameter("no credentials username")
    with vault.locked():
        parameters, key, credentials = _open(vault)
        vault.write(parameters, key, {**credentials, server: (user, secret)})


def erase(vault: Vault, server: str) -> None:
    with vault.locked():
        if vault.parameters() is None:
            return
        parameters, key, credentials = _open(vault)
        if credentials.pop(server, None) is not None:
            vault.write(parameters, key, credentials)


def unlock(vault: Vault, seconds: int) -> None:
    """Leave the key with the kernel; a vault that is not there yet is made. Raises WrongKey."""
    with vault.locked():
        parameters = vault.parameters()
        new = parameters is None
        text = keys.passphrase(new=new, from_stdin=True)
        parameters = parameters or Parameters.new()
        key = parameters.key(text)
        if new:
            vault.write(parameters, key, {})
        vault.read(key)
    if not keys.remember(vault, parameters, key, seconds):
        raise InvalidParameter("this kernel keeps no keys for its users here: the passphrase is asked for each time")


def _read(vault: Vault) -> Credentials:
    return {} if vault.parameters() is None else _open(vault)[2]


def _open(vault: Vault) -> tuple[Parameters, bytes, Credentials]:
    """With the key that the kernel has, or of the passphrase, which is remembered. Raises Locked, WrongKey."""
    parameters = vault.parameters()
    new = parameters is None
    parameters = parameters or Parameters.new()
    key = keys.remembered(vault, parameters)
    if key is not None:
        return parameters, key, vault.read(key)
    key = parameters.key(keys.passphrase(new=new))
    credentials = vault.read(key)
    keys.remember(vault, parameters, key, keys.DEFAULT_S)
    return parameters, key, credentials


def _server() -> str:
    server = sys.stdin.read(_LIMIT).strip()
    if not server:
        raise InvalidParameter("no credentials server URL")
    return server


def _folder() -> Path:
    """Where config.json is, too."""
    given = os.environ.get("DOCKER_CONFIG", "")
    return Path(given) if given else Path.home() / ".docker"
