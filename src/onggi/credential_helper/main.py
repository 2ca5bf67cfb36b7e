"""The credential helper's protocol (docker-credential-helpers), and `unlock`, `lock` and `key` for people.

    docker-credential-onggi get      server on stdin          {"ServerURL", "Username", "Secret"}
                            erase    server on stdin
                            store    the object on stdin
                            list                              {server: user}
                            unlock [SECONDS]                  asks for the passphrase (stdin, if it is no terminal)
                            lock
                            key KIND                          passphrase, secret-service or tpm: encrypted anew
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
from onggi.credential_helper.vault import Credentials, Keeper, Kept, Parameters, Source, Vault
from onggi.errors import InvalidParameter, NotFound, OnggiError

_LIMIT = 64 * 1024
_USAGE = "usage: docker-credential-onggi get|store|erase|list|unlock [SECONDS]|lock|key passphrase|secret-service|tpm|version"
_KINDS: dict[str, Keeper | None] = {"passphrase": None, **{str(keeper): keeper for keeper in Keeper}}


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
            lock(vault)
        case ["key", kind] if kind in _KINDS:
            change_key(vault, _KINDS[kind])
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
        source, key, credentials = _open(vault)
        vault.write(source, key, {**credentials, server: (user, secret)})


def erase(vault: Vault, server: str) -> None:
    with vault.locked():
        if vault.source() is None:
            return
        source, key, credentials = _open(vault)
        if credentials.pop(server, None) is not None:
            vault.write(source, key, credentials)


def unlock(vault: Vault, seconds: int) -> None:
    """Leave the key with the kernel; a vault that is not there yet is made. Raises WrongKey, InvalidParameter."""
    with vault.locked():
        source = vault.source()
        new = source is None
        if isinstance(source, Kept):
            raise _NoPassphrase(source)
        text = keys.passphrase(new=new, from_stdin=True)
        parameters = source or Parameters.new()
        key = parameters.key(text)
        if new:
            vault.write(parameters, key, {})
        vault.read(key)
    if not keys.remember(vault, parameters, key, seconds):
        raise InvalidParameter("this kernel keeps no keys for its users here: the passphrase is asked for each time")


def lock(vault: Vault) -> None:
    """Raises InvalidParameter where no passphrase opens the vault."""
    source = vault.source()
    if isinstance(source, Kept):
        raise _NoPassphrase(source)
    if source is not None:
        keys.forget(vault, source)


def change_key(vault: Vault, keeper: Keeper | None) -> None:
    """Encrypt everything anew, under a new key that `keeper` has, or of a new passphrase.

    The old key goes last: whenever this ends, the file is opened by a key that is there.
    """
    with vault.locked():
        old = vault.source()
        credentials = _read(vault)
        source, key = keys.new(keeper)
        try:
            vault.write(source, key, credentials)
        except BaseException:  # a key that opens nothing must not stay with its keeper
            keys.give_up(vault, source)
            raise
        if isinstance(source, Parameters):
            keys.remember(vault, source, key, keys.DEFAULT_S)
        if old is not None:
            keys.give_up(vault, old)


class _NoPassphrase(InvalidParameter):
    def __init__(self, source: Kept) -> None:
        where = {Keeper.TPM: "this machine's TPM", Keeper.SECRET_SERVICE: "the desktop's secret service"}[source.keeper]
        super().__init__(f"{where} keeps the key of the credentials: there is no passphrase to unlock or lock them by")


def _read(vault: Vault) -> Credentials:
    return {} if vault.source() is None else _open(vault)[2]


def _open(vault: Vault) -> tuple[Source, bytes, Credentials]:
    """With the keeper's key, the one that the kernel has, or that of the passphrase, which is remembered.

    Raises Locked, WrongKey, KeyUnavailable, Unsupported.
    """
    source = vault.source()
    if isinstance(source, Kept):
        key = keys.kept(source)
        return source, key, vault.read(key)
    new = source is None
    parameters = source or Parameters.new()
    remembered = keys.remembered(vault, parameters)
    if remembered is not None:
        return parameters, remembered, vault.read(remembered)
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
