"""Tokens → nodes. After text/template/parse/parse.go (Go 1.24)."""

from onggi.template import nodes
from onggi.template.failure import TemplateError
from onggi.template.lexer import Lexer, Token, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

DEPTH_LIMIT = 100
"""How deep actions and parentheses may nest: the parser and the evaluator recurse."""

_OPERANDS = frozenset(("bool", "char", "dot", "field", "identifier", "number", "nil", "string", "variable", "lparen"))


class Parser:
    """Parses one text. `templates` collects {{define}}d ones by name; the text itself is under `name`."""

    def __init__(self, name: str, text: str, functions: "Collection[str]") -> None:
        self._name = name
        self._tokens = Lexer(name, text).tokens()
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._loops = 0
        self._depth = 0
        self.templates: dict[str, list[nodes.Node]] = {}

    # --- tokens ---

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _skip_space(self) -> None:
        while self._peek().kind == "space":
            self._next()

    def _next_solid(self) -> Token:
        self._skip_space()
        return self._next()

    def _fail(self, sentence: str, token: "Token | None" = None) -> TemplateError:
        line = (token or self._tokens[max(self._at - 1, 0)]).line
        return TemplateError(f"template: {self._name}:{line}: {sentence}")

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        return self._fail(f"unexpected {token} in {context}", token)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise self._fail(f"more than {DEPTH_LIMIT} actions or parentheses are nested")

    # --- lists of nodes ---

    def parse(self) -> "list[nodes.Node]":
        body: list[nodes.Node] = []
        while self._peek().kind != "eof":
            node = self._text_or_action(top=True)
            if isinstance(node, nodes.Mark):
                raise self._fail(f"unexpected {node}")
            if node is not None:
                body.append(node)
        self.templates[self._name] = body
        return body

    def _until_mark(self) -> "tuple[list[nodes.Node], nodes.Mark]":
        body: list[nodes.Node] = []
        while self._peek().kind != "eof":
            node = self._text_or_action()
            if isinstance(node, nodes.Mark):
                return body, node
            if node is not None:
                body.append(node)
        raise self._fail("unexpected EOF", self._peek())

    def _text_or_action(self, *, top: bool = False) -> "nodes.Node | None":
        token = self._next_solid() if self._peek().kind == "space" else self._next()
        if token.kind == "text":
            return nodes.Text(token.position, token.text)
        return self._action(top=top)

    def _action(self, *, top: bool) -> "nodes.Node | None":
        token = self._next_solid()
        if token.kind == "keyword":
            if token.text in ("if", "range", "with"):
                return self._branch(token)
            if token.text in ("break", "continue"):
                return self._jump(token)
            if token.text == "end":
                self._close("end")
                return nodes.Mark(token.position, "end")
            if token.text == "else":
                return self._else(token)
            if token.text == "template":
                return self._include(token)
            if token.text == "block":
                return self._block(token)
            if top:
                self._define()
                return None
            raise self._unexpected(token, "{{define}} clause" if token.text == "define" else "command")
        self._at -= 1
        position = self._peek().position
        return nodes.Action(position, self._pipe("command", "right"))

    def _close(self, context: str) -> None:
        token = self._next_solid()
        if token.kind != "right":
            raise self._unexpected(token, context)

    # --- keywords ---

    def _else(self, token: Token) -> nodes.Mark:
        self._skip_space()
        following = self._peek()
        if following.kind == "keyword" and following.text in ("if", "with"):
            return nodes.Mark(token.position, f"else {following.text}")
        self._close("else")
        return nodes.Mark(token.position, "else")

    def _jump(self, token: Token) -> nodes.Node:
        following = self._next_solid()
        if following.kind != "right":
            raise self._unexpected(following, f"{{{{{token.text}}}}}")
        if not self._loops:
            raise self._fail(f"{{{{{token.text}}}}} outside {{{{range}}}}", token)
        return nodes.Jump(token.position, token.text)

    def _branch(self, token: Token) -> nodes.Branch:
        self._deeper()
        scope = len(self._variables)
        kind = token.text
        pipe = self._pipe(kind, "right")
        self._loops += kind == "range"
        body, mark = self._until_mark()
        otherwise: list[nodes.Node] = []
        self._loops -= kind == "range"
        if mark.kind in ("else if", "else with"):
            if mark.kind != f"else {kind}":
                raise self._unexpected(self._peek(), "else")
            otherwise = [self._branch(self._next())]
        elif mark.kind == "else":
            otherwise, mark = self._until_mark()
            if mark.kind != "end":
                raise self._fail(f"expected end; found {mark}")
        del self._variables[scope:]
        self._depth -= 1
        return nodes.Branch(pipe.position, kind, pipe, body, otherwise)

    def _string(self, context: str) -> str:
        token = self._next_solid()
        if token.kind != "string":
            raise self._unexpected(token, context)
        return self._unquote(token)

    def _include(self, token: Token) -> nodes.Include:
        name_at = self._tokens[min(self._at + 1, len(self._tokens) - 1)].position
        name = self._string("template clause")
        pipe = None
        self._skip_space()
        if self._peek().kind == "right":
            self._next()
        else:
            pipe = self._pipe("template clause", "right")
        return nodes.Include(name_at or token.position, name, pipe)

    def _body_of_definition(self, name: str, context: str) -> None:
        self._deeper()
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, mark = self._until_mark()
        if mark.kind != "end":
            raise self._fail(f"unexpected {mark} in {context}")
        self._variables, self._loops = outer, loops
        self._depth -= 1
        self.templates[name] = body

    def _define(self) -> None:
        name = self._string("define clause")
        self._close("define clause")
        self._body_of_definition(name, "define clause")

    def _block(self, token: Token) -> nodes.Include:
        name = self._string("block clause")
        pipe = self._pipe("block clause", "right")
        self._body_of_definition(name, "block clause")
        return nodes.Include(token.position, name, pipe)

    # --- pipelines ---

    def _pipe(self, context: str, end: str) -> nodes.Pipe:
        self._skip_space()
        pipe = nodes.Pipe(self._peek().position)
        self._declarations(pipe, context)
        while True:
            token = self._next_solid()
            if token.kind == end:
                if not pipe.calls:
                    raise self._fail(f"missing value for {context}", token)
                for number, call in enumerate(pipe.calls[1:], 2):
                    if isinstance(call.words[0], (nodes.Constant, nodes.Dot, nodes.Nil)):
                        raise self._fail(f"non executable command in pipeline stage {number}", token)
                return pipe
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            self._at -= 1
            pipe.calls.append(self._call())

    def _declarations(self, pipe: nodes.Pipe, context: str) -> None:
        """`$x :=`, `$i, $x :=`, `$x =` at the head of a pipeline."""
        start = self._at
        names: list[str] = []
        while self._peek().kind == "variable" and len(names) < 2:
            names.append(self._next().text)
            self._skip_space()
            token = self._peek()
            if token.kind == "comma" and context == "range" and len(names) == 1:
                self._next()
                self._skip_space()
                if self._peek().kind != "variable":
                    raise self._fail("range can only initialize variables", self._peek())
                continue
            if token.kind in ("assign", "declare"):
                self._next()
                pipe.variables = names
                pipe.assigns = token.kind == "assign"
                if pipe.assigns:
                    for name in names:
                        self._known(name, token)
                else:
                    self._variables += names
                return
            if token.kind == "comma":
                raise self._fail(f"too many declarations in {context}", token)
            break
        self._at = start

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise self._fail(f'undefined variable "{name}"', token)

    def _call(self) -> nodes.Call:
        call = nodes.Call(self._peek().position)
        while True:
            self._skip_space()
            operand = self._operand()
            if operand is not None:
                call.words.append(operand)
            token = self._next()
            if token.kind == "space":
                continue
            if token.kind in ("right", "rparen"):
                self._at -= 1
            elif token.kind != "pipe":
                raise self._unexpected(token, "operand")
            break
        if not call.words:
            raise self._fail("empty command")
        return call

    def _operand(self) -> "nodes.Node | None":
        node = self._term()
        if node is None or self._peek().kind != "field":
            return node
        position = self._peek().position
        names = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        if isinstance(node, nodes.Field):
            return nodes.Field(position, node.names + names)
        if isinstance(node, nodes.Variable):
            return nodes.Variable(position, node.name, node.names + names)
        if isinstance(node, (nodes.Constant, nodes.Nil, nodes.Dot)):
            raise self._fail(f"unexpected . after term {quote(str(node))}")
        return nodes.Chain(position, node, names)

    def _term(self) -> "nodes.Node | None":
        token = self._next()
        kind, position = token.kind, token.position
        if kind == "identifier":
            if token.text not in self._functions:
                raise self._fail(f'function "{token.text}" not defined', token)
            return nodes.Identifier(position, token.text)
        if kind == "dot":
            return nodes.Dot(position)
        if kind == "nil":
            return nodes.Nil(position)
        if kind == "variable":
            self._known(token.text, token)
            return nodes.Variable(position, token.text, [])
        if kind == "field":
            return nodes.Field(position, [token.text[1:]])
        if kind == "bool":
            return nodes.Constant(position, token.text == "true", token.text)
        if kind == "number":
            return nodes.Constant(position, self._number(token), token.text)
        if kind == "char":
            return nodes.Constant(position, self._character(token), token.text)
        if kind == "string":
            return nodes.Constant(position, self._unquote(token), token.text)
        if kind == "lparen":
            self._deeper()
            pipe = self._pipe("parenthesized pipeline", "rparen")
            self._depth -= 1
            return pipe
        self._at -= 1
        return None

    # --- constants ---

    def _number(self, token: Token) -> "int | float":
        text = token.text
        if len(text) < 100:
            try:
                if len(text.lstrip("+-")) > 1 and text.lstrip("+-")[0] == "0" and text.lstrip("+-").isdigit():
                    return int(text, 8)
                return int(text, 0)
            except ValueError:
                try:
                    return float.fromhex(text) if "x" in text.lower() else float(text)
                except ValueError:
                    pass
        raise self._fail(f"bad number syntax: {quote(text)}", token)

    def _character(self, token: Token) -> int:
        text = _unescape(token.text[1:-1])
        if text is None or len(text) != 1:
            raise self._fail(f"malformed character constant: {token.text}", token)
        return ord(text)

    def _unquote(self, token: Token) -> str:
        if token.text[0] == "`":
            return token.text[1:-1].replace("\r", "")
        text = _unescape(token.text[1:-1])
        if text is None:
            raise self._fail("invalid syntax", token)
        return text


_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_CODES = {"x": 2, "u": 4, "U": 8}


def _unescape(text: str) -> "str | None":
    """The value of a quoted string's inside; None where an escape is wrong."""
    if "\\" not in text:
        return text
    result = []
    at = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c != "\\":
            result.append(c)
            continue
        kind = text[at : at + 1]
        at += 1
        if kind in _SIMPLE:
            result.append(_SIMPLE[kind])
            continue
        size = _CODES.get(kind, 3 if kind.isdigit() else 0)
        digits = text[at - 1 : at + 2] if size == 3 else text[at : at + size]
        at += 2 if size == 3 else size
        try:
            number = int(digits, 8 if size == 3 else 16)
            if not size or len(digits) != size or number > 0x10FFFF or 0xD800 <= number < 0xE000:
                return None
        except ValueError:
            return None
        result.append(chr(number))
    return "".join(result)
