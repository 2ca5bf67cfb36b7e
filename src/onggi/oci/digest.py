"""Digest: an algorithm and the hash of some bytes, as text `sha256:…`. (OCI image-spec, descriptor.md, "Digests")"""

import hashlib
import re
from typing import Any, Protocol, Self

from onggi.errors import InvalidParameter

_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)


class InvalidDigest(InvalidParameter):
    """Text that is no digest, or one of an algorithm that Onggi does not verify."""


class Hash(Protocol):
    """What `Digest.hasher()` gives: a running hash."""

    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class Digest(str):
    """A well-formed digest of a known algorithm: safe as part of a path or URL. A `str` by nature.

    `Digest.parse` is the only way in for text from outside; `Digest(text)` is the same.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises InvalidDigest with go-digest's sentences."""
        if not _GRAMMAR.fullmatch(text):
            raise InvalidDigest(f"invalid checksum digest format: {text[:100]!r}")
        algorithm, _, encoded = text.partition(":")
        length = _LENGTHS.get(algorithm)
        if length is None:
            raise InvalidDigest(f"unsupported digest algorithm: {algorithm[:40]}")
        if len(encoded) != length:
            raise InvalidDigest(f"invalid checksum digest length: {text[:140]}")
        if encoded.strip("0123456789abcdef"):
            raise InvalidDigest(f"invalid checksum digest format: {text[:140]!r}")
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `data`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, as tables and progress lines show them."""
        return self.hex[:12]

    def hasher(self) -> Hash:
        """A new running hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def verifies(self, data: bytes) -> bool:
        """True when `data` has this digest."""
        return hashlib.new(self.algorithm, data).hexdigest() == self.hex
