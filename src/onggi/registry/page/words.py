"""The page's languages. Texts are written in English, in templates and here; each other language is a table of them.

A test sees to it that a table has all texts, and none that nobody uses.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

LANGUAGES = {"en": "English", "ko": "한국어"}
COOKIE = "onggi-language"


def _read(language: str) -> Mapping[str, str]:
    with (Path(__file__).with_name("languages") / f"{language}.toml").open("rb") as file:
        found: dict[str, str] = tomllib.load(file)
    return found


_TABLES: dict[str, Mapping[str, str]] = {"en": {}, "ko": _read("ko")}


def language_of(request: web.Request) -> str:
    """The one that was chosen, else the first of the browser's that we speak. (RFC 9110, 12.5.4; weights keep the order)"""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    for part in request.headers.get("Accept-Language", "").split(",")[:20]:
        language = part.strip()[:2].lower()
        if language in LANGUAGES:
            return language
    return "en"


class Words:
    """Texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._table = _TABLES[language]

    def __call__(self, text: str, /, **given: object) -> str:
        """`text` in this language, with `{names}` filled in."""
        found = self._table.get(text, text)
        return found.format(**given) if given else found
