"""`auto-update`, of Onggi's own; Podman's command and table. (podman-auto-update(1))"""

import sys

from onggi.cli import credentials
from onggi.cli.commands.rows import short_id
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {"ID": "CONTAINER ID", "Name": "NAME", "Image": "IMAGE", "Policy": "POLICY", "Updated": "UPDATED"}
_FIELDS: "dict[str, Callable[[Any], Any]]" = {
    "ID": lambda report: short_id(report["Id"]),
    "Name": lambda report: report["Name"],
    "Image": lambda report: report["Image"],
    "Policy": lambda report: report["Policy"],
    "Updated": lambda report: report["Updated"],
    "Error": lambda report: report["Error"],
}


def auto_update(invocation: "Invocation", found: "Arguments") -> int:
    """Exit status 1 when one failed or was rolled back."""
    query: dict[str, Any] = {"dry_run": True} if found.flag("dry-run") else {}
    reports = invocation.client.call("POST", "/onggi/auto-update", query, headers=_credentials(invocation)).json()
    listing = Listing(RowType("*autoupdate.context", _FIELDS), HEADERS, tuple(HEADERS))
    sys.stdout.write(render(listing, reports, found.text("format")))
    sys.stdout.flush()
    problems = [report for report in reports if report["Updated"] in ("failed", "rolled back")]
    for report in problems:
        sys.stderr.write(f"{report['Name']}: {report['Updated']}: {report['Error']}\n")
    return 1 if problems else 0


def _credentials(invocation: "Invocation") -> "dict[str, str]":
    """The header with what is kept for the registries of all containers' images."""
    kept: dict[str, Any] = {}
    for container in invocation.client.get("/containers/json"):
        registry = credentials.registry_of(container["Image"])
        if proof := credentials.find(invocation.config, registry):
            kept["docker.io" if registry == credentials.HUB else registry] = proof
    return {"X-Registry-Config": credentials.header(kept)} if kept else {}
