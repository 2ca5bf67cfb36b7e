"""`events`: what happens in the engine, as it happens."""

import sys

from onggi.cli import times
from onggi.cli.connection import filters
from onggi.cli.output import execute, parse_template, safe, shown
from onggi.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation
    from onggi.template.evaluator import Template


def _moment(event: "dict[str, Any]") -> str:
    nanoseconds = event.get("timeNano") or (event.get("time") or 0) * 10**9
    moment = times.local_rfc3339(nanoseconds // 10**9)
    return f"{moment[:19]}.{nanoseconds % 10**9:09d}{moment[19:]}"


def line(event: "dict[str, Any]") -> str:
    """2026-12-01T01:14:49.127794516Z container create 1b84… (image=h7bb, name=x)"""
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    text = f"{_moment(event)} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    if attributes:
        text += " (" + ", ".join(f"{name}={attributes[name]}" for name in sorted(attributes)) + ")"
    return safe(text)


def _through(template: "Template", event: "dict[str, Any]") -> str:
    from onggi.template.values import StringMap, Struct

    actor = event.get("Actor") or {}
    members = {
        "Status": event.get("status", ""), "ID": event.get("id", ""), "From": event.get("from", ""),
        "Type": event.get("Type", ""), "Action": event.get("Action", ""),
        "Actor": Struct({"ID": actor.get("ID", ""), "Attributes": StringMap(actor.get("Attributes") or {})}),
        "Scope": event.get("scope", ""), "Time": event.get("time", 0), "TimeNano": event.get("timeNano", 0),
    }  # fmt: skip
    return shown(execute(template, Struct(members, "*events.Message")))


def events(invocation: "Invocation", found: "Arguments") -> int:
    form = found.text("format")
    as_json = form in ("json", "{{json .}}")
    template = parse_template(form) if form and not as_json else None
    query: dict[str, Any] = {}
    for option in ("since", "until"):
        if found.text(option):
            query[option] = times.timestamp(found.text(option))
    if found.given("filter"):
        query["filters"] = filters(found.texts("filter"))
    answer = invocation.client.call("GET", "/events", query)
    for text in answer.lines():
        if not text.strip():
            continue
        if as_json:
            sys.stdout.write(text.decode("utf-8", "replace").strip() + "\n")
        else:
            event = loads(text)
            sys.stdout.write((line(event) if template is None else _through(template, event)) + "\n")
        sys.stdout.flush()
    return 0
