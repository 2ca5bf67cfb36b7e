"""Credentials for registries, as the Docker API carries them. They are of one request and never kept or printed."""

import binascii
import os
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from onggi.errors import InvalidParameter

_LIMIT_BYTES = 64 * 1024
_Text = Annotated[str, msgspec.Meta(max_length=32 * 1024)]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves who somebody is to one registry. `repr` shows no secret."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """A refresh token that stands for user and password (OAuth 2)."""
    registry_token: str = field(default="", repr=False)
    """A bearer token to be sent as it is."""
    server_address: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)


class AuthConfig(msgspec.Struct, frozen=True, rename="lower"):
    """Docker's JSON for it."""

    username: _Text | None = None
    password: _Text | None = None
    auth: _Text | None = None
    serveraddress: _Text | None = None
    identitytoken: _Text | None = None
    registrytoken: _Text | None = None

    def credentials(self) -> Credentials:
        """Raises InvalidParameter when `auth` is not base64 of user and password."""
        username, password = self.username or "", self.password or ""
        if self.auth and not username:
            try:
                username, colon, password = urlsafe_b64decode(_padded(self.auth)).decode().partition(":")
            except (binascii.Error, ValueError) as error:
                raise InvalidParameter("invalid X-Registry-Auth header: auth is not base64") from error
            if not colon:
                raise InvalidParameter("invalid X-Registry-Auth header: auth is not user and password")
        return Credentials(
            username, password.strip("\0"), self.identitytoken or "", self.registrytoken or "", self.serveraddress or ""
        )


_decode_one = msgspec.json.Decoder(AuthConfig | None).decode
_decode_many = msgspec.json.Decoder(dict[str, AuthConfig] | None).decode


def decode_header(value: str) -> Credentials | None:
    """Read an `X-Registry-Auth` header: base64 (of the URL's alphabet) of JSON. None for none or empty.

    Raises InvalidParameter. The header's bytes stand in no message.
    """
    if not value:
        return None
    text = _decoded(value, "X-Registry-Auth")
    try:
        config = _decode_one(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidParameter("invalid X-Registry-Auth header: it is not JSON of credentials") from error
    return (config.credentials() if config else None) or None


def decode_config_header(value: str) -> dict[str, Credentials]:
    """Read an `X-Registry-Config` header, which a build sends: credentials by registry. Raises InvalidParameter."""
    if not value:
        return {}
    text = _decoded(value, "X-Registry-Config")
    try:
        configs = _decode_many(text) or {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidParameter("invalid X-Registry-Config header: it is not JSON of credentials") from error
    return {host: credentials for host, config in configs.items() if (credentials := config.credentials())}


class _AuthFile(msgspec.Struct, frozen=True):
    auths: dict[str, AuthConfig] = {}


def read_auth_file(path: Path) -> dict[str, Credentials]:
    """By registry, from a file in the form of docker's config.json. Raises OSError, InvalidParameter.

    Refused when others may read it. Credential helpers are programs of a user: they are not asked here.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise InvalidParameter(f"{path} holds passwords and others may read it: chmod 600 {path}")
        content = file.read(_LIMIT_BYTES + 1)
    try:
        found = msgspec.json.decode(content, type=_AuthFile).auths
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameter(f'{path} is not JSON in the form {{"auths": {{"HOST": {{"auth": "…"}}}}}}') from error
    known = {}
    for name, config in found.items():
        host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if proof := config.credentials():
            known["docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host] = proof
    return known


def _decoded(value: str, header: str) -> bytes:
    if len(value) > _LIMIT_BYTES:
        raise InvalidParameter(f"invalid {header} header: it is too long")
    try:
        return urlsafe_b64decode(_padded(value.replace("+", "-").replace("/", "_")))
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter(f"invalid {header} header: it must be a valid base64url-encoded string") from error


def _padded(text: str) -> str:
    return text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
