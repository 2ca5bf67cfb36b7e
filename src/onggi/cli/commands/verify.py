"""`image verify`, of Onggi's own: are the images on the disk still what their digests say?"""

import sys

from onggi.cli import credentials, progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def verify(invocation: "Invocation", found: "Arguments") -> int:
    """Exit status 1 while anything is damaged."""
    repair = found.flag("repair")
    query: dict[str, Any] = {"names": found.words} if found.words else {}
    headers: dict[str, str] = {}
    if repair:
        query["repair"] = True
        headers = _credentials(invocation, found.words)
    answer = invocation.client.call("POST", "/onggi/images/verify", query, headers=headers)
    damaged = 0

    def report(image: "dict[str, Any]") -> None:
        nonlocal damaged
        left = [damage for damage in image["Damage"] if not damage["Repaired"]]
        damaged += bool(left)
        state = "damaged" if left else "repaired" if image["Damage"] else "ok"
        sys.stdout.write(f"{image['Name']}: {state}\n")
        for damage in image["Damage"]:
            sys.stdout.write(f"  {damage['Kind']} {damage['Digest']}: {damage['Problem']}\n")
            if damage["Failure"]:
                sys.stdout.write(f"    not repaired: {damage['Failure']}\n")
        sys.stdout.flush()

    progress.show(answer.objects(), aux=report)
    return 1 if damaged else 0


def _credentials(invocation: "Invocation", names: "list[str]") -> "dict[str, str]":
    """The header with what is kept for the registries that the images came from."""
    if names:
        from onggi.cli.connection import quote

        images = [invocation.client.get(f"/images/{quote(name, '/:@')}/json") for name in names]
    else:
        images = invocation.client.get("/images/json")
    origins = {digest.partition("@")[0] for image in images for digest in image.get("RepoDigests") or ()}
    kept: dict[str, Any] = {}
    for registry in {credentials.registry_of(origin) for origin in origins}:
        if proof := credentials.find(invocation.config, registry):
            kept["docker.io" if registry == credentials.HUB else registry] = proof
    return {"X-Registry-Config": credentials.header(kept)} if kept else {}
