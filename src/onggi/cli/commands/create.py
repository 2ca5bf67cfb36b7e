"""`create`, and what it shares with `run`: the request, the pull of a missing image, the file for the ID."""

import sys

from onggi.cli import system
from onggi.cli.creation import request
from onggi.cli.failure import PROGRAM, Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_PLAIN_TAG = _PLAIN | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ._-")
_PROXIES = (("httpProxy", "HTTP_PROXY"), ("httpsProxy", "HTTPS_PROXY"), ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"), ("allProxy", "ALL_PROXY"))  # fmt: skip


def _nothing() -> None:
    """`create` has nothing to do while the engine works."""


def proxies(invocation: "Invocation") -> "dict[str, str]":
    """The proxy variables that config.json adds to containers, in capitals and small letters."""
    table = invocation.config.table("proxies")
    if not table:
        return {}
    settings = table.get(invocation.client.address.text) or table.get("default") or {}
    found = {}
    for key, name in _PROXIES:
        if settings.get(key):
            found[name] = found[name.lower()] = str(settings[key])
    return found


class IdFile:
    """--cidfile: made before the container is, so that two never share one; removed if there was no container."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = False
        if path:
            import os

            if os.path.exists(path):
                raise Failure(f"container ID file found, make sure the other container isn't running or delete {path}")
            try:
                self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except OSError as error:
                raise Failure(f"failed to create the container ID file: open {path}: {error.strerror}") from None

    def write(self, container: str) -> None:
        if self._path:
            system.write(self._descriptor, container.encode())
            self._written = True

    def close(self) -> None:
        if self._path:
            system.close(self._descriptor)
            if not self._written:
                system.unlink(self._path)


def with_help(failure: Failure, command: str, status: int = 125) -> Failure:
    """The failure as Docker prints it for `run` and `create`."""
    return Failure(f"{PROGRAM}: {failure}\n\nRun '{PROGRAM} {command} --help' for more information", status)


def read_options(invocation: "Invocation", found: "Arguments", command: str) -> "dict[str, Any]":
    """The request's body. Raises Failure, status 125, for options that make no sense."""
    try:
        policy = found.text("pull", "missing")
        if policy not in ("always", "missing", "never"):
            raise Failure(f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"')
        return request.body(found, proxies(invocation))
    except Failure as failure:
        raise with_help(failure, command) from None


def _surely_valid(image: str) -> bool:
    """Whether a short look tells that the reference is well formed; the whole grammar costs a `re`."""
    name, _, tag = image.partition(":")
    return all(part and set(part) <= _PLAIN for part in name.split("/")) and set(tag) <= _PLAIN_TAG and len(name) < 64


def _warn(body: "dict[str, Any]") -> None:
    host = body["HostConfig"]
    if host["OomKillDisable"] and not host["Memory"]:
        sys.stderr.write(
            "WARNING: Disabling the OOM killer on containers without setting a '-m/--memory' limit may be dangerous.\n"
        )
    for address in host["Dns"]:
        if address.startswith("127.") or address == "::1":
            sys.stderr.write(f"WARNING: Localhost DNS setting (--dns={address}) may fail in containers.\n")
            break


def create_container(
    invocation: "Invocation", found: "Arguments", body: "dict[str, Any]", *, meanwhile: "Callable[[], None]" = _nothing
) -> str:
    """Create it, pulling the image where that is missing and allowed. Returns the ID. Raises Failure.

    `meanwhile` is called when the request is under way.
    """
    query: dict[str, Any] = {}
    if found.text("name"):
        query["name"] = found.text("name")
    if found.given("platform"):
        from onggi.cli.creation.platform import normal

        query["platform"] = normal(found.text("platform"))
    if found.given("disable-content-trust") or system.environment("DOCKER_CONTENT_TRUST") is not None:
        from onggi.cli.commands.pull import refuse_trust

        refuse_trust(found)
    _warn(body)
    image = found.words[0]
    if not _surely_valid(image):
        from onggi.cli.commands.pull import reference

        reference(image)  # for the sentence
    file = IdFile(found.text("cidfile"))
    try:
        answer = _create(invocation, found, query, body, meanwhile=meanwhile)
        for warning in answer.get("Warnings") or ():
            sys.stderr.write(f"WARNING: {warning}\n")
        container = str(answer["Id"])
        file.write(container)
    finally:
        file.close()
    return container


def _create(
    invocation: "Invocation",
    found: "Arguments",
    query: "dict[str, Any]",
    body: "dict[str, Any]",
    *,
    meanwhile: "Callable[[], None]",
) -> "dict[str, Any]":
    client = invocation.client
    policy = found.text("pull", "missing")
    result: dict[str, Any]
    if policy == "always":
        _pull(invocation, found)
    try:
        result = client.post("/containers/create", query, body, meanwhile=meanwhile)
    except ResponseError as error:
        if error.code != 404 or policy != "missing" or "image" not in error.message.lower():
            raise
        _pull(invocation, found, announce=True)
        result = client.post("/containers/create", query, body)
    return result


def _pull(invocation: "Invocation", found: "Arguments", *, announce: bool = False) -> None:
    from onggi.cli.commands.pull import fetch, reference

    image = reference(found.words[0]).with_default_tag()
    quiet = found.flag("quiet")
    if announce and not quiet:
        sys.stderr.write(f"Unable to find image '{image.familiar}' locally\n")
        sys.stderr.flush()
    fetch(invocation, image, platform=found.text("platform"), quiet=quiet, stream=sys.stderr)


def create(invocation: "Invocation", found: "Arguments") -> int:
    body = read_options(invocation, found, "create")
    sys.stdout.write(create_container(invocation, found, body) + "\n")
    return 0
