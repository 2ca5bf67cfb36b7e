"""Registry credentials: config.json, credential helpers, and the header that carries them to the engine."""

import os
import sys

from onggi.cli.failure import Failure
from onggi.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.config import Config

HUB = "https://index.docker.io/v1/"
_DEADLINE_S = 60


def registry_of(name: str) -> str:
    """The key under which credentials for an image's registry are kept."""
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return HUB
    return HUB if first in ("docker.io", "index.docker.io") else first


def _hostname(address: str) -> str:
    return address.removeprefix("http://").removeprefix("https://").partition("/")[0]


def decode(auth: str) -> "tuple[str, str]":
    """User and password of an `auth` value. Raises Failure."""
    from binascii import Error, a2b_base64

    try:
        text = a2b_base64(auth.encode()).decode()
    except (Error, UnicodeDecodeError) as error:
        raise Failure(f"invalid auth configuration file: {error}") from None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise Failure("invalid auth configuration file")
    return user, password.strip("\0")


def encode(user: str, password: str) -> str:
    from binascii import b2a_base64

    return b2a_base64(f"{user}:{password}".encode(), newline=False).decode()


def _program(helper: str) -> str:
    """The helper's path, by PATH alone: never the current directory's."""
    if not helper or not all(c.isalnum() or c in "-_." for c in helper) or helper.startswith("."):
        raise Failure(f"the credential helper {helper!r} in config.json is not a program's name")
    suffix = ".exe" if sys.platform == "win32" else ""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, f"docker-credential-{helper}{suffix}")
        if os.path.isabs(folder) and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise Failure(
        f'error getting credentials - err: exec: "docker-credential-{helper}": executable file not found in $PATH'
    )


def ask_helper(helper: str, verb: str, text: str) -> str:
    """Run `docker-credential-HELPER VERB` with `text` on its input. Raises Failure with what it printed."""
    import subprocess

    try:
        result = subprocess.run(
            [_program(helper), verb], input=text, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"the credential helper {helper} did not answer within {_DEADLINE_S} seconds") from None
    except OSError as error:
        raise Failure(f"the credential helper {helper} could not be run: {error.strerror}") from None
    if result.returncode:
        raise Failure(result.stdout.strip() or result.stderr.strip() or f"the credential helper {helper} failed")
    return result.stdout


def helper_of(config: "Config", registry: str) -> str:
    """The helper that keeps this registry's credentials; "" for config.json itself."""
    helpers = config.table("credHelpers")
    return str(helpers.get(registry) or helpers.get(_hostname(registry)) or config.text("credsStore"))


def find(config: "Config", registry: str) -> "dict[str, Any]":
    """The credentials for a registry; empty where none are kept. Raises Failure where a helper fails."""
    helper = helper_of(config, registry)
    if helper:
        try:
            found = loads(ask_helper(helper, "get", registry))
            user, secret = str(found["Username"]), str(found["Secret"])
        except Failure as failure:
            if "credentials not found" in str(failure):
                return {}
            raise Failure(f"error getting credentials - err: {failure}") from None
        except (ValueError, KeyError, TypeError):
            raise Failure(f"error getting credentials - the helper {helper} printed no credentials") from None
        if user == "<token>":
            return {"identitytoken": secret, "serveraddress": registry}
        return {"username": user, "password": secret, "serveraddress": registry}
    auths = config.table("auths")
    entry = auths.get(registry)
    if entry is None:
        entry = next((value for key, value in auths.items() if _hostname(key) == _hostname(registry)), None)
    if not isinstance(entry, dict):
        return {}
    result: dict[str, Any] = {"serveraddress": registry}
    if entry.get("auth"):
        result["username"], result["password"] = decode(str(entry["auth"]))
    for key in ("username", "password", "identitytoken", "registrytoken"):
        if entry.get(key):
            result[key] = entry[key]
    return result if len(result) > 1 else {}


def header(credentials: "dict[str, Any]") -> str:
    """The value of X-Registry-Auth: base64 for URLs, with padding."""
    from binascii import b2a_base64

    text = b2a_base64(dumps(credentials).encode(), newline=False).decode()
    return text.replace("+", "-").replace("/", "_")


def headers_for(config: "Config", image: str) -> "dict[str, str]":
    """The header for an image's registry; none where no credentials are kept."""
    found = find(config, registry_of(image))
    return {"X-Registry-Auth": header(found)} if found else {}
