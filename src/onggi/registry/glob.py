"""Patterns of rules: `*` stands for any text, `?` for one character, `,` parts alternatives. Linear in time."""


def fits(pattern: str, text: str) -> bool:
    """True when one of the pattern's alternatives is all of `text`."""
    return any(_fits(part.strip(), text) for part in pattern.split(","))


def _fits(pattern: str, text: str) -> bool:
    # Only the last star ever has to be tried again, so the work is at most len(pattern) * len(text); both are short.
    at, place, star, mark = 0, 0, -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return not pattern[place:].strip("*")
