"""`images`, `image ls`. After docker/cli: cli/command/formatter/image.go."""

import sys

from onggi import durations
from onggi.cli import times, units
from onggi.cli.commands.rows import short_id
from onggi.cli.connection import filters
from onggi.cli.failure import Failure
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {
    "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
}  # fmt: skip
_NONE = "<none>"


class Line:
    """One line: an image under one of its names."""

    __slots__ = ("digest", "image", "repository", "tag")

    def __init__(self, image: "dict[str, Any]", repository: str, tag: str, digest: str) -> None:
        self.image = image
        self.repository = repository
        self.tag = tag
        self.digest = digest


def _grouped(names: "list[str]", mark: str) -> "dict[str, list[str]]":
    """Repository → tags or digests."""
    found: dict[str, list[str]] = {}
    for name in names:
        repository, _, rest = name.rpartition(mark)
        found.setdefault(repository, []).append(rest)
    return found


def lines(image: "dict[str, Any]", *, digests: bool) -> "Iterator[Line]":
    """The lines of one image: one a tag, with digests one a tag and digest."""
    tags = [name for name in image.get("RepoTags") or () if name != "<none>:<none>"]
    known = _grouped([name for name in image.get("RepoDigests") or () if name != "<none>@<none>"], "@")
    if not tags and not known:
        yield Line(image, _NONE, _NONE, _NONE)
        return
    for repository, names in _grouped(tags, ":").items():
        of_repository = known.pop(repository, []) if digests else (known.pop(repository, []) and [])
        for tag in names:
            for digest in of_repository or (_NONE,):
                yield Line(image, repository, tag, digest)
    for repository, found in known.items():
        for digest in found if digests else ("",):
            yield Line(image, repository, _NONE, digest)


def _counted(value: "int | None") -> str:
    return "N/A" if value is None or value == -1 else str(value)


def _sized(value: "int | None") -> str:
    return "N/A" if value is None or value == -1 else units.decimal(value)


def _unique(image: "dict[str, Any]") -> str:
    shared = image.get("SharedSize", -1)
    return "N/A" if shared == -1 else units.decimal(image["Size"] - shared)


def row_type(*, whole: bool) -> RowType:
    fields: dict[str, Callable[[Any], Any]] = {
        "ID": (lambda line: line.image["Id"]) if whole else (lambda line: short_id(line.image["Id"])),
        "Repository": lambda line: line.repository,
        "Tag": lambda line: line.tag,
        "Digest": lambda line: line.digest,
        "CreatedSince": lambda line: since(line.image["Created"]),
        "CreatedAt": lambda line: times.local(line.image["Created"]),
        "Size": lambda line: units.decimal(line.image["Size"], 3),
        "Containers": lambda line: _counted(line.image.get("Containers")),
        "VirtualSize": lambda line: units.decimal(line.image["Size"]),
        "SharedSize": lambda line: _sized(line.image.get("SharedSize")),
        "UniqueSize": lambda line: _unique(line.image),
    }
    return RowType("*formatter.imageContext", fields)


def since(created: int) -> str:
    return "N/A" if created <= 0 else durations.in_words(times.ago(created)) + " ago"


def _filters(found: "Arguments") -> "dict[str, Any]":
    asked = found.texts("filter")
    if found.words:
        asked.append(f"reference={found.words[0]}")
    return {"filters": filters(asked)} if asked else {}


def _tree(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.commands import tree

    for option, name in (
        ("quiet", "quiet"),
        ("no-trunc", "no-trunc"),
        ("digests", "show-digest"),
        ("format", "format"),
    ):
        if found.given(option):
            raise Failure(f"--{name} is not yet supported with --tree")
    query: dict[str, Any] = {"manifests": True, **_filters(found)}
    if found.flag("all"):
        query["all"] = True
    tree.show(invocation.client.get("/images/json", query))
    return 0


def images(invocation: "Invocation", found: "Arguments") -> int:
    if found.flag("tree"):
        return _tree(invocation, found)
    form = found.text("format")
    quiet = found.flag("quiet")
    if not form and not quiet:
        form = invocation.config.text("imagesFormat")
    query: dict[str, Any] = {"all": True} if found.flag("all") else {}
    query |= _filters(found)
    data = invocation.client.get("/images/json", query)
    digests = found.flag("digests") or ".Digest" in form
    columns: tuple[str, ...] = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
    if not found.flag("digests"):
        columns = ("Repository", "Tag", "ID", "CreatedSince", "Size")
    listing = Listing(row_type(whole=found.flag("no-trunc")), HEADERS, columns)
    if quiet and form in ("", "table"):
        form = "{{.ID}}"
    rows = [line for image in data for line in lines(image, digests=digests)]
    sys.stdout.write(render(listing, rows, form))
    return 0
