"""`pull` and `push`, and the pull that `run` and `create` do."""

import os
import sys

from onggi.cli import credentials
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation
    from onggi.oci.reference import Reference


def reference(text: str) -> "Reference":
    """Raises Failure in Docker's words."""
    from onggi.errors import InvalidParameter
    from onggi.oci.reference import Reference

    try:
        return Reference.parse(text)
    except InvalidParameter as error:
        raise Failure(str(error)) from None


def _named(text: str, *, all_tags: bool, quiet: bool) -> "Reference":
    """The image that is named, with the default tag where none is given; that is said unless `quiet`."""
    image = reference(text)
    if all_tags and (image.tag or image.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    if not all_tags and not image.tag and not image.digest:
        image = image.with_default_tag()
        if not quiet:
            sys.stdout.write(f"Using default tag: {image.tag}\n")
    return image


def refuse_trust(found: "Arguments") -> None:
    """Docker Content Trust is not there; whoever relies on it must not be left to believe that it checks."""
    asked = os.environ.get("DOCKER_CONTENT_TRUST", "") in ("1", "t", "T", "true", "TRUE", "True")
    if not found.flag("disable-content-trust", default=not asked):
        raise Failure(
            "Docker Content Trust is not supported: unset DOCKER_CONTENT_TRUST, or give --disable-content-trust"
        )


def fetch(
    invocation: "Invocation",
    image: "Reference",
    *,
    platform: str = "",
    all_tags: bool = False,
    quiet: bool = False,
    stream: "TextIO | None" = None,
) -> None:
    """Pull an image and show the progress."""
    from onggi.cli import progress

    query: dict[str, Any] = {"fromImage": image.name}
    if not all_tags:
        query["tag"] = str(image.digest or image.tag or "latest")
    if platform:
        query["platform"] = platform
    headers = credentials.headers_for(invocation.config, image.name)
    answer = invocation.client.call("POST", "/images/create", query, headers=headers)
    if quiet:
        for message in answer.objects():
            if isinstance(message, dict) and (message.get("errorDetail") or message.get("error")):
                detail = message.get("errorDetail") or {"message": message["error"]}
                raise Failure(str(detail.get("message") or ""))
    else:
        progress.show(answer.objects(), stream)


def pull(invocation: "Invocation", found: "Arguments") -> int:
    refuse_trust(found)
    all_tags, quiet = found.flag("all-tags"), found.flag("quiet")
    image = _named(found.words[0], all_tags=all_tags, quiet=quiet)
    try:
        fetch(invocation, image, platform=found.text("platform"), all_tags=all_tags, quiet=quiet)
    finally:
        sys.stdout.flush()
    sys.stdout.write(f"{image.canonical}\n")
    return 0


def push(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli import progress
    from onggi.cli.creation.platform import normal
    from onggi.jsontext import dumps

    refuse_trust(found)
    all_tags, quiet = found.flag("all-tags"), found.flag("quiet")
    image = _named(found.words[0], all_tags=all_tags, quiet=quiet)
    query: dict[str, Any] = {} if all_tags else {"tag": image.tag or ""}
    if found.given("platform"):
        names = normal(found.text("platform")).split("/")
        query["platform"] = dumps(dict(zip(("os", "architecture", "variant"), names, strict=False)))
    kept = credentials.find(invocation.config, credentials.registry_of(image.name))
    headers = {"X-Registry-Auth": credentials.header(kept)}
    if not quiet:
        sys.stdout.write(f"The push refers to repository [{image.name}]\n")
    sys.stdout.flush()
    answer = invocation.client.call("POST", f"/images/{image.name}/push", query, headers=headers)
    messages = (message for message in answer.objects() if "The push refers to" not in str(message.get("status", "")))
    if not quiet:
        progress.show(messages)
        return 0
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        progress.show(messages, nowhere)
    sys.stdout.write(f"{image.canonical}\n")
    return 0
