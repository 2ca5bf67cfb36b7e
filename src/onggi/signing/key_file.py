"""Private keys at rest, as cosign keeps them: PKCS #8 in secretbox (XSalsa20-Poly1305), the key by scrypt from a passphrase.

    -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----        base64 of JSON: kdf, cipher, ciphertext
(sigstore: pkg/cryptoutils; secure-systems-lab/go-securesystemslib, encrypted)
"""

import base64
import hashlib
import os
import re
from typing import Annotated

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from onggi.signing.keys import InvalidKey, PrivateKey

_HEAD = "ENCRYPTED SIGSTORE PRIVATE KEY"
_PEM = re.compile(
    rb"-----BEGIN ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY-----\s*(.*?)\s*-----END ENCRYPTED ", re.DOTALL
)
_N, _R, _P = 1 << 16, 8, 1
"""scrypt's cost: 64 MiB and a fifth of a second; cosign's own."""
_MOST_MEMORY = 256 << 20
_MOST_BYTES = 64 * 1024
_Cost = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class _Parameters(msgspec.Struct, rename={"n": "N"}):
    n: _Cost
    r: Annotated[int, msgspec.Meta(ge=1, le=32)]
    p: Annotated[int, msgspec.Meta(ge=1, le=16)]


class _Kdf(msgspec.Struct):
    name: str
    params: _Parameters
    salt: str


class _Cipher(msgspec.Struct):
    name: str
    nonce: str


class _Box(msgspec.Struct):
    kdf: _Kdf
    cipher: _Cipher
    ciphertext: str


class WrongPassphrase(InvalidKey):
    def __init__(self) -> None:
        super().__init__("the passphrase does not open this key")


def _key(passphrase: bytes, salt: bytes, costs: _Parameters) -> bytes:
    try:
        return hashlib.scrypt(passphrase, salt=salt, n=costs.n, r=costs.r, p=costs.p, maxmem=_MOST_MEMORY, dklen=32)
    except ValueError as error:
        raise InvalidKey(f"the key's scrypt parameters are not taken: {error}") from error


def is_locked(text: bytes) -> bool:
    """True when a passphrase is needed."""
    return b"-----BEGIN ENCRYPTED " in text


def load(text: bytes, passphrase: bytes) -> PrivateKey:
    """A private key in cosign's form, or in PKCS #8. Raises InvalidKey, WrongPassphrase."""
    if len(text) > _MOST_BYTES:
        raise InvalidKey("a key is longer than keys are")
    match = _PEM.search(text)
    if match is None:
        return PrivateKey.load(text, passphrase if is_locked(text) else None)
    try:
        box = msgspec.json.decode(base64.b64decode(match[1]), type=_Box)
        salt, nonce, sealed = (base64.b64decode(part) for part in (box.kdf.salt, box.cipher.nonce, box.ciphertext))
    except ValueError as error:  # of base64 and of JSON
        raise InvalidKey("the key's file is damaged") from error
    if (box.kdf.name, box.cipher.name, len(nonce)) != ("scrypt", "nacl/secretbox", SecretBox.NONCE_SIZE):
        raise InvalidKey(
            f"keys are kept by scrypt and nacl/secretbox, not by {box.kdf.name[:40]} and {box.cipher.name[:40]}"
        )
    try:
        der = SecretBox(_key(passphrase, salt, box.kdf.params)).decrypt(sealed, nonce)
    except CryptoError as error:
        raise WrongPassphrase from error
    return PrivateKey.load_der(der)


def save(key: PrivateKey, passphrase: bytes) -> bytes:
    """The file of a key, to be kept by its owner alone."""
    salt, nonce = os.urandom(32), os.urandom(SecretBox.NONCE_SIZE)
    costs = _Parameters(_N, _R, _P)
    sealed = SecretBox(_key(passphrase, salt, costs)).encrypt(key.der(), nonce).ciphertext
    text = [base64.b64encode(part).decode() for part in (salt, nonce, sealed)]
    box = _Box(_Kdf("scrypt", costs, text[0]), _Cipher("nacl/secretbox", text[1]), text[2])
    encoded = base64.b64encode(msgspec.json.encode(box)).decode()
    lines = "\n".join(encoded[place : place + 64] for place in range(0, len(encoded), 64))
    return f"-----BEGIN {_HEAD}-----\n{lines}\n-----END {_HEAD}-----\n".encode()
