"""`logs`."""

from onggi.cli import times
from onggi.cli.streams import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Response
    from onggi.cli.main import Invocation


def logs(invocation: "Invocation", found: "Arguments") -> int:
    container = found.words[0]
    query: dict[str, Any] = {"stdout": True, "stderr": True, "tail": found.text("tail", "all")}
    for option in ("since", "until"):
        if found.text(option):
            query[option] = times.timestamp(found.text(option), option)
    for option in ("timestamps", "details", "follow"):
        if found.flag(option):
            query[option] = True
    answer = invocation.client.call("GET", f"/containers/{container}/logs", query)
    output = Output(framed=_framed(invocation, answer, container))
    for piece in answer.pieces():
        output.write(piece)
    return 0


def _framed(invocation: "Invocation", answer: "Response", container: str) -> bool:
    """Whether stdout and stderr come in frames. Since API 1.42 the answer says so; before, only the container knows."""
    if "multiplexed-stream" in answer.headers.get("content-type", ""):
        return True
    major, _, minor = answer.headers.get("api-version", "0.0").partition(".")
    if minor.isdigit() and (int(major), int(minor)) >= (1, 42):
        return False
    details = invocation.another_client().get(f"/containers/{container}/json")
    return not details["Config"]["Tty"]
