"""`certs.d/HOST/hosts.toml`: mirrors and trust for any registry, in containerd's form. (containerd, docs/hosts.md)

server = "https://registry.example"          where the registry itself is; by default https://HOST

[host."https://mirror.example"]              asked before it, in the order of the file
  capabilities = ["pull", "resolve"]         without "resolve" only for what is named by digest
  ca = "ca.pem"                              paths are relative to the file
  client = [["client.cert", "client.key"]]
  skip_verify = false
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from yarl import URL

from onggi.distribution.http import check_web
from onggi.errors import System

NAME = "hosts.toml"
_LIMIT_BYTES = 1024 * 1024
_CAPABILITIES = frozenset({"pull", "resolve", "push"})


_Pair = Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]


class _Host(msgspec.Struct, forbid_unknown_fields=True):
    capabilities: list[str] | None = None
    ca: str | list[str] | None = None
    client: str | list[str | _Pair] | None = None
    skip_verify: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    server: str | None = None
    host: dict[str, _Host] = {}
    capabilities: list[str] | None = None
    ca: str | list[str] | None = None
    client: str | list[str | _Pair] | None = None
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class ConfiguredHost:
    """One place, and what it is trusted with."""

    url: URL
    capabilities: frozenset[str]
    authorities: Sequence[Path]
    pairs: Sequence[tuple[Path, Path | None]]
    """Certificate and key (None: in the same file)."""
    skip_verify: bool


@dataclass(frozen=True, slots=True)
class HostsFile:
    """What a file says."""

    server: ConfiguredHost | None
    mirrors: Sequence[ConfiguredHost]


def read_hosts_file(directory: Path) -> HostsFile | None:
    """The file in `directory`; None where there is none. Raises System for what can't be understood."""
    path = directory / NAME
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise System(f"{path} can't be read: {error.strerror}") from error
    try:
        found = msgspec.convert(tomllib.loads(content.decode()), _File)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise System(f"{path} can't be understood: {error}") from error
    own = _Host(found.capabilities, found.ca, found.client, found.skip_verify)
    server = None
    if found.server is not None:
        server = _host(path, found.server, own)
    elif own != _Host():
        raise System(f"{path} can't be understood: settings of the server, but no server")
    return HostsFile(server, _mirrors(path, found.host))


def _mirrors(path: Path, hosts: Mapping[str, _Host]) -> Sequence[ConfiguredHost]:
    return [_host(path, text, settings) for text, settings in hosts.items()]


def _host(path: Path, text: str, settings: _Host) -> ConfiguredHost:
    try:
        url = URL(text if "://" in text else f"https://{text}")
        check_web(url)
    except ValueError as error:
        raise System(f"{path} can't be understood: {text!r} is no http or https URL") from error
    capabilities = frozenset(settings.capabilities or _CAPABILITIES)
    if not capabilities <= _CAPABILITIES:
        raise System(f"{path} can't be understood: unknown capability {min(capabilities - _CAPABILITIES)!r}")
    authorities = [settings.ca] if isinstance(settings.ca, str) else settings.ca or []
    clients = [settings.client] if isinstance(settings.client, str) else settings.client or []
    pairs = [(client, None) if isinstance(client, str) else (client[0], client[1] or None) for client in clients]
    return ConfiguredHost(
        url,
        capabilities,
        [path.parent / name for name in authorities],
        [(path.parent / name, path.parent / key if key else None) for name, key in pairs],
        settings.skip_verify,
    )
