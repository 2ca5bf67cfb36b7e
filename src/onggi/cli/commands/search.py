"""`search`: images on Docker Hub."""

import sys

from onggi.cli import credentials
from onggi.cli.commands.rows import ellipsis
from onggi.cli.connection import filters
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}


def _row_type(*, whole: bool) -> RowType:
    def description(result: "dict[str, Any]") -> str:
        text = str(result.get("description") or "").replace("\n", " ").replace("\r", " ")
        return text if whole else ellipsis(text, 45)

    fields: dict[str, Callable[[Any], Any]] = {
        "Name": lambda result: result["name"],
        "Description": description,
        "StarCount": lambda result: str(result.get("star_count") or 0),
        "IsOfficial": lambda result: "[OK]" if result.get("is_official") else "",
    }
    return RowType("*registry.searchContext", fields)


def search(invocation: "Invocation", found: "Arguments") -> int:
    term = found.words[0]
    query: dict[str, Any] = {"term": term}
    if found.given("limit"):
        query["limit"] = found.number("limit")
    if found.given("filter"):
        query["filters"] = filters(found.texts("filter"))
    headers = credentials.headers_for(invocation.config, term)
    results = invocation.client.call("GET", "/images/search", query, headers=headers).json()
    results = sorted(results, key=lambda result: -(result.get("star_count") or 0))
    listing = Listing(_row_type(whole=found.flag("no-trunc")), HEADERS, tuple(HEADERS))
    sys.stdout.write(render(listing, results, found.text("format")))
    return 0
