"""`Warning`: what a client should be told though its request succeeded. (distribution-spec, "Warnings"; RFC 7234, 5.5)

Warning: 299 - "the upstream can't be reached: this is what was here"
"""

from collections.abc import Iterable

_MOST_CHARACTERS = 1000
NAME = "Warning"


def value(sentence: str) -> str:
    """One warning. What a header can't carry is written as `?`."""
    plain = "".join(mark if " " <= mark <= "~" else "?" for mark in sentence[:_MOST_CHARACTERS])
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


def headers(sentences: Iterable[str]) -> dict[str, str]:
    """The header; none where there is nothing to tell."""
    found = ", ".join(value(sentence) for sentence in sentences if sentence)
    return {NAME: found} if found else {}
