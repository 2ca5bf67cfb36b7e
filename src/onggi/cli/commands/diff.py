"""`diff`: what a container changed in its file system."""

import sys

from onggi.cli.output import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

_KINDS = "CAD"


def diff(invocation: "Invocation", found: "Arguments") -> int:
    for change in invocation.client.get(f"/containers/{found.words[0]}/changes") or ():
        sys.stdout.write(f"{_KINDS[change['Kind']]} {safe(change['Path'])}\n")
    return 0
