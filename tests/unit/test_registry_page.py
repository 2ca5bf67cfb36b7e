"""The page without a browser: languages, sizes, times, forms, and where a link may lead."""

import re
import tomllib
from datetime import timedelta
from enum import Enum
from pathlib import Path

import pytest

from onggi.registry import clock
from onggi.registry.events import EventKind
from onggi.registry.jobs import JobState
from onggi.registry.page import rendering, words
from onggi.registry.page.rendering import ago, short_digest, shortened, size
from onggi.registry.page.signing_in import local
from onggi.registry.page.visit import path_of
from onggi.registry.page.words import Words
from onggi.registry.permissions import ROBOT_ACTIONS, Role
from onggi.registry.replication.runs import Outcome, State
from onggi.registry.tags import TagAction
from onggi.scan.advisories import Severity

PAGE = Path(rendering.__file__).parent
SPOKEN: tuple[type[Enum], ...] = (Severity, Role, EventKind, TagAction, JobState, State, Outcome)
OTHERS = {"image", "index", "artifact", "taken", "given up", "test"}
"""Words of the API that are no enumeration there: kinds of manifests, states of deliveries, and an event that is none."""
_TEXT = re.compile(r"""\b(?:_|words)\(\s*"((?:[^"\\]|\\.)*)\"""")


def texts() -> set[str]:
    """All that the page says of its own, in English."""
    found = set(OTHERS) | {str(action) for action in ROBOT_ACTIONS}
    for kind in SPOKEN:
        found |= {str(member.value) for member in kind}
    for file in [*(PAGE / "templates").glob("*.html"), *PAGE.glob("*.py")]:
        found |= set(_TEXT.findall(file.read_text()))
    for _, many, one in rendering._STEPS:
        found |= {many, one}
    return found


@pytest.mark.parametrize("language", [language for language in words.LANGUAGES if language != "en"])
def test_a_language_has_all_texts_and_no_others(language: str) -> None:
    table = tomllib.loads((PAGE / "languages" / f"{language}.toml").read_text())
    said = texts()
    assert len(said) > 300
    assert set(table) == said
    for english, other in table.items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", other)), english


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline() -> None:
    for file in (PAGE / "templates").glob("*.html"):
        text = file.read_text()
        assert not re.search(r"<style|\bstyle=|\bon\w+=\"|javascript:|\|\s*safe", text), file.name
        for address in re.findall(r"(?:src|action)=\"([^\"]*)\"", text):
            assert address.startswith(("/", "{{ base }}", "{{ path_of(")) or (
                file.name == "parts.html" and address == "{{ action }}"
            ), f"{file.name}: {address}"
        for address in re.findall(r"parts\.sure\(([^,]*)", text):
            assert address.startswith(('"/', "base ~")), f"{file.name}: {address}"
    assert "url(" not in (PAGE / "assets" / "style.css").read_text()


def test_every_form_that_acts_carries_the_sessions_token() -> None:
    forms = 0
    for file in (PAGE / "templates").glob("*.html"):
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", file.read_text(), re.DOTALL):
            assert "parts.token()" in form or "{{ token() }}" in form, f"{file.name}: {form[:120]}"
            forms += 1
    assert forms > 40


def test_sizes_are_dockers() -> None:
    assert [size(count) for count in (None, 0, 999, 1000, 1_234_567, 250_000_000, 5 * 10**15)] == [
        "0 B", "0 B", "999 B", "1.0 kB", "1.2 MB", "250 MB", "5000 TB",
    ]  # fmt: skip


def test_digests_in_a_text_are_short() -> None:
    assert shortened(f"team/app@sha256:{'ab' * 32} and sha512:{'0' * 128}") == (
        "team/app@sha256:abababababab… and sha512:000000000000…"
    )
    assert shortened("team/app:v1") == "team/app:v1"


def test_digests_are_short_and_tags_as_they_are() -> None:
    assert short_digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert short_digest("v1.0") == "v1.0"


@pytest.mark.parametrize(
    ("age", "text"),
    [(timedelta(seconds=5), "just now"), (timedelta(minutes=1.5), "a minute ago"), (timedelta(hours=5.2), "5 hours ago"),
     (timedelta(days=800), "2 years ago")],
)  # fmt: skip
def test_times_are_told_from_now_on_with_the_moment_beside(age: timedelta, text: str) -> None:
    stamp = clock.stamp(clock.now() - age)
    shown = ago(Words("en"), stamp)
    assert shown.endswith(f">{text}</time>")
    assert f'datetime="{stamp}"' in shown


def test_a_time_that_is_none_is_shown_as_text() -> None:
    assert ago(Words("en"), "") == "never"
    assert ago(Words("en"), "<b>yesterday</b>") == "&lt;b&gt;yesterday&lt;/b&gt;"


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "/sign-out", "/a\nb",
     "/" * 3000],
)  # fmt: skip
def test_nobody_is_led_elsewhere(path: str) -> None:
    assert local(path) == "/"


def test_one_is_led_back_to_where_one_was() -> None:
    assert local("/repositories/team/app?sort=name") == "/repositories/team/app?sort=name"


def test_paths_are_quoted() -> None:
    assert path_of("projects", "a b", "?x") == "/projects/a%20b/%3Fx"
