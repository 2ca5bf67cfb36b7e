"""`start`: stopped containers, perhaps attached to."""

import sys

from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def start(invocation: "Invocation", found: "Arguments") -> int:
    if found.given("checkpoint") or found.given("checkpoint-dir"):
        raise Failure("Onggi does not checkpoint containers: --checkpoint is not available")
    if not (found.flag("attach") or found.flag("interactive")):
        return _all(invocation, found)
    if len(found.words) > 1:
        raise Failure("you cannot start and attach multiple containers at once")
    from onggi.cli.attached import Attached, require_terminal

    client = invocation.client
    details = client.get(f"/containers/{found.words[0]}/json")
    config, identity = details["Config"], details["Id"]
    streams = {"stdout", "stderr"}
    if found.flag("interactive") and config["OpenStdin"]:
        streams.add("stdin")
        if config["Tty"]:
            require_terminal()
    attached = Attached(
        client,
        identity,
        tty=config["Tty"],
        streams=streams,
        keys=found.text("detach-keys") or invocation.config.text("detachKeys"),
        proxy=found.flag("sig-proxy", default=True),
    )
    condition = "removed" if details["HostConfig"].get("AutoRemove") else "next-exit"
    return attached.carry(condition=condition)


def _all(invocation: "Invocation", found: "Arguments") -> int:
    query: dict[str, Any] = {}
    keys = found.text("detach-keys")
    if keys:
        query["detachKeys"] = keys
    failed = []
    for container in found.words:
        try:
            invocation.client.post(f"/containers/{container}/start", query)
        except ResponseError as error:
            sys.stdout.flush()
            sys.stderr.write(f"{error}\n")
            failed.append(container)
        else:
            sys.stdout.write(f"{container}\n")
    if failed:
        raise Failure(f"Error: failed to start containers: {', '.join(failed)}")
    return 0
