"""Verbs on containers: stop, restart, kill, pause, unpause, rm, rename, wait."""

import sys

from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client, Connection
    from onggi.cli.main import Invocation


def each(names: "Sequence[str]", act: "Callable[[str], str]") -> int:
    """One after the other: print what `act` returns, go on after a failure, and fail at the end with all of them."""
    failures = []
    for name in names:
        try:
            sys.stdout.write(act(name) + "\n")
        except ResponseError as error:
            failures.append(str(error))
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _at_once(client: "Client", method: str, requests: "Iterable[tuple[str, str, dict[str, Any]]]") -> int:
    """Send all requests, then read the answers in order: the engine works on all of them side by side.

    A request is the name to print, the path, and the query. Not more than 50 are under way.
    """
    failures: list[str] = []
    under_way: list[tuple[str, Connection]] = []

    def settle() -> None:
        name, connection = under_way.pop(0)
        try:
            client.finish(connection).read()
            sys.stdout.write(name + "\n")
        except ResponseError as error:
            failures.append(str(error))

    for name, path, query in requests:
        if len(under_way) >= 50:
            settle()
        under_way.append((name, client.begin(method, path, query)))
    while under_way:
        settle()
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _ending(found: "Arguments", verb: str) -> "Iterable[tuple[str, str, dict[str, Any]]]":
    query: dict[str, Any] = {}
    if found.given("time") and found.given("timeout"):
        raise Failure("conflicting options: cannot specify both --timeout and --time")
    for option in ("timeout", "time"):
        if found.given(option):
            query["t"] = found.number(option)
    if found.text("signal"):
        query["signal"] = found.text("signal")
    return [(name, f"/containers/{name}/{verb}", query) for name in found.words]


def stop(invocation: "Invocation", found: "Arguments") -> int:
    return _at_once(invocation.client, "POST", _ending(found, "stop"))


def restart(invocation: "Invocation", found: "Arguments") -> int:
    return _at_once(invocation.client, "POST", _ending(found, "restart"))


def kill(invocation: "Invocation", found: "Arguments") -> int:
    query = {"signal": found.text("signal")} if found.text("signal") else {}
    what = "exec" if found.flag("exec") else "containers"
    requests = [(name, f"/{what}/{name}/kill", dict(query)) for name in found.words]
    return _at_once(invocation.client, "POST", requests)


def pause(invocation: "Invocation", found: "Arguments") -> int:
    return _at_once(invocation.client, "POST", [(name, f"/containers/{name}/pause", {}) for name in found.words])


def unpause(invocation: "Invocation", found: "Arguments") -> int:
    return _at_once(invocation.client, "POST", [(name, f"/containers/{name}/unpause", {}) for name in found.words])


def rm(invocation: "Invocation", found: "Arguments") -> int:
    query = {}
    for option, key in (("force", "force"), ("link", "link"), ("volumes", "v")):
        if found.flag(option):
            query[key] = True
    client = invocation.client
    names = [name.strip("/") for name in found.words]
    if "" in names:
        raise Failure("container name cannot be empty")
    if found.flag("force"):
        return _remove_by_force(client, names, query)
    return _at_once(client, "DELETE", [(name, f"/containers/{name}", dict(query)) for name in names])


def _remove_by_force(client: "Client", names: "Sequence[str]", query: "dict[str, Any]") -> int:
    """As `rm`, but a container that is not there is no failure: it is said, and that is all."""
    failures = []
    under_way = [(name, client.begin("DELETE", f"/containers/{name}", query)) for name in names]
    for name, connection in under_way:
        try:
            client.finish(connection).read()
            sys.stdout.write(name + "\n")
        except ResponseError as error:
            if error.code == 404:
                sys.stdout.flush()
                sys.stderr.write(f"{error}\n")
            else:
                failures.append(str(error))
    if failures:
        raise Failure("\n".join(failures))
    return 0


def rename(invocation: "Invocation", found: "Arguments") -> int:
    old, new = (word.strip() for word in found.words)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    try:
        invocation.client.post(f"/containers/{old}/rename", {"name": new})
    except ResponseError as error:
        sys.stderr.write(f"{error}\n")
        raise Failure(f"Error: failed to rename container named {old}") from None
    return 0


def wait(invocation: "Invocation", found: "Arguments") -> int:
    client = invocation.client

    def one(name: str) -> str:
        answer = client.post(f"/containers/{name}/wait")
        return str(answer["StatusCode"])

    return each(found.words, one)
