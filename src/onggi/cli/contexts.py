"""Contexts on disk, shared with the docker CLI: contexts/meta/<sha256 of the name>/meta.json and contexts/tls/…"""

import os

from onggi.cli.address import Address, Tls
from onggi.cli.failure import Failure
from onggi.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.config import Config

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-")


def check_name(name: str) -> None:
    """Raises Failure in Docker's words for a name that cannot be a context's."""
    if not name:
        raise Failure("context name cannot be empty")
    if name == "default":
        raise Failure('"default" is a reserved context name')
    if len(name) < 2 or not name[0].isascii() or not name[0].isalnum() or not set(name) <= _LETTERS:
        raise Failure(
            f'context name "{name}" is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )


def identity(name: str) -> str:
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()


def meta_path(config: "Config", name: str) -> str:
    return os.path.join(config.folder, "contexts", "meta", identity(name), "meta.json")


def tls_folder(config: "Config", name: str) -> str:
    return os.path.join(config.folder, "contexts", "tls", identity(name))


def read(config: "Config", name: str) -> "dict[str, Any]":
    """A context's metadata. Raises Failure when there is none."""
    path = meta_path(config, name)
    try:
        with open(path, "rb") as file:
            found = loads(file.read())
    except FileNotFoundError:
        raise Failure(f'context "{name}": context not found: open {path}: no such file or directory') from None
    except (OSError, ValueError) as error:
        raise Failure(f'context "{name}": {error}') from None
    if not isinstance(found, dict) or not isinstance(found.get("Endpoints"), dict):
        raise Failure(f'context "{name}": {path} does not describe a context')
    return found


def names(config: "Config") -> "list[str]":
    """All contexts on disk, sorted."""
    folder = os.path.join(config.folder, "contexts", "meta")
    found = []
    try:
        entries = os.listdir(folder)
    except FileNotFoundError:
        return []
    for entry in entries:
        try:
            with open(os.path.join(folder, entry, "meta.json"), "rb") as file:
                found.append(str(loads(file.read())["Name"]))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"parsing {os.path.join(folder, entry, 'meta.json')}: {error}") from None
    return sorted(found)


def address_of(config: "Config", name: str) -> Address:
    """Where the context's engine is."""
    endpoint = read(config, name)["Endpoints"].get("docker") or {}
    host = str(endpoint.get("Host") or "")
    folder = os.path.join(tls_folder(config, name), "docker")
    tls = None
    if host.startswith("tcp://") and os.path.isdir(folder):
        tls = Tls(
            os.path.join(folder, "ca.pem"),
            os.path.join(folder, "cert.pem"),
            os.path.join(folder, "key.pem"),
            verify=not endpoint.get("SkipTLSVerify"),
        )
    if not host:
        raise Failure(f'context "{name}" has no docker endpoint')
    return Address(host, tls=tls)
