"""`logs`."""

from onggi.cli import times
from onggi.cli.connection import quote
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.streams import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Response
    from onggi.cli.main import Invocation


_CHOICES = ("details", "follow", "since", "tail", "timestamps", "until")


def logs(invocation: "Invocation", found: "Arguments") -> int:
    container = found.words[0]
    if found.flag("clear"):
        return _clear(invocation, found, container)
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


def _clear(invocation: "Invocation", found: "Arguments", container: str) -> int:
    for option in _CHOICES:
        if found.given(option):
            raise Failure(f"--clear shows nothing: --{option} makes no sense with it")
    try:
        invocation.client.call("POST", f"/onggi/containers/{quote(container)}/log/clear").read()
    except ResponseError as error:
        if error.code == 404 and error.message == "page not found":
            raise Failure("this engine can't clear a log: it is not Onggi") from None
        raise
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
