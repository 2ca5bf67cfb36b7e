"""`run`: create, attach, wait, start, and carry the streams until the container ends."""

import sys

from onggi.cli.commands import create
from onggi.cli.creation import request
from onggi.cli.failure import PROGRAM, Exit, Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client, Connection
    from onggi.cli.main import Invocation
    from onggi.cli.trace import Trace


class RunFailure(Failure):
    """A container that could not be run: 125, or 126 and 127 as a shell has them."""

    def __init__(self, failure: Failure) -> None:
        text = str(failure)
        status = 125
        if "executable file not found" in text or "no such file or directory" in text:
            status = 127
        elif "permission denied" in text or "is a directory" in text:
            status = 126
        super().__init__(f"{PROGRAM}: {text}\n\nRun '{PROGRAM} run --help' for more information", status)


def exit_status(answer: "dict[str, Any]") -> int:
    """The exit status in the answer to a wait; 125 where the engine could not tell."""
    error = (answer.get("Error") or {}).get("Message")
    if error:
        sys.stderr.write(f"Error waiting for container: {error}\n")
        return 125
    return int(answer["StatusCode"])


def run(invocation: "Invocation", found: "Arguments") -> int:
    """The container's exit status; 0 with -d."""
    try:
        body = request.body(found, create.proxies(invocation))
    except Failure as failure:
        raise RunFailure(failure) from None
    detached = found.flag("detach")
    if detached:
        if found.values.get("attach"):
            raise Failure("conflicting options: cannot specify both --attach and --detach", 125)
        body["AttachStdin"] = body["AttachStdout"] = body["AttachStderr"] = body["StdinOnce"] = False
    trace = None
    if invocation.trace:
        from onggi.cli.trace import Trace

        trace = Trace()
    terminal_size(body)
    if not detached and body["AttachStdin"] and body["Tty"]:
        require_terminal()
    try:
        container = create.create_container(invocation, found, body)
    except Failure as failure:
        raise RunFailure(failure) from None
    if trace:
        trace.mark("create")
    attach = body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]
    if not attach:
        sys.stdout.write(container + "\n")
        sys.stdout.flush()
        _start(invocation.client, container, trace)
        return 0
    return _attached(invocation, found, container, body, trace)


def terminal_size(body: "dict[str, Any]") -> None:
    if body["Tty"] and sys.stdout.isatty():
        from onggi.cli.terminal import size

        body["HostConfig"]["ConsoleSize"] = list(size())


def require_terminal() -> None:
    from onggi.cli.terminal import is_terminal

    if not is_terminal(0):
        raise Failure("the input device is not a TTY")


def _start(client: "Client", container: str, trace: "Trace | None") -> None:
    try:
        headers = {"Onggi-Trace": "1"} if trace else None
        answer = client.call("POST", f"/containers/{container}/start", headers=headers)
        answer.read()
    except ResponseError as error:
        raise RunFailure(error) from None
    if trace:
        trace.mark("start", answer.headers.get("onggi-trace", ""))


def keys_of(invocation: "Invocation", found: "Arguments") -> str:
    """--detach-keys, or config.json's detachKeys."""
    return found.text("detach-keys") or invocation.config.text("detachKeys")


def _attached(
    invocation: "Invocation", found: "Arguments", container: str, body: "dict[str, Any]", trace: "Trace | None"
) -> int:
    from onggi.cli.streams import Signals, forwarded

    client = invocation.client
    proxied = forwarded() if found.flag("sig-proxy", default=True) else []
    resized = body["Tty"] and sys.stdout.isatty()
    if resized:
        from onggi.cli import signals as numbers

        proxied += [number for number in (numbers.number("SIGWINCH"),) if number]
    with Signals(proxied) as signals:
        query: dict[str, Any] = {"stream": True}
        for stream in ("stdin", "stdout", "stderr"):
            if body[f"Attach{stream.capitalize()}"]:
                query[stream] = True
        keys = keys_of(invocation, found)
        if keys:
            query["detachKeys"] = keys
        # Both are asked for before either answer is read, and both are heard before the start: no byte and no exit
        # status can be missed.
        stream_connection = client.upgrade(f"/containers/{container}/attach", query)
        condition = "removed" if found.flag("rm") else "next-exit"
        wait_connection = client.begin("POST", f"/containers/{container}/wait", {"condition": condition})
        client.upgraded(stream_connection)
        waiting = client.finish(wait_connection)
        if trace:
            trace.mark("attach")
        try:
            _start(client, container, trace)
        except Failure:
            stream_connection.close()
            if found.flag("rm"):
                waiting.read()  # until it is removed
            raise
        session = _session(client, container, body, stream_connection, wait_connection, signals, keys, tty=resized)
        if not session.carry():
            return 0  # detached: the container goes on
        if trace:
            trace.mark("streams")
        status = exit_status(waiting.json())
    if trace:
        trace.mark("wait")
        trace.print()
    if status:
        raise Exit(status)
    return 0


def _session(
    client: "Client",
    container: str,
    body: "dict[str, Any]",
    stream: "Connection",
    ended: "Connection",
    signals: "Any",
    keys: str,
    *,
    tty: bool,
) -> "Any":
    from onggi.cli import terminal
    from onggi.cli.streams import Session
    from onggi.cli.window import Forwarder

    forwarder = Forwarder(client, f"/containers/{container}", window=tty)
    if tty:
        forwarder.resize()
    return Session(
        stream,
        stdin=body["AttachStdin"],
        output=body["AttachStdout"] or body["AttachStderr"],
        tty=body["Tty"],
        keys=terminal.detach_keys(keys) if keys else terminal.DEFAULT_KEYS,
        signals=signals,
        on_signal=forwarder,
        ended=ended,
    )
