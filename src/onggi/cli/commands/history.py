"""`history`: the steps an image was made by."""

import sys

from onggi import durations
from onggi.cli import times, units
from onggi.cli.commands.rows import ellipsis, short_id
from onggi.cli.connection import quote
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY",
           "Size": "SIZE", "Comment": "COMMENT"}  # fmt: skip


def _row_type(*, whole: bool, human: bool) -> RowType:
    def created_by(step: "dict[str, Any]") -> str:
        text = str(step["CreatedBy"]).replace("\t", " ")
        return text if whole else ellipsis(text, 45)

    def identity(step: "dict[str, Any]") -> str:
        return str(step["Id"]) if whole else short_id(step["Id"])

    fields: dict[str, Callable[[Any], Any]] = {
        "ID": identity,
        "CreatedAt": lambda step: times.local_rfc3339(step["Created"]) if step["Created"] > 0 else "N/A",
        "CreatedSince": lambda step: _since(step, human=human),
        "CreatedBy": created_by,
        "Size": lambda step: units.decimal(step["Size"], 3) if human else str(step["Size"]),
        "Comment": lambda step: step["Comment"],
    }
    return RowType("*formatter.historyContext", fields)


def _since(step: "dict[str, Any]", *, human: bool) -> str:
    if not human:
        return times.local_rfc3339(step["Created"])
    return durations.in_words(times.ago(step["Created"])) + " ago" if step["Created"] > 0 else "N/A"


def history(invocation: "Invocation", found: "Arguments") -> int:
    query: dict[str, Any] = {}
    if found.given("platform"):
        from onggi.cli.commands.load import platform

        query["platform"] = platform(found.text("platform"))
    data = invocation.client.get(f"/images/{quote(found.words[0], '/:@')}/history", query)
    human = found.flag("human", default=True)
    listing = Listing(
        _row_type(whole=found.flag("no-trunc"), human=human),
        HEADERS if human else {**HEADERS, "CreatedSince": "CREATED AT"},
        ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
    )
    form = found.text("format")
    if found.flag("quiet") and form in ("", "table"):
        form = "{{.ID}}"
    sys.stdout.write(render(listing, data, form))
    return 0
