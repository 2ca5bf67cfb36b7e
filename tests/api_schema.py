"""Replies held against Docker's own description of its API (tests/reference/docker-api-1.51.schema.json)."""

import copy
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = Path(__file__).parent / "reference" / "docker-api-1.51.schema.json"
_BODYLESS = (101, 204, 304)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SCHEMA.read_text())
    _allow_null(document["definitions"])
    for operations in document["paths"].values():
        _allow_null(operations)
    return document


def _allow_null(schema: Any) -> None:
    """Docker answers null for an empty list or object nearly everywhere, whatever its description says."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str) and ("properties" in schema or "items" in schema or "enum" in schema):
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None, ""]
        elif schema.get("type") in ("string", "integer", "object", "array", "boolean", "number"):
            schema["type"] = [schema["type"], "null"]
        for member in schema.values():
            _allow_null(member)
    elif isinstance(schema, list):
        for member in schema:
            _allow_null(member)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    # A literal path first: /images/json is not an image named "json".
    paths = sorted(_document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "(.+)", path)), path) for path in paths]


def operation(method: str, path: str) -> Mapping[str, Any]:
    """The description of one endpoint; `path` without version and query. Raises KeyError when there is none."""
    for pattern, template in _patterns():
        found = _document()["paths"][template].get(method.lower())
        if found is not None and pattern.fullmatch(path):
            described: Mapping[str, Any] = found
            return described
    raise KeyError(f"{method} {path} is not in Docker's API")


def check(method: str, path: str, status: int, body: Any) -> None:
    """Raise AssertionError when a reply is not as described. `body` is the parsed JSON, None when there is none."""
    responses = operation(method, path)["responses"]
    assert str(status) in responses, f"{method} {path}: status {status} is not described, only {sorted(responses)}"
    schema = responses[str(status)].get("schema")
    if schema is None or body is None or status in _BODYLESS:
        return
    schema = {**copy.deepcopy(schema), "definitions": _document()["definitions"]}
    errors = list(jsonschema.Draft4Validator(schema).iter_errors(body))
    assert not errors, "\n".join(
        [
            f"{method} {path} {status}:",
            *(f"  {'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in errors[:8]),
        ]
    )
