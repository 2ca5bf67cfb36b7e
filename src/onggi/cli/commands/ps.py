"""`ps`, `container ls`. After docker/cli: cli/command/formatter/container.go."""

import sys

from onggi import durations
from onggi.cli import times, units
from onggi.cli.commands.rows import ellipsis, pairs, short_id
from onggi.cli.connection import filters
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {
    "ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
    "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}  # fmt: skip
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _quoted(text: str) -> str:
    """Go's %q, which keeps what is printable in any alphabet."""
    from onggi.template.lexer import quote

    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return quote(text)


def _names(data: "dict[str, Any]", *, whole: bool) -> str:
    found = [name.removeprefix("/") for name in data.get("Names") or ()]
    if not whole:
        found = next(([name] for name in found if "/" not in name), found)
    return ",".join(found)


def _image(data: "dict[str, Any]", *, whole: bool) -> str:
    image = str(data.get("Image") or "")
    if not image:
        return "<no image>"
    if whole:
        return image
    if image.startswith("sha256:") or short_id(image) == short_id(str(data.get("ImageID") or "")):
        return short_id(image)
    name, at, _ = image.partition("@")
    return name if at and ":" in name.rpartition("/")[2] else image


def _mounts(data: "dict[str, Any]", *, whole: bool) -> str:
    found = [str(mount.get("Name") or mount.get("Source") or "") for mount in data.get("Mounts") or ()]
    return ",".join(found if whole else [ellipsis(name, 15) for name in found])


def _size(data: "dict[str, Any]") -> str:
    own = units.decimal(data.get("SizeRw") or 0, 3)
    whole = data.get("SizeRootFs") or 0
    return f"{own} (virtual {units.decimal(whole, 3)})" if whole > 0 else own


def ports(found: "Sequence[dict[str, Any]]") -> str:
    """`0.0.0.0:8080->80/tcp, 90-92/udp`: neighbours that map to themselves are drawn together."""
    groups: dict[str, list[int]] = {}
    result: list[str] = []
    mapped: list[str] = []
    ordered = sorted(found, key=lambda p: (p["PrivatePort"], p.get("IP") or "", p.get("PublicPort") or 0, p["Type"]))
    for port in ordered:
        inside, address, kind = port["PrivatePort"], port.get("IP") or "", port["Type"]
        shown = f"[{address}]" if ":" in address else address
        if address and port.get("PublicPort") != inside:
            mapped.append(f"{shown}:{port.get('PublicPort')}->{inside}/{kind}")
            continue
        key = f"{shown}/{kind}"
        if key in groups and groups[key][1] + 1 == inside:
            groups[key][1] = inside
            continue
        if key in groups:
            result.append(_group(key, groups[key]))
        groups[key] = [inside, inside]
    result += [_group(key, group) for key, group in groups.items()]
    return ", ".join(result + mapped)


def _group(key: str, ends: "list[int]") -> str:
    address, _, kind = key.rpartition("/")
    text = str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"
    return f"{address}:{text}->{text}/{kind}" if address else f"{text}/{kind}"


def row_type(*, whole: bool) -> RowType:
    """A line of `ps`. `whole`: nothing is cut short."""
    fields: dict[str, Callable[[Any], Any]] = {
        "ID": (lambda data: data["Id"]) if whole else (lambda data: data["Id"][:12]),
        "Names": lambda data: _names(data, whole=whole),
        "Image": lambda data: _image(data, whole=whole),
        "Command": lambda data: _quoted(
            data.get("Command") or "" if whole else ellipsis(data.get("Command") or "", 20)
        ),
        "CreatedAt": lambda data: times.local(data["Created"]),
        "RunningFor": lambda data: durations.in_words(times.ago(data["Created"])) + " ago",
        "Ports": lambda data: ports(data.get("Ports") or ()),
        "State": lambda data: data.get("State") or "",
        "Status": lambda data: data.get("Status") or "",
        "Size": _size,
        "Labels": lambda data: pairs(data.get("Labels")),
        "Mounts": lambda data: _mounts(data, whole=whole),
        "LocalVolumes": lambda data: str(sum(m.get("Driver") == "local" for m in data.get("Mounts") or ())),
        "Networks": lambda data: ",".join(sorted((data.get("NetworkSettings") or {}).get("Networks") or ())),
        "Platform": lambda data: None,
    }
    methods: dict[str, Callable[[Any, str], Any]] = {
        "Label": lambda data, name: (data.get("Labels") or {}).get(name, "")
    }
    return RowType("*formatter.ContainerContext", fields, methods)


def ps(invocation: "Invocation", found: "Arguments") -> int:
    form = found.text("format")
    quiet = found.flag("quiet")
    if not form and not quiet:
        form = invocation.config.text("psFormat")
    query: dict[str, Any] = {}
    if found.flag("all"):
        query["all"] = True
    limit = 1 if found.flag("latest") else found.number("last", -1)
    if limit > 0:
        query["limit"] = limit
    size = found.flag("size")
    if size or ".Size" in form:
        query["size"] = True
    if found.given("filter"):
        query["filters"] = filters(found.texts("filter"))
    data = invocation.client.get("/containers/json", query)
    columns = (*COLUMNS, "Size") if size else COLUMNS
    listing = Listing(row_type(whole=found.flag("no-trunc")), HEADERS, columns)
    if quiet and form in ("", "table"):
        form = "{{.ID}}"
    sys.stdout.write(render(listing, data, form))
    return 0
