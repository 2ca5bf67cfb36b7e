"""`attach`: the streams of a running container."""

from onggi.cli.attached import Attached, require_terminal
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def attach(invocation: "Invocation", found: "Arguments") -> int:
    """The container's exit status; 0 where the user detached."""
    client = invocation.client
    details = client.get(f"/containers/{found.words[0]}/json")
    state, config = details["State"], details["Config"]
    if not state["Running"]:
        raise Failure("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failure("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failure("You cannot attach to a restarting container, wait until it is running")
    streams = {"stdout", "stderr"}
    if config["OpenStdin"] and not found.flag("no-stdin"):
        streams.add("stdin")
        if config["Tty"]:
            require_terminal()
    attached = Attached(
        client,
        details["Id"],
        tty=config["Tty"],
        streams=streams,
        keys=found.text("detach-keys") or invocation.config.text("detachKeys"),
        proxy=found.flag("sig-proxy", default=True),
    )
    return attached.carry(condition="not-running", starts=False)
