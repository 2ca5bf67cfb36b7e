"""The file of credentials: one JSON object, in which everything but the parameters of its key is encrypted.

    {"version": 1, "salt": …, "time": 3, "memory_kib": 65536, "lanes": 4, "nonce": …, "data": …}     bytes in base64

key    = argon2id(passphrase, salt, time, memory, lanes), 32 bytes      (RFC 9106; its second recommended set)
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
from pathlib import Path
from typing import Any

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from onggi.errors import InvalidParameter, Unauthorized

VERSION = 1
_KEY_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 12
_MOST_MEMORY_KIB = 4 * 1024 * 1024
_LIMIT_BYTES = 4 * 1024 * 1024

Credentials = dict[str, tuple[str, str]]
"""Server → user and secret."""


class WrongKey(Unauthorized):
    def __init__(self) -> None:
        super().__init__("the passphrase is not that of the stored credentials, or their file was changed")


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
            passphrase.encode(), self.salt, self.time, self.memory_kib, self.lanes, _KEY_BYTES, Type.ID
        )


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

    def parameters(self) -> Parameters | None:
        """None when there is no file yet. Raises Damaged."""
        document = self._document()
        if document is None:
            return None
        return self._parameters(document)

    def read(self, key: bytes) -> Credentials:
        """Raises WrongKey, Damaged."""
        document = self._document()
        if document is None:
            return {}
        parameters = self._parameters(document)
        try:
            nonce, data = b64decode(document["nonce"], validate=True), b64decode(document["data"], validate=True)
            plain = ChaCha20Poly1305(key).decrypt(nonce, data, _bound(parameters))
        except InvalidTag as error:
            raise WrongKey from error
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{self.path} is damaged: {error}") from error
        found: dict[str, list[str]] = json.loads(plain)
        return {server: (user, secret) for server, (user, secret) in found.items()}

    def write(self, parameters: Parameters, key: bytes, credentials: Credentials) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        data = ChaCha20Poly1305(key).encrypt(nonce, json.dumps(credentials).encode(), _bound(parameters))
        document = {
            "version": VERSION, "salt": _text(parameters.salt), "time": parameters.time,
            "memory_kib": parameters.memory_kib, "lanes": parameters.lanes, "nonce": _text(nonce), "data": _text(data),
        }  # fmt: skip
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
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise Damaged(f"{self.path} is damaged, or was written by a newer Onggi")
        return document

    def _parameters(self, document: dict[str, Any]) -> Parameters:
        """What a stranger may have written is bounded before it costs memory."""
        try:
            found = Parameters(
                b64decode(document["salt"], validate=True), document["time"], document["memory_kib"], document["lanes"]
            )
            sound = (
                8 <= len(found.salt) <= 64 and 1 <= found.time <= 100 and 1 <= found.lanes <= 64
                and 8 * found.lanes <= found.memory_kib <= _MOST_MEMORY_KIB
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{self.path} is damaged: {error}") from error
        if not sound:
            raise Damaged(f"{self.path} is damaged: nobody makes keys like that")
        return found


def _bound(parameters: Parameters) -> bytes:
    fields = (VERSION, parameters.salt.hex(), parameters.time, parameters.memory_kib, parameters.lanes)
    return f"onggi credentials {fields}".encode()


def _text(data: bytes) -> str:
    return b64encode(data).decode()
