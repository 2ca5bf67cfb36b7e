"""`volume`: create, ls, rm, update."""

import sys

from onggi.cli import units
from onggi.cli.commands.lifecycle import each
from onggi.cli.commands.rows import pairs
from onggi.cli.connection import filters, quote
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {
    "Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
    "Links": "LINKS", "Size": "SIZE", "Group": "GROUP", "Availability": "AVAILABILITY", "Status": "STATUS",
}  # fmt: skip
_CLUSTER = ("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
            "topology-preferred", "topology-required", "type")  # fmt: skip


def _size(data: "dict[str, Any]") -> str:
    usage = data.get("UsageData")
    return units.decimal(usage["Size"]) if usage and usage.get("Size", -1) >= 0 else "N/A"


def _links(data: "dict[str, Any]") -> str:
    usage = data.get("UsageData")
    return str(usage["RefCount"]) if usage and usage.get("RefCount", -1) >= 0 else "N/A"


def row_type() -> RowType:
    fields: dict[str, Callable[[Any], Any]] = {
        "Name": lambda data: data["Name"],
        "Driver": lambda data: data["Driver"],
        "Scope": lambda data: data["Scope"],
        "Mountpoint": lambda data: data["Mountpoint"],
        "Labels": lambda data: pairs(data.get("Labels")),
        "Links": _links,
        "Size": _size,
        "Group": lambda data: "N/A",
        "Availability": lambda data: "N/A",
        "Status": lambda data: "N/A",
    }
    methods: dict[str, Callable[[Any, str], Any]] = {
        "Label": lambda data, name: (data.get("Labels") or {}).get(name, "")
    }
    return RowType("*formatter.volumeContext", fields, methods)


def _refuse_cluster(found: "Arguments") -> None:
    for option in _CLUSTER:
        if found.given(option):
            raise Failure(f"Onggi has no swarm mode: --{option} of cluster volumes is not available")


def create(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.creation.request import pairs as mapping

    _refuse_cluster(found)
    body = {
        "Name": found.words[0] if found.words else "",
        "Driver": found.text("driver", "local"),
        "DriverOpts": mapping(found.texts("opt")),
        "Labels": mapping(found.texts("label")),
    }
    given = {key: value for key, value in body.items() if value}
    answer = invocation.client.post("/volumes/create", body=given)
    sys.stdout.write(f"{answer['Name']}\n")
    return 0


def ls(invocation: "Invocation", found: "Arguments") -> int:
    if found.flag("cluster"):
        raise Failure("Onggi has no swarm mode: --cluster is not available")
    form, quiet = found.text("format"), found.flag("quiet")
    if not form and not quiet:
        form = invocation.config.text("volumesFormat")
    query = {"filters": filters(found.texts("filter"))} if found.given("filter") else {}
    answer = invocation.client.get("/volumes", query)
    for warning in answer.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    data = sorted(answer.get("Volumes") or (), key=lambda volume: str(volume["Name"]))
    if quiet and form in ("", "table"):
        form = "{{.Name}}"
    sys.stdout.write(render(Listing(row_type(), HEADERS, ("Driver", "Name")), data, form))
    return 0


def rm(invocation: "Invocation", found: "Arguments") -> int:
    query = {"force": True} if found.flag("force") else {}

    def one(name: str) -> str:
        try:
            invocation.client.delete(f"/volumes/{quote(name)}", query)
        except ResponseError as error:
            if error.code != 404 or not found.flag("force"):
                raise
        return name

    return each(found.words, one)


def update(invocation: "Invocation", found: "Arguments") -> int:
    raise Failure("Onggi has no swarm mode: only cluster volumes can be updated")
