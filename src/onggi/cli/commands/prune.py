"""`prune` of containers, images, networks, volumes, and of all of them."""

import sys

from onggi.cli import units
from onggi.cli.connection import filters
from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

_QUESTION = "Are you sure you want to continue? [y/N] "


def confirmed(found: "Arguments", warning: str) -> bool:
    """Whether the user agrees, or said so by --force."""
    if found.flag("force"):
        return True
    sys.stdout.write(f"WARNING! {warning}\n{_QUESTION}")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


def _filters(invocation: "Invocation", found: "Arguments", more: "Sequence[str]" = ()) -> "dict[str, Any]":
    kept = invocation.config.values.get("pruneFilters")
    asked = [*([str(text) for text in kept] if isinstance(kept, list) else ()), *found.texts("filter"), *more]
    return {"filters": filters(asked)} if asked else {}


def _containers(invocation: "Invocation", query: "dict[str, Any]") -> "tuple[str, int]":
    answer = invocation.client.post("/containers/prune", query)
    removed = answer.get("ContainersDeleted") or ()
    text = "Deleted Containers:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return text, answer.get("SpaceReclaimed") or 0


def _images(invocation: "Invocation", query: "dict[str, Any]") -> "tuple[str, int]":
    answer = invocation.client.post("/images/prune", query)
    removed = answer.get("ImagesDeleted") or ()
    lines = [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}" for item in removed
    ]
    return ("Deleted Images:\n" + "\n".join(lines) + "\n" if lines else ""), answer.get("SpaceReclaimed") or 0


def _networks(invocation: "Invocation", query: "dict[str, Any]") -> "tuple[str, int]":
    removed = invocation.client.post("/networks/prune", query).get("NetworksDeleted") or ()
    return ("Deleted Networks:\n" + "".join(f"{name}\n" for name in removed) if removed else ""), 0


def _volumes(invocation: "Invocation", query: "dict[str, Any]") -> "tuple[str, int]":
    answer = invocation.client.post("/volumes/prune", query)
    removed = answer.get("VolumesDeleted") or ()
    text = "Deleted Volumes:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return text, answer.get("SpaceReclaimed") or 0


def _report(text: str, space: int) -> int:
    if text:
        sys.stdout.write(text + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.decimal(space)}\n")
    return 0


def container(invocation: "Invocation", found: "Arguments") -> int:
    if not confirmed(found, "This will remove all stopped containers."):
        return 0
    return _report(*_containers(invocation, _filters(invocation, found)))


def image(invocation: "Invocation", found: "Arguments") -> int:
    everything = found.flag("all")
    what = "all images without at least one container associated to them" if everything else "all dangling images"
    if not confirmed(found, f"This will remove {what}."):
        return 0
    more = ["dangling=false" if everything else "dangling=true"]
    return _report(*_images(invocation, _filters(invocation, found, more)))


def network(invocation: "Invocation", found: "Arguments") -> int:
    if not confirmed(found, "This will remove all custom networks not used by at least one container."):
        return 0
    text, _ = _networks(invocation, _filters(invocation, found))
    if text:
        sys.stdout.write(text + "\n")
    return 0


def volume(invocation: "Invocation", found: "Arguments") -> int:
    everything = found.flag("all")
    if everything and any(text.startswith("all=") for text in found.texts("filter")):
        raise Failure("conflicting options: cannot specify both --all and --filter all=1")
    what = "all" if everything else "anonymous"
    if not confirmed(found, f"This will remove {what} local volumes not used by at least one container."):
        return 0
    more = ["all=true"] if everything else []
    return _report(*_volumes(invocation, _filters(invocation, found, more)))


def system(invocation: "Invocation", found: "Arguments") -> int:
    asked = found.texts("filter")
    if found.flag("volumes") and any(text.startswith("until=") for text in asked):
        raise Failure('ERROR: The "until" filter is not supported with "--volumes"')
    everything = found.flag("all")
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if found.flag("volumes"):
        lines.append("all anonymous volumes not used by at least one container")
    lines.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    lines.append("all build cache" if everything else "unused build cache")
    warning = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if asked:
        warning += "\n  Items to be pruned will be filtered with:\n" + "".join(
            f"  - {text}\n" for text in sorted(asked)
        )
    if not confirmed(found, warning):
        return 0
    query = _filters(invocation, found)
    parts = [_containers(invocation, query), _networks(invocation, query)]
    if found.flag("volumes"):
        parts.append(_volumes(invocation, query))
    parts.append(
        _images(invocation, _filters(invocation, found, ["dangling=false" if everything else "dangling=true"]))
    )
    parts.append(_build_cache(invocation, {**query, "all": True} if everything else query))
    for text, _ in parts:
        if text:
            sys.stdout.write(text + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.decimal(sum(space for _, space in parts))}\n")
    return 0


def _build_cache(invocation: "Invocation", query: "dict[str, Any]") -> "tuple[str, int]":
    try:
        answer = invocation.client.post("/build/prune", query)
    except ResponseError as error:
        if error.code in (404, 501):
            return "", 0  # an engine that does not build has no cache
        raise
    removed = answer.get("CachesDeleted") or ()
    text = "Deleted build cache objects:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return text, answer.get("SpaceReclaimed") or 0
