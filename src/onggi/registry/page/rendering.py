"""Templates → responses. Everything that comes from outside is escaped; nothing is loaded from elsewhere."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from onggi.registry import clock
from onggi.registry.page.words import Words

THEME = "onggi-theme"
THEMES = ("auto", "light", "dark")
HEADERS = {
    # Scripts, styles and pictures are this registry's own files, nothing inline. Data of others stays text.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # not no-referrer: forms would come with Origin: null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Vary": "Cookie, Accept-Language",
}
_DIGEST = re.compile(r"\b(sha(?:256|512):[0-9a-f]{12})[0-9a-f]+")
_HERE = Path(__file__).parent
ASSETS = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}


class Renderer:
    """Templates and assets, read once."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False,
        )  # fmt: skip
        self._environment.filters |= {
            "size": size,
            "digest": short_digest,
            "shortened": shortened,
            "sentence": sentence,
            "tojson_plain": plain_json,
        }
        self.assets = {name: (_HERE / "assets" / name).read_bytes() for name in ASSETS}
        self._version = hashlib.sha256(b"".join(self.assets.values())).hexdigest()[:12]

    def page(
        self, template: str, words: Words, theme: str, values: Mapping[str, Any], status: int = 200
    ) -> web.Response:
        shared = {
            **values, "_": words, "language": words.language, "theme": theme, "version": self._version,
            "ago": lambda stamp: ago(words, stamp),
        }  # fmt: skip
        parts = self._environment.get_template("parts.html").make_module(shared)
        text = self._environment.get_template(template).render(shared, parts=parts)
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=HEADERS)

    def asset(self, name: str) -> web.Response | None:
        if name not in self.assets:
            return None
        return web.Response(
            body=self.assets[name], content_type=ASSETS[name], charset="utf-8",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},  # the address has the content's hash
        )  # fmt: skip


def size(count: int | None) -> str:
    """Bytes as people read them: 1.2 MB, as docker shows sizes."""
    number = float(count or 0)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.0f} {unit}" if number >= 100 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("the last unit takes all")


def plain_json(value: object) -> str:
    """JSON with its keys in order, to be escaped as any text."""
    return json.dumps(value, sort_keys=True)


def short_digest(text: str) -> str:
    """sha256:0123456789ab…"""
    algorithm, _, rest = text.partition(":")
    return f"{algorithm}:{rest[:12]}" if rest else text


def shortened(text: str) -> str:
    """A text with the digests in it short: team/app@sha256:0123456789ab…"""
    return _DIGEST.sub(r"\1…", text)


def sentence(text: str) -> str:
    """What the API says, as a sentence of a page."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


_STEPS = (
    (timedelta(days=365), "{count} years ago", "a year ago"),
    (timedelta(days=30), "{count} months ago", "a month ago"),
    (timedelta(days=1), "{count} days ago", "a day ago"),
    (timedelta(hours=1), "{count} hours ago", "an hour ago"),
    (timedelta(minutes=1), "{count} minutes ago", "a minute ago"),
)


def ago(words: Words, stamp: str) -> Markup:
    """A stamp of `clock` as a <time> that says how long it is ago, and exactly when to who asks."""
    if not stamp:
        return escape(words("never"))
    exact = f"{stamp[:10]} {stamp[11:19]} UTC"
    try:
        moment = clock.moment(stamp)
    except ValueError:
        return escape(stamp)  # of others: an image's configuration
    passed, text = clock.now() - moment, words("just now")
    if passed < -timedelta(minutes=1):
        text = exact[:16]
    for step, many, one in _STEPS:
        count = passed // step
        if count >= 1:
            text = words(one) if count == 1 else words(many, count=count)
            break
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, exact, text)
