"""Text → tokens. After text/template/parse/lex.go (Go 1.24)."""

from onggi.template.failure import TemplateError

KEYWORDS = frozenset(("break", "continue", "block", "define", "else", "end", "if", "range", "template", "with"))
_SPACE = " \t\r\n"
_NUMBER = frozenset("0123456789abcdefABCDEFxXoO_.+-pPi")
_CLOSES_WORD = frozenset(" \t\r\n.|:,()}=")


class Token:
    """One token. `kind` is text, left, right, field, variable, identifier, keyword, dot, nil, bool, number, char,
    string, pipe, assign, declare, comma, lparen, rparen, space or eof. `position` counts characters from 0."""

    __slots__ = ("kind", "line", "position", "text")

    def __init__(self, kind: str, position: int, text: str, line: int) -> None:
        self.kind = kind
        self.position = position
        self.text = text
        self.line = line

    def __str__(self) -> str:
        if self.kind == "eof":
            return "EOF"
        if self.kind == "keyword":
            return f"<{self.text}>"
        if len(self.text) > 10:
            return quote(self.text[:10]) + "..."
        return quote(self.text)


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f",
            "\v": "\\v"}  # fmt: skip


def quote(text: str) -> str:
    """Go's %q."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _code(c: str) -> str:
    number = ord(c)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class Lexer:
    """Reads one template. `tokens()` gives them all, with an eof at the end."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._position = 0
        self._line = 1
        self._tokens: list[Token] = []
        self._parentheses = 0

    def _fail(self, sentence: str) -> TemplateError:
        return TemplateError(f"template: {self._name}:{self._line}: {sentence}")

    def _add(self, kind: str, end: int) -> None:
        text = self._text[self._position : end]
        self._tokens.append(Token(kind, self._position, text, self._line))
        self._line += text.count("\n")
        self._position = end

    def _skip(self, end: int) -> None:
        self._line += self._text.count("\n", self._position, end)
        self._position = end

    def tokens(self) -> list[Token]:
        text = self._text
        trim = False
        while True:
            start = text.find("{{", self._position)
            end = len(text) if start < 0 else start
            if trim:
                while self._position < end and text[self._position] in _SPACE:
                    self._skip(self._position + 1)
            if start < 0:
                if end > self._position:
                    self._add("text", end)
                self._tokens.append(Token("eof", end, "", self._line))
                return self._tokens
            left_trim = text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4] in tuple(_SPACE)
            shown = end
            if left_trim:
                while shown > self._position and text[shown - 1] in _SPACE:
                    shown -= 1
            if shown > self._position:
                self._add("text", shown)
            self._skip(start)
            inside = start + (3 if left_trim else 2)
            comment = inside + 1 if left_trim else inside
            if text.startswith("/*", comment):
                trim = self._comment(comment)
                continue
            self._add("left", inside)
            trim = self._action()

    def _comment(self, start: int) -> bool:
        end = self._text.find("*/", start)
        if end < 0:
            raise self._fail("unclosed comment")
        end += 2
        trim = self._text[end : end + 1] in tuple(_SPACE) and self._text[end + 1 : end + 2] == "-"
        close = end + 2 if trim else end
        if not self._text.startswith("}}", close):
            raise self._fail("comment ends before closing delimiter")
        self._skip(close + 2)
        return trim

    def _action(self) -> bool:
        """Tokens up to and with the right delimiter. True when text after it is to be trimmed."""
        text = self._text
        self._parentheses = 0
        while True:
            at = self._position
            c = text[at : at + 1]
            trims = c in tuple(_SPACE) and text.startswith("-}}", at + 1)
            if trims or text.startswith("}}", at):
                if self._parentheses:
                    raise self._fail("unclosed left paren")
                if trims:
                    self._skip(at + 2)
                self._add("right", self._position + 2)
                return trims
            if not c:
                raise self._fail("unclosed action")
            if c in _SPACE:
                end = at
                while text[end : end + 1] in tuple(_SPACE) and not text.startswith("-}}", end + 1):
                    end += 1
                self._add("space", max(end, at + 1))
            else:
                self._token(c, at)

    def _token(self, c: str, at: int) -> None:
        text = self._text
        if c == "=":
            self._add("assign", at + 1)
        elif c == ":":
            if text[at + 1 : at + 2] != "=":
                raise self._fail("expected :=")
            self._add("declare", at + 2)
        elif c == "|":
            self._add("pipe", at + 1)
        elif c == ",":
            self._add("comma", at + 1)
        elif c == '"':
            self._quoted('"', "string", "unterminated quoted string")
        elif c == "'":
            self._quoted("'", "char", "unterminated character constant")
        elif c == "`":
            end = text.find("`", at + 1)
            if end < 0:
                raise self._fail("unterminated raw quoted string")
            self._add("string", end + 1)
        elif c == "(":
            self._parentheses += 1
            self._add("lparen", at + 1)
        elif c == ")":
            if not self._parentheses:
                raise self._fail("unexpected right paren")
            self._parentheses -= 1
            self._add("rparen", at + 1)
        elif c == "$" or (c == "." and not text[at + 1 : at + 2].isdigit()):
            self._field(at, "variable" if c == "$" else "field")
        elif c in "+-." or c.isdigit():
            self._number(at)
        elif c.isalpha() or c == "_":
            self._word(at)
        else:
            raise self._fail(f"unrecognized character in action: U+{ord(c):04X} {c!r}")

    def _quoted(self, mark: str, kind: str, sentence: str) -> None:
        text = self._text
        end = self._position + 1
        while text[end : end + 1] != mark:
            if text[end : end + 1] in ("", "\n"):
                raise self._fail(sentence)
            end += 2 if text[end] == "\\" and text[end + 1 : end + 2] not in ("", "\n") else 1
        self._add(kind, end + 1)

    def _end_of_word(self, at: int) -> int:
        text = self._text
        while text[at : at + 1].isalnum() or text[at : at + 1] == "_":
            at += 1
        c = text[at : at + 1]
        if c and c not in _CLOSES_WORD:
            raise self._fail(f"bad character U+{ord(c):04X} {c!r}")
        return at

    def _field(self, at: int, kind: str) -> None:
        end = self._end_of_word(at + 1)
        self._add("dot" if kind == "field" and end == at + 1 else kind, end)

    def _word(self, at: int) -> None:
        end = self._end_of_word(at)
        word = self._text[at:end]
        kind = "identifier"
        if word in KEYWORDS:
            kind = "keyword"
        elif word in ("true", "false"):
            kind = "bool"
        elif word == "nil":
            kind = "nil"
        self._add(kind, end)

    def _number(self, at: int) -> None:
        text = self._text
        end = at + 1 if text[at] in "+-" else at
        while text[end : end + 1] in _NUMBER and (text[end] not in "+-" or text[end - 1] in "eEpP"):
            end += 1
        if text[end : end + 1].isalnum() or text[end : end + 1] == "_":
            raise self._fail(f"bad number syntax: {quote(text[at : end + 1])}")
        self._add("number", end)
