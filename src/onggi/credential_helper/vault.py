"""The file of credentials: one JSON object, in which everything but the parameters of its key is encrypted.

    {"version": 1, "salt": …, "time": 3, "memory_kib": 65536, "lanes": 4, "nonce": …, "data": …}     bytes in base64
    {"version": 2, "keeper": "tpm" or "secret-service", "reference": …, "nonce": …, "data": …}

key    = argon2id(passphrase, salt, time, memory, lanes), 32 bytes      (RFC 9106; its second recommended set)
         or 32 random bytes, which the keeper gives for the reference: the reference itself opens nothing
data   = ChaCha20-Poly1305(key, nonce, {server: [user, secret]})        (RFC 8439), bound to all the other fields

A new nonce with each write. The file is replaced as a whole, under a lock beside it, so that neither a crash nor two
logins at once lose anything.
"""

import fcntl
import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from onggi.errors import InvalidParameter, Unauthorized

KEY_BYTES = 32
_BY_PASSPHRASE, _BY_KEEPER = 1, 2
"""Versions of the file."""
_SALT_BYTES = 16
_NONCE_BYTES = 12
_MOST_MEMORY_KIB = 4 * 1024 * 1024
_MOST_REFERENCE_BYTES = 4096
_LIMIT_BYTES = 4 * 1024 * 1024

Credentials = dict[str, tuple[str, str]]
"""Server → user and secret."""


class WrongKey(Unauthorized):
    def __init__(self, what: str = "passphrase") -> None:
        super().__init__(f"the {what} is not that of the stored credentials, or their file was changed")


class KeyUnavailable(Unauthorized):
    """What keeps the key does not give it: no TPM, another one, a locked desktop."""


class Damaged(InvalidParameter):
    """The file is none of ours."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How a key is made of a passphrase."""

    salt: bytes
    time: int = 3
    memory_kib: int = 64 * 1024
    lanes: int = 4

    @classmethod
    def new(cls) -> "Parameters":
        return cls(os.urandom(_SALT_BYTES))

    def key(self, passphrase: str) -> bytes:
        """Takes some 100 ms and 64 MiB, on purpose."""
        return hash_secret_raw(
            passphrase.encode(), self.salt, self.time, self.memory_kib, self.lanes, KEY_BYTES, Type.ID
        )


class Keeper(StrEnum):
    """What keeps a key that no passphrase makes."""

    SECRET_SERVICE = "secret-service"
    TPM = "tpm"


@dataclass(frozen=True, slots=True)
class Kept:
    """A random key that a keeper has."""

    keeper: Keeper
    reference: bytes
    """The keeper's own, to find the key or to unseal it."""


Source = Parameters | Kept
"""Where a vault's key comes from."""


class Vault:
    """The file at `path`, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For reading, changing and writing without another helper in between."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def source(self) -> Source | None:
        """None when there is no file yet. Raises Damaged."""
        document = self._document()
        return None if document is None else self._source(document)

    def read(self, key: bytes) -> Credentials:
        """Raises WrongKey, Damaged."""
        document = self._document()
        if document is None:
            return {}
        source = self._source(document)
        try:
            nonce, data = b64decode(document["nonce"], validate=True), b64decode(document["data"], validate=True)
            plain = ChaCha20Poly1305(key).decrypt(nonce, data, _bound(source))
        except InvalidTag as error:
            raise WrongKey("key" if isinstance(source, Kept) else "passphrase") from error
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{self.path} is damaged: {error}") from error
        found: dict[str, list[str]] = json.loads(plain)
        return {server: (user, secret) for server, (user, secret) in found.items()}

    def write(self, source: Source, key: bytes, credentials: Credentials) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        data = ChaCha20Poly1305(key).encrypt(nonce, json.dumps(credentials).encode(), _bound(source))
        document = {**_fields(source), "nonce": _text(nonce), "data": _text(data)}
        number, temporary = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # 0600
        try:
            with os.fdopen(number, "w", encoding="ascii") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _document(self) -> dict[str, Any] | None:
        try:
            with self.path.open("rb") as file:
                document = json.loads(file.read(_LIMIT_BYTES))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{self.path} is damaged: it is no JSON") from error
        if not isinstance(document, dict) or document.get("version") not in (_BY_PASSPHRASE, _BY_KEEPER):
            raise Damaged(f"{self.path} is damaged, or was written by a newer Onggi")
        return document

    def _source(self, document: dict[str, Any]) -> Source:
        """What a stranger may have written is bounded before it costs memory."""
        try:
            if document["version"] == _BY_KEEPER:
                kept = Kept(Keeper(document["keeper"]), b64decode(document["reference"], validate=True))
                found: Source = kept
                sound = 1 <= len(kept.reference) <= _MOST_REFERENCE_BYTES
            else:
                made = Parameters(
                    b64decode(document["salt"], validate=True),
                    document["time"],
                    document["memory_kib"],
                    document["lanes"],
                )
                found = made
                sound = (
                    8 <= len(made.salt) <= 64 and 1 <= made.time <= 100 and 1 <= made.lanes <= 64
                    and 8 * made.lanes <= made.memory_kib <= _MOST_MEMORY_KIB
                )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{self.path} is damaged: {error}") from error
        if not sound:
            raise Damaged(f"{self.path} is damaged: nobody makes keys like that")
        return found


def _fields(source: Source) -> dict[str, object]:
    """As they are in the file."""
    if isinstance(source, Kept):
        return {"version": _BY_KEEPER, "keeper": str(source.keeper), "reference": _text(source.reference)}
    return {
        "version": _BY_PASSPHRASE, "salt": _text(source.salt), "time": source.time,
        "memory_kib": source.memory_kib, "lanes": source.lanes,
    }  # fmt: skip


def _bound(source: Source) -> bytes:
    fields: tuple[object, ...]
    if isinstance(source, Kept):
        fields = (_BY_KEEPER, str(source.keeper), source.reference.hex())
    else:
        fields = (_BY_PASSPHRASE, source.salt.hex(), source.time, source.memory_kib, source.lanes)
    return f"onggi credentials {fields}".encode()


def _text(data: bytes) -> str:
    return b64encode(data).decode()
