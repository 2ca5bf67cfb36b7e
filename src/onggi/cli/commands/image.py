"""`image rm`, `rmi` and `tag`."""

import sys

from onggi.cli.connection import quote
from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def rm(invocation: "Invocation", found: "Arguments") -> int:
    query: dict[str, Any] = {}
    if found.flag("force"):
        query["force"] = True
    if found.flag("no-prune"):
        query["noprune"] = True
    if found.given("platform"):
        raise Failure("--platform is not supported by this command yet: remove the image as a whole")
    failures = []
    fatal = False
    for image in found.words:
        try:
            done = invocation.client.delete(f"/images/{quote(image, '/:@')}", query)
        except ResponseError as error:
            fatal = fatal or error.code != 404 or not found.flag("force")
            failures.append(str(error))
            continue
        for item in done or ():
            if item.get("Deleted"):
                sys.stdout.write(f"Deleted: {item['Deleted']}\n")
            else:
                sys.stdout.write(f"Untagged: {item['Untagged']}\n")
    if failures and fatal:
        raise Failure("\n".join(failures))
    if failures:
        sys.stdout.flush()
        sys.stderr.write("\n".join(failures) + "\n")
    return 0


def tag(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.commands.pull import reference

    source, target = found.words
    try:
        name = reference(target)
    except Failure as failure:
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {failure}') from None
    if name.digest:
        raise Failure("refusing to create a tag with a digest reference")
    query = {"repo": name.name, "tag": name.tag or "latest"}
    invocation.client.post(f"/images/{quote(source, '/:@')}/tag", query)
    return 0
