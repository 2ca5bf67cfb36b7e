"""Passwords of people as argon2id texts, and secrets of programs as plain hashes.

A person's password is weak, so its hash is slow (OWASP's figures for argon2id). A robot's secret and a refresh token are
32 random bytes: SHA-256 is enough. All of the password counts, whatever its length up to LIMIT_BYTES.
"""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import argon2

from onggi.errors import InvalidParameter

LEAST_CHARACTERS = 8
LIMIT_BYTES = 1024
_CACHED_S = 60.0
_MOST_CACHED = 1000
_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class WeakPassword(InvalidParameter):
    pass


def check_new(password: str) -> None:
    """Raises WeakPassword for one that nobody should have."""
    if len(password) < LEAST_CHARACTERS:
        raise WeakPassword(f"a password has at least {LEAST_CHARACTERS} characters")
    if len(password.encode(errors="surrogatepass")) > LIMIT_BYTES or "\0" in password:
        raise WeakPassword(f"a password has at most {LIMIT_BYTES} bytes and no NUL")


def hash_of(password: str) -> str:
    """The argon2id text. Takes some 20 ms."""
    return _hasher.hash(password)


def one_time() -> str:
    """A password to be read off a terminal: 20 of 32 characters that can't be mixed up, 100 bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789z"
    text = "".join(letters[byte % 32] for byte in secrets.token_bytes(20))
    return "-".join(text[place : place + 5] for place in range(0, 20, 5))


def new_secret() -> str:
    """For a program: 32 random bytes as text."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def secret_fits(secret: str, hashed: str) -> bool:
    return hmac.compare_digest(secret_hash(secret), hashed)


class Passwords:
    """Checks passwords off the event loop; remembers right ones for a minute, as `docker login`'s clients send them
    with each request. What is remembered is an HMAC under a key of this process, never the password.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="password")  # 19 MiB each
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._nobodys = hash_of(secrets.token_urlsafe(16))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def fits(self, password: str, hashed: str | None) -> bool:
        """True when `password` is the one of `hashed`. None, for an unknown user, takes as long and is never right."""
        encoded = password.encode(errors="surrogatepass")
        if len(encoded) > LIMIT_BYTES:
            return False
        mark = hmac.digest(self._key, (hashed or "").encode() + b"\0" + encoded, "sha256")
        until = self._right.get(mark)
        if until is not None and until > time.monotonic():
            return True
        right = await asyncio.get_running_loop().run_in_executor(self._pool, _verify, hashed or self._nobodys, encoded)
        if not right or hashed is None:
            return False
        self._right[mark] = time.monotonic() + _CACHED_S
        while len(self._right) > _MOST_CACHED:
            self._right.popitem(last=False)
        return True


def _verify(hashed: str, password: bytes) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
