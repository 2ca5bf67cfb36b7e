"""Go's path.Match, in linear space and at most quadratic time: Docker's filters by pattern are written in it.

*      any characters but "/"          ?      one character but "/"
[a-z]  one of a class, [^…] none of it  \\x     x itself
"""

from onggi.errors import InvalidParameter

_Item = str | None | tuple[bool, tuple[tuple[str, str], ...]]
"""A literal character; None for "?"; or a class: negated, ranges."""
_STAR = "*"


class Pattern:
    """A compiled pattern. Raises InvalidParameter with Go's sentence when it is malformed."""

    def __init__(self, text: str) -> None:
        # Chunks between stars: each must be found in order, the first at the start, the last at the end.
        self._chunks: list[list[_Item]] = [[]]
        at = 0
        while at < len(text):
            character = text[at]
            at += 1
            if character == _STAR:
                self._chunks.append([])
            elif character == "?":
                self._chunks[-1].append(None)
            elif character == "[":
                item, at = _class(text, at)
                self._chunks[-1].append(item)
            else:
                if character == "\\":
                    character, at = _character(text, at)
                self._chunks[-1].append(character)

    def matches(self, text: str) -> bool:
        first, *rest = self._chunks
        if not rest:
            return len(first) == len(text) and _fits(first, text, 0)
        if not _fits(first, text, 0):
            return False
        at = len(first)
        *middle, last = rest
        for chunk in middle:
            # The earliest place is the best: what follows can only start later, and "*" must not jump a "/".
            while not _fits(chunk, text, at):
                if at >= len(text) or text[at] == "/":
                    return False
                at += 1
            at += len(chunk)
        end = len(text) - len(last)
        return end >= at and "/" not in text[at:end] and _fits(last, text, end)


def _fits(chunk: list[_Item], text: str, at: int) -> bool:
    if at + len(chunk) > len(text):
        return False
    return all(_is(item, text[at + number]) for number, item in enumerate(chunk))


def _is(item: _Item, character: str) -> bool:
    if item is None:
        return character != "/"
    if isinstance(item, str):
        return character == item
    negated, ranges = item
    return negated != any(low <= character <= high for low, high in ranges)


def _malformed() -> InvalidParameter:
    return InvalidParameter("syntax error in pattern")


def _character(text: str, at: int) -> tuple[str, int]:
    """One character after a backslash, or in a class."""
    if at >= len(text):
        raise _malformed()
    return text[at], at + 1


def _class(text: str, at: int) -> tuple[_Item, int]:
    negated = text[at : at + 1] == "^"
    at += negated
    ranges: list[tuple[str, str]] = []
    while True:
        if text[at : at + 1] == "]" and ranges:
            return (negated, tuple(ranges)), at + 1
        low, at = _end_of_range(text, at)
        high = low
        if text[at : at + 1] == "-":
            high, at = _end_of_range(text, at + 1)
        ranges.append((low, high))


def _end_of_range(text: str, at: int) -> tuple[str, int]:
    character, at = _character(text, at)
    if character in "-]":
        raise _malformed()
    if character == "\\":
        character, at = _character(text, at)
    return character, at
