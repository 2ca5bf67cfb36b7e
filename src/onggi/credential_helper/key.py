"""The vault's key: of a passphrase that somebody types, which the kernel remembers for a while; or of a keeper.

It is never on a disk. Where the kernel keeps no keys for users, each use asks for the passphrase. A keeper (the desktop's
secret service, a TPM) is asked each time, and nothing remembers what it gave.
"""

import getpass
import hashlib
import logging
import os
import sys
from typing import Protocol

from onggi.credential_helper import secret_service, tpm
from onggi.credential_helper.vault import KEY_BYTES, Keeper, Kept, Parameters, Source, Vault
from onggi.errors import InvalidParameter, Unauthorized
from onggi.linux import keyring

log = logging.getLogger(__name__)

DEFAULT_S = 8 * 3600
"""How long an unlocked vault stays so."""
_LEAST_CHARACTERS = 8


class Locked(Unauthorized):
    def __init__(self) -> None:
        super().__init__("the credentials are locked: run `docker-credential-onggi unlock`")


class _Keeping(Protocol):
    """What a keeper's module offers. All raise Unsupported, KeyUnavailable."""

    def keep(self, key: bytes, /) -> bytes: ...
    def recall(self, reference: bytes, /) -> bytes: ...
    def forget(self, reference: bytes, /) -> None: ...


_KEEPERS: dict[Keeper, _Keeping] = {Keeper.SECRET_SERVICE: secret_service, Keeper.TPM: tpm}


def new(keeper: Keeper | None) -> tuple[Source, bytes]:
    """A key for a vault: a random one that `keeper` has from now on, or of a passphrase that is asked for.

    Raises Locked, InvalidParameter, Unsupported, KeyUnavailable.
    """
    if keeper is None:
        parameters = Parameters.new()
        return parameters, parameters.key(passphrase(new=True, from_stdin=True))
    key = os.urandom(KEY_BYTES)
    return Kept(keeper, _KEEPERS[keeper].keep(key)), key


def kept(source: Kept) -> bytes:
    """Raises Unsupported, KeyUnavailable."""
    return _KEEPERS[source.keeper].recall(source.reference)


def give_up(vault: Vault, source: Source) -> None:
    """What opened a vault opens it no more. Raises Unsupported, KeyUnavailable."""
    if isinstance(source, Kept):
        _KEEPERS[source.keeper].forget(source.reference)
    else:
        forget(vault, source)


def _name(vault: Vault, parameters: Parameters) -> str:
    """Of the key in the kernel. Another salt is another key: an old one opens nothing."""
    place = hashlib.sha256(os.fsencode(vault.path.resolve()) + parameters.salt).hexdigest()
    return f"onggi-credentials:{place}"


def remembered(vault: Vault, parameters: Parameters) -> bytes | None:
    try:
        return keyring.recall(_name(vault, parameters), KEY_BYTES)
    except OSError as error:
        log.debug("no key from the kernel: %s", error)
        return None


def remember(vault: Vault, parameters: Parameters, key: bytes, seconds: int) -> bool:
    """False where the kernel takes none."""
    try:
        keyring.remember(_name(vault, parameters), key, seconds)
    except OSError as error:
        log.debug("the kernel takes no key: %s", error)
        return False
    return True


def forget(vault: Vault, parameters: Parameters) -> None:
    try:
        keyring.forget(_name(vault, parameters))
    except OSError as error:
        log.debug("no keys in this kernel: %s", error)


def passphrase(*, new: bool, from_stdin: bool = False) -> str:
    """Asked for at the terminal, twice when it is `new`; or the first line of standard input. Raises Locked."""
    if from_stdin and not sys.stdin.isatty():
        text = sys.stdin.readline().rstrip("\r\n")
    else:
        text = _ask("New passphrase for registry credentials: " if new else "Passphrase for registry credentials: ")
        if new and _ask("Once more: ") != text:
            raise InvalidParameter("the two passphrases are not the same")
    if new and len(text) < _LEAST_CHARACTERS:
        raise InvalidParameter(f"a passphrase needs {_LEAST_CHARACTERS} characters at least")
    return text


def _ask(prompt: str) -> str:
    """At the terminal itself: the helper's streams belong to its protocol. Raises Locked when there is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        raise Locked from error
    return getpass.getpass(prompt)
