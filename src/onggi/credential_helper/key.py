"""The vault's key: from the kernel's memory while it is unlocked, else of a passphrase that somebody types.

It is never on a disk. Where the kernel keeps no keys for users, each use asks for the passphrase.
"""

import getpass
import hashlib
import logging
import os
import sys

from onggi.credential_helper.vault import Parameters, Vault
from onggi.errors import InvalidParameter, Unauthorized
from onggi.linux import keyring

log = logging.getLogger(__name__)

DEFAULT_S = 8 * 3600
"""How long an unlocked vault stays so."""
_LEAST_CHARACTERS = 8
_KEY_BYTES = 32


class Locked(Unauthorized):
    def __init__(self) -> None:
        super().__init__("the credentials are locked: run `docker-credential-onggi unlock`")


def _name(vault: Vault, parameters: Parameters) -> str:
    """Of the key in the kernel. Another salt is another key: an old one opens nothing."""
    place = hashlib.sha256(os.fsencode(vault.path.resolve()) + parameters.salt).hexdigest()
    return f"onggi-credentials:{place}"


def remembered(vault: Vault, parameters: Parameters) -> bytes | None:
    try:
        return keyring.recall(_name(vault, parameters), _KEY_BYTES)
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
