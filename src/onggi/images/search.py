"""`docker search`: by Docker Hub's index, or by another registry's; where that has none, by its catalogue."""

from collections.abc import Mapping, Sequence

import msgspec

from onggi.distribution.client import Client
from onggi.distribution.credentials import Credentials
from onggi.distribution.failure import AnswerNotFound, Misbehaved, printable
from onggi.distribution.registries import Registries
from onggi.errors import InvalidParameter
from onggi.oci.reference import DOCKER_HUB, InvalidReference

_INDEX_HOST = "index.docker.io"
_LIMIT_BYTES = 4 * 1024 * 1024
_MOST_PAGES = 100
_PAGE = 1000
FILTERS = frozenset({"is-automated", "is-official", "stars"})


class SearchResult(msgspec.Struct, frozen=True):
    """One repository, as the API shows it."""

    star_count: int = 0
    is_official: bool = False
    name: str = ""
    is_automated: bool = False
    description: str = ""


class _Page(msgspec.Struct):
    results: list[SearchResult] = []


class _Catalogue(msgspec.Struct):
    repositories: list[str] | None = None


_page = msgspec.json.Decoder(_Page)
_catalogue = msgspec.json.Decoder(_Catalogue)


async def search(
    registries: Registries,
    term: str,
    limit: int,
    filters: Mapping[str, Sequence[str]],
    credentials: Credentials | None,
) -> list[SearchResult]:
    """At most `limit` repositories whose name or description has `term`; `HOST/words` asks another registry.

    Raises InvalidParameter, Answer, Unreachable, Misbehaved.
    """
    if not 1 <= limit <= 100:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, 100]")
    wanted = _Filter(filters)
    if "://" in term:
        raise InvalidReference(f"invalid repository name ({term[:200]}): it has a scheme")
    host, slash, words = term.partition("/")
    elsewhere = bool(slash) and ("." in host or ":" in host or host == "localhost") and host != DOCKER_HUB
    client = await registries.client(host if elsewhere else _INDEX_HOST, credentials)
    words = words if elsewhere else term.removeprefix(f"{DOCKER_HUB}/").removeprefix("library/")
    try:
        found = await _by_index(client, words, limit)
    except AnswerNotFound:
        if not elsewhere:
            raise
        found = await _by_catalogue(client, words, limit)
    return [
        SearchResult(
            result.star_count, result.is_official, printable(result.name), result.is_automated,
            printable(result.description),
        )
        for result in found
        if wanted.takes(result)
    ][:limit]  # fmt: skip


async def _by_index(client: Client, words: str, limit: int) -> list[SearchResult]:
    url = (client.endpoint.base / "v1" / "search").with_query(q=words, n=str(limit))
    _, _, content = await client.document("GET", url, scopes=(), limit_bytes=_LIMIT_BYTES, what="the search result")
    try:
        return _page.decode(content).results
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Misbehaved("the registry's search result is malformed") from error


async def _by_catalogue(client: Client, words: str, limit: int) -> list[SearchResult]:
    found: list[SearchResult] = []
    last = ""
    for _ in range(_MOST_PAGES):
        query = {"n": str(_PAGE), "last": last} if last else {"n": str(_PAGE)}
        url = client.endpoint.url("_catalog").with_query(query)
        _, headers, content = await client.document(
            "GET", url, scopes=("registry:catalog:*",), limit_bytes=_LIMIT_BYTES, what="the catalogue"
        )
        try:
            names = _catalogue.decode(content).repositories or []
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Misbehaved("the registry's catalogue is malformed") from error
        found += [SearchResult(name=name) for name in names if words in name]
        if not names or "Link" not in headers or len(found) >= limit or names[-1] <= last:
            break
        last = names[-1]
    return found


class _Filter:
    """Docker's filters of a search."""

    def __init__(self, filters: Mapping[str, Sequence[str]]) -> None:
        for name in filters:
            if name not in FILTERS:
                raise InvalidParameter(f"invalid filter '{name}'")
        self._official = _boolean(filters, "is-official")
        self._automated = _boolean(filters, "is-automated")
        self._stars = 0
        for text in filters.get("stars", ()):
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise InvalidParameter(f"invalid filter 'stars={text[:100]}'")
            self._stars = max(self._stars, int(text))

    def takes(self, result: SearchResult) -> bool:
        return (
            self._official in {None, result.is_official}
            and self._automated in {None, result.is_automated}
            and result.star_count >= self._stars
        )


def _boolean(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    values = filters.get(name)
    if not values:
        return None
    if values[0] not in {"true", "false", "1", "0"}:
        raise InvalidParameter(f"invalid filter '{name}={values[0][:100]}'")
    return values[0] in {"true", "1"}
