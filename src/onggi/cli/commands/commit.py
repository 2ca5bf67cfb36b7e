"""`commit`: a container's changes as a new image."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def commit(invocation: "Invocation", found: "Arguments") -> int:
    query: dict[str, Any] = {
        "author": found.text("author"),
        "comment": found.text("message"),
        "container": found.words[0],
    }
    if len(found.words) > 1 and found.words[1]:
        from onggi.cli.commands.pull import reference

        name = reference(found.words[1]).with_default_tag()
        query["repo"] = name.name
        query["tag"] = name.tag or ""
    if found.texts("change"):
        query["changes"] = found.texts("change")
    if not found.flag("pause", default=True):
        query["pause"] = False
    answer = invocation.client.post("/commit", query)
    sys.stdout.write(f"{answer['Id']}\n")
    return 0
