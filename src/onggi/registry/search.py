"""Search among the repositories that a subject may pull from.

    nginx               names and descriptions that hold the word
    label:KEY=TEXT      images whose configuration has the label (KEY alone: with any text)
    digest:sha256:AB…   manifests whose digest begins so (and blobs, in full)
    platform:linux/arm64

Words are joined by "and". A feature adds a kind of word by `FILTERS`: the packages of bills of materials come so.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onggi.errors import InvalidParameter
from onggi.registry import catalogue
from onggi.registry.database import Connection
from onggi.registry.permissions import Subject

MOST_WORDS = 10
MOST_CHARACTERS = 400
Filter = Callable[[Connection, int, str], bool]
"""(connection, repository's number, what follows the colon) → does the repository fit?"""


def _label(connection: Connection, repository_id: int, text: str) -> bool:
    key, equals, value = text.partition("=")
    return _exists(
        connection,
        "SELECT 1 FROM image_details d JOIN manifests m ON m.repository_id = d.repository_id AND m.digest = d.digest"
        " WHERE d.repository_id = ? AND m.deleted_at = '' AND d.name = ? AND (? = '' OR d.value = ?) LIMIT 1",
        (repository_id, f"label:{key}", equals, value),
    )


def _platform(connection: Connection, repository_id: int, text: str) -> bool:
    return _exists(
        connection,
        "SELECT 1 FROM image_details d JOIN manifests m ON m.repository_id = d.repository_id AND m.digest = d.digest"
        " WHERE d.repository_id = ? AND m.deleted_at = '' AND d.name = 'platform'"
        " AND (d.value = ? OR SUBSTR(d.value, 1, ?) = ?) LIMIT 1",
        (repository_id, text, len(text) + 1, text + "/"),
    )


def _digest(connection: Connection, repository_id: int, text: str) -> bool:
    if len(text) < len("sha256:") + 6:
        raise InvalidParameter("a digest is searched by its algorithm and at least 6 digits: digest:sha256:0123ab")
    return _exists(
        connection,
        "SELECT 1 FROM manifests WHERE repository_id = ? AND deleted_at = '' AND SUBSTR(digest, 1, ?) = ? LIMIT 1",
        (repository_id, len(text), text),
    ) or _exists(
        connection, "SELECT 1 FROM repository_blobs WHERE repository_id = ? AND digest = ?", (repository_id, text)
    )


def _exists(connection: Connection, statement: str, parameters: Sequence[str | int]) -> bool:
    return connection.execute(statement, parameters).fetchone() is not None


FILTERS: dict[str, Filter] = {"label": _label, "platform": _platform, "digest": _digest}


def find(connection: Connection, subject: Subject, query: str) -> Iterator[Any]:
    """Rows of fitting repositories (see `catalogue.visible`), by name. Raises InvalidParameter."""
    words = query[:MOST_CHARACTERS].lower().split()[:MOST_WORDS]
    plain, filters = [], []
    originals = query[:MOST_CHARACTERS].split()[:MOST_WORDS]
    for word, original in zip(words, originals, strict=True):
        kind, colon, _ = word.partition(":")
        if colon and kind in FILTERS:
            filters.append((FILTERS[kind], original.partition(":")[2]))
        else:
            plain.append(word)
    for row in catalogue.visible(connection, subject):
        text = f"{row['name']} {row['description'].lower()}"
        if all(word in text for word in plain) and all(fits(connection, row["id"], rest) for fits, rest in filters):
            yield row
