"""`export`: a container's file system as a tar archive."""

import sys

from onggi.cli.commands.load import check_output, write_answer
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def export(invocation: "Invocation", found: "Arguments") -> int:
    path = found.text("output")
    if path:
        check_output(path, "export container")
    elif sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    answer = invocation.client.call("GET", f"/containers/{found.words[0]}/export")
    write_answer(answer, path, "export container")
    return 0
