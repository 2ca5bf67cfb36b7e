"""`top`: the processes of a container."""

import sys

from onggi.cli.output import align, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def top(invocation: "Invocation", found: "Arguments") -> int:
    query = {"ps_args": " ".join(found.words[1:])} if len(found.words) > 1 else {}
    answer = invocation.client.get(f"/containers/{found.words[0]}/top", query)
    rows = [[safe(str(cell)) for cell in row] for row in (answer["Titles"], *(answer["Processes"] or ()))]
    sys.stdout.write(align(rows, minimum=20, padding=1))
    return 0
