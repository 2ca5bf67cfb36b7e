"""`run`: create, attach, wait, start, and carry the streams until the container ends."""

import sys

from onggi.cli.commands import create
from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client
    from onggi.cli.main import Invocation
    from onggi.cli.trace import Trace


def run_failure(failure: Failure) -> Failure:
    """A container that could not be run: 125, or 126 and 127 as a shell has them."""
    text = str(failure)
    status = 125
    if "executable file not found" in text or "no such file or directory" in text:
        status = 127
    elif "permission denied" in text or "is a directory" in text:
        status = 126
    return create.with_help(failure, "run", status)


def run(invocation: "Invocation", found: "Arguments") -> int:
    """The container's exit status; 0 with -d."""
    body = create.read_options(invocation, found, "run")
    detached = found.flag("detach")
    if detached:
        if found.values.get("attach"):
            raise Failure("conflicting options: cannot specify both --attach and --detach")
        body["AttachStdin"] = body["AttachStdout"] = body["AttachStderr"] = body["StdinOnce"] = False
    trace = None
    if invocation.trace:
        from onggi.cli.trace import Trace

        trace = Trace()
    terminal_size(body)
    if not detached and body["AttachStdin"] and body["Tty"]:
        from onggi.cli.attached import require_terminal

        require_terminal()
    attach = body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]
    try:
        if attach:
            container = create.create_container(invocation, found, body, meanwhile=_get_ready)
        else:
            container = create.create_container(invocation, found, body)
    except Failure as failure:
        raise run_failure(failure) from None
    if trace:
        trace.mark("create")
    if not attach:
        sys.stdout.write(container + "\n")
        sys.stdout.flush()
        _start(invocation.client, container, trace)
        if trace:
            trace.print()
        return 0
    return _attached(invocation, found, container, body, trace)


def _get_ready() -> None:
    """Load what an attached container needs, while the engine creates it."""
    import select  # noqa: F401

    from onggi.cli import attached, signals, streams, terminal, window  # noqa: F401


def terminal_size(body: "dict[str, Any]") -> None:
    if body["Tty"] and sys.stdout.isatty():
        from onggi.cli.terminal import size

        body["HostConfig"]["ConsoleSize"] = list(size())


def _start(client: "Client", container: str, trace: "Trace | None") -> None:
    try:
        headers = {"Onggi-Trace": "1"} if trace else None
        answer = client.call("POST", f"/containers/{container}/start", headers=headers)
        answer.read()
    except ResponseError as error:
        raise run_failure(error) from None
    if trace:
        trace.mark("start", answer.headers.get("onggi-trace", ""))


def keys_of(invocation: "Invocation", found: "Arguments") -> str:
    """--detach-keys, or config.json's detachKeys."""
    return found.text("detach-keys") or invocation.config.text("detachKeys")


def _attached(
    invocation: "Invocation", found: "Arguments", container: str, body: "dict[str, Any]", trace: "Trace | None"
) -> int:
    from onggi.cli.attached import Attached

    attached = Attached(
        invocation.client,
        container,
        tty=body["Tty"],
        streams={name for name in ("stdin", "stdout", "stderr") if body[f"Attach{name.capitalize()}"]},
        keys=keys_of(invocation, found),
        proxy=found.flag("sig-proxy", default=True),
    )
    condition = "removed" if found.flag("rm") else "next-exit"
    status = attached.carry(condition=condition, refusal=run_failure, trace=trace)
    if trace:
        trace.mark("wait")
        trace.print()
    return status
