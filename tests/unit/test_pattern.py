"""Patterns from clients: as Python's `re` where that is safe, and in linear time where it is not."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.engine.pattern import Pattern
from onggi.errors import InvalidParameter

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "^", "$"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("abc1", max_size=8))
def test_agrees_with_re(pattern: str, text: str) -> None:
    assert Pattern(pattern).found_in(text) == (re.search(pattern, text) is not None)


def test_no_pattern_takes_long() -> None:
    begun = time.monotonic()
    assert not Pattern("(a+)+$").found_in("a" * 2000 + "b")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["(", "a{2,1}", "(?=a)", r"(a)\1", "a{1000}" * 20])
def test_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter"):
        Pattern(text)
