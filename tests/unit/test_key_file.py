"""Private keys at rest: cosign's form, and what is none."""

import json
import re
from base64 import b64decode, b64encode

import pytest

from onggi.signing import key_file
from onggi.signing.keys import InvalidKey, PrivateKey

KEY = PrivateKey.generate()
LOCKED = key_file.save(KEY, b"passphrase")


def changed(**parts: object) -> bytes:
    """LOCKED with other values at dotted places."""
    text = re.sub(rb"-----.*?-----|\s", b"", LOCKED)
    box = json.loads(b64decode(text))
    for name, value in parts.items():
        place = box
        *path, last = name.split("__")
        for part in path:
            place = place[part]
        place[last] = value
    return (
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n%s\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
        % b64encode(json.dumps(box).encode())
    )


def test_what_is_saved_is_loaded_with_its_passphrase_only() -> None:
    assert key_file.load(LOCKED, b"passphrase").public_pem == KEY.public_pem
    with pytest.raises(key_file.WrongPassphrase):
        key_file.load(LOCKED, b"another")
    assert b"passphrase" not in LOCKED
    assert key_file.save(KEY, b"passphrase") != LOCKED


def test_pkcs_8_is_loaded_too() -> None:
    assert key_file.load(KEY.pem(), b"").public_pem == KEY.public_pem
    assert key_file.load(KEY.pem(b"pw"), b"pw").public_pem == KEY.public_pem
    assert not key_file.is_locked(KEY.pem())
    assert key_file.is_locked(KEY.pem(b"pw"))


@pytest.mark.parametrize(
    "text",
    [b"", b"x" * 100_000, b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n!\n-----END ENCRYPTED COSIGN PRIVATE KEY-----",
     changed(kdf__name="md5"), changed(cipher__name="none"), changed(cipher__nonce="AAAA"), changed(ciphertext="AAAA"),
     changed(kdf__params__N=1 << 30), changed(kdf__params__N=3), changed(kdf__params__r=10_000), changed(kdf=None)],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_a_sentence(text: bytes) -> None:
    with pytest.raises(InvalidKey):
        key_file.load(text, b"passphrase")
