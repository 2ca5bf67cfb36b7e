"""`exec`: a further process in a running container."""

import sys

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client
    from onggi.cli.main import Invocation


def _body(found: "Arguments") -> "dict[str, Any]":
    attach = not found.flag("detach")
    body: dict[str, Any] = {
        "User": found.text("user"),
        "Privileged": found.flag("privileged"),
        "Tty": found.flag("tty"),
        "AttachStdin": attach and found.flag("interactive"),
        "AttachStderr": attach,
        "AttachStdout": attach,
        "DetachKeys": found.text("detach-keys"),
        "Env": found.texts("env") or None,
        "WorkingDir": found.text("workdir"),
        "Cmd": found.words[1:],
    }
    if found.flag("end-with-client"):
        body["EndsWithClient"] = True
    if found.given("env-file"):
        import os

        from onggi.cli.creation.environment import read

        lines = [line for path in found.texts("env-file") for line in read(path, os.environ)]
        body["Env"] = [*lines, *found.texts("env")] or None
    return body


def execute(invocation: "Invocation", found: "Arguments") -> int:
    """The process's exit status; 0 with -d."""
    client = invocation.client
    body = _body(found)
    tty = body["Tty"]
    if body["AttachStdin"] and tty:
        from onggi.cli.attached import require_terminal

        require_terminal()
    body["DetachKeys"] = body["DetachKeys"] or invocation.config.text("detachKeys")
    start: dict[str, Any] = {"Detach": found.flag("detach"), "Tty": tty}
    if tty and sys.stdout.isatty():
        from onggi.cli.terminal import size

        body["ConsoleSize"] = start["ConsoleSize"] = list(size())
    container = found.words[0]
    identity = client.post(f"/containers/{container}/exec", body=body, meanwhile=_get_ready)["Id"]
    if not identity:
        raise Failure("exec ID empty")
    if start["Detach"]:
        client.post(f"/exec/{identity}/start", body=start)
        return 0
    if not _carry(client, identity, body, start):
        return 0
    status = int(client.get(f"/exec/{identity}/json")["ExitCode"] or 0)
    return status


def _get_ready() -> None:
    """Load what the streams need, while the engine prepares the process."""
    import select  # noqa: F401

    from onggi.cli import signals, streams, terminal, window  # noqa: F401


def _carry(client: "Client", identity: str, body: "dict[str, Any]", start: "dict[str, Any]") -> bool:
    """Until the process's output ends. False where the user detached."""
    from onggi.cli import signals as numbers
    from onggi.cli import terminal
    from onggi.cli.streams import Session, Signals
    from onggi.cli.window import Forwarder

    window = numbers.number("SIGWINCH") if "ConsoleSize" in body else 0
    keys = body["DetachKeys"]
    with Signals([window] if window else []) as signals:
        connection = client.upgrade(f"/exec/{identity}/start", body=start)
        client.upgraded(connection)
        session = Session(
            connection,
            stdin=body["AttachStdin"],
            output=True,
            tty=body["Tty"],
            keys=terminal.detach_keys(keys) if keys else terminal.DEFAULT_KEYS,
            signals=signals,
            on_signal=Forwarder(client, f"/exec/{identity}", window=bool(window)),
        )
        return session.carry()
