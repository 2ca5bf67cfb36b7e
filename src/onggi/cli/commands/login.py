"""`login` and `logout`: credentials for registries, in a helper or in config.json."""

import sys

from onggi.cli import credentials
from onggi.cli.failure import Failure, ResponseError
from onggi.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.config import Config
    from onggi.cli.main import Invocation

_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{path}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""


def _server(found: "Arguments") -> str:
    if not found.words or found.words[0] in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        return credentials.HUB
    if found.words[0] == credentials.HUB:
        return credentials.HUB
    return found.words[0].removeprefix("https://").removeprefix("http://").partition("/")[0]


def _hidden_line(prompt: str) -> str:
    from getpass import getpass

    return getpass(prompt)


def _ask(found: "Arguments", kept: "dict[str, Any]") -> "tuple[str, str]":
    """User and password from options, standard input or the terminal. Raises Failure."""
    user, password = found.text("username"), found.text("password")
    if password and found.flag("password-stdin"):
        raise Failure("--password and --password-stdin are mutually exclusive")
    if password:
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if found.flag("password-stdin"):
        if not user:
            raise Failure("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\n").rstrip("\r")
    if not user and not password and kept.get("username") and kept.get("password"):
        sys.stdout.write(f"Authenticating with existing credentials... [Username: {kept['username']}]\n")
        return str(kept["username"]), str(kept["password"])
    if (not user or not password) and not sys.stdin.isatty():
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    if not user:
        default = str(kept.get("username") or "")
        sys.stdout.write(f"Username ({default}): " if default else "Username: ")
        sys.stdout.flush()
        user = sys.stdin.readline().strip() or default
    if not user:
        raise Failure("Error: Non-null Username Required")
    if not password:
        password = _hidden_line("Password: ")
    if not password:
        raise Failure("Error: Password Required")
    return user, password


def store(config: "Config", registry: str, user: str, secret: str, token: str) -> bool:
    """Keep credentials. True where they lie unencrypted in config.json."""
    helper = credentials.helper_of(config, registry)
    if helper:
        entry = {"ServerURL": registry, "Username": "<token>" if token else user, "Secret": token or secret}
        credentials.ask_helper(helper, "store", dumps(entry))
        config.values.setdefault("auths", {})[registry] = {}
        config.save()
        return False
    kept: dict[str, Any] = {"auth": credentials.encode(user, "" if token else secret)}
    if token:
        kept["identitytoken"] = token
    config.values.setdefault("auths", {})[registry] = kept
    config.save()
    return True


def login(invocation: "Invocation", found: "Arguments") -> int:
    config = invocation.config
    registry = _server(found)
    kept = {} if found.given("username") else credentials.find(config, registry)
    user, password = _ask(found, kept)
    body = {"username": user, "password": password, "serveraddress": registry}
    try:
        answer = invocation.client.post("/auth", body=body) or {}
    except ResponseError as error:
        if error.code == 401 and "unauthorized" in error.message.lower() and kept:
            raise Failure(f"{error}\nThe kept credentials were refused: give --username to log in anew") from None
        raise
    if store(config, registry, user, password, str(answer.get("IdentityToken") or "")):
        sys.stderr.write(_UNENCRYPTED.format(path=config.path))
    sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")
    return 0


def logout(invocation: "Invocation", found: "Arguments") -> int:
    config = invocation.config
    registry = _server(found)
    names = [registry]
    if registry != credentials.HUB:
        names += [f"https://{registry}", f"http://{registry}"]
    sys.stdout.write(f"Removing login credentials for {registry}\n")
    sys.stdout.flush()
    auths = config.table("auths")
    present = [name for name in names if name in auths]
    helper = credentials.helper_of(config, registry)
    if helper:
        try:
            credentials.ask_helper(helper, "erase", registry)
        except Failure as failure:
            sys.stderr.write(f"WARNING: could not erase credentials:\n{registry}: {failure}\n")
    for name in present:
        del auths[name]
    if present:
        config.save()
    return 0
