"""JSON text made readable without being understood: every string stays byte for byte as the engine wrote it."""


def indent(text: str, step: str = "    ", margin: str = "") -> str:
    """As Go's json.Indent: one member a line; empty objects and lists stay on one line."""
    out: list[str] = []
    depth = 0
    at = 0
    size = len(text)
    opened = False

    def line() -> None:
        out.append("\n" + margin + step * depth)

    while at < size:
        c = text[at]
        at += 1
        if c in " \t\r\n":
            continue
        if opened and c not in "]}":
            depth += 1
            line()
        if c in "{[":
            out.append(c)
            opened = True
            continue
        if c in "}]":
            if not opened:
                depth -= 1
                line()
            out.append(c)
        elif c == ",":
            out.append(c)
            line()
        elif c == ":":
            out.append(": ")
        elif c == '"':
            end = at
            while (end := text.index('"', end)) and _escaped(text, end):
                end += 1
            out.append(text[at - 1 : end + 1])
            at = end + 1
        else:
            end = at
            while end < size and text[end] not in ",]} \t\r\n":
                end += 1
            out.append(text[at - 1 : end])
            at = end
        opened = False
    return "".join(out)


def _escaped(text: str, at: int) -> bool:
    """Whether the quote at `at` is preceded by an odd number of backslashes."""
    before = at
    while text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1
