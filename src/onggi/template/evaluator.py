"""Nodes and a value → text. After text/template/exec.go (Go 1.24)."""

from onggi.template import nodes
from onggi.template.failure import TemplateError
from onggi.template.functions import FUNCTIONS, LIMIT, Function, FunctionError
from onggi.template.parser import Parser
from onggi.template.values import NO_VALUE, NoValue, Row, Struct, text, truth, type_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_INCLUDE_DEPTH = 100
_STEPS = 1_000_000
"""Rounds of all loops together: `range 1000000000000` must end too."""


class _Missing:
    """No value came down the pipeline."""


_MISSING = _Missing()


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A parsed template. Raises TemplateError, here for what does not parse, in `execute` for what does not fit."""

    __slots__ = ("functions", "name", "templates", "text")

    def __init__(self, source: str, *, name: str = "", functions: "Mapping[str, Function]" = FUNCTIONS) -> None:
        self.name = name
        self.text = source
        self.functions = functions
        parser = Parser(name, source, functions)
        parser.parse()
        self.templates = parser.templates

    def execute(self, value: "Any", *, strict: bool = False) -> str:
        """The text for `value`. `strict`: a key that a map does not have is an error, not "<no value>"."""
        state = _State(self, strict=strict)
        state.variables.append(("$", value))
        try:
            state.walk_all(value, self.templates[self.name])
        except RecursionError:
            raise TemplateError(f"template: {self.name}: it or the value is nested too deeply") from None
        return "".join(state.output)


class _State:
    def __init__(self, template: Template, *, strict: bool) -> None:
        self.template = template
        self.strict = strict
        self.variables: list[tuple[str, Any]] = []
        self.output: list[str] = []
        self._size = 0
        self._steps = 0
        self._depth = 0
        self._node: nodes.Node | None = None

    # --- failures and output ---

    def _fail(self, sentence: str, node: "nodes.Node | None" = None) -> TemplateError:
        node = node or self._node
        name = self.template.name
        if node is None:
            return TemplateError(f"template: {name}: {sentence}")
        before = self.template.text[: node.position]
        line = before.count("\n") + 1
        column = node.position - (before.rfind("\n") + 1 if line > 1 else 0)
        return TemplateError(f'template: {name}:{line}:{column}: executing "{name}" at <{node}>: {sentence}')

    def _write(self, data: str) -> None:
        self._size += len(data)
        if self._size > LIMIT:
            raise self._fail(f"the output exceeds {LIMIT} characters")
        self.output.append(data)

    # --- walking ---

    def walk_all(self, dot: "Any", body: "list[nodes.Node]") -> None:
        for node in body:
            self._walk(dot, node)

    def _walk(self, dot: "Any", node: nodes.Node) -> None:
        self._node = node
        if isinstance(node, nodes.Text):
            self._write(node.text)
        elif isinstance(node, nodes.Action):
            value = self._pipeline(dot, node.pipe)
            if not node.pipe.variables:
                self._write(text(value))
        elif isinstance(node, nodes.Branch):
            scope = len(self.variables)
            if node.kind == "range":
                self._range(dot, node)
            else:
                value = self._pipeline(dot, node.pipe)
                if truth(value):
                    self.walk_all(value if node.kind == "with" else dot, node.body)
                else:
                    self.walk_all(dot, node.otherwise)
            del self.variables[scope:]
        elif isinstance(node, nodes.Jump):
            raise _Break if node.kind == "break" else _Continue
        elif isinstance(node, nodes.Include):
            self._include(dot, node)

    def _include(self, dot: "Any", node: nodes.Include) -> None:
        body = self.template.templates.get(node.name)
        if body is None:
            raise self._fail(f'template "{node.name}" not defined', node)
        if self._depth >= _INCLUDE_DEPTH:
            raise self._fail(f"exceeded maximum template depth ({_INCLUDE_DEPTH})", node)
        value = self._pipeline(dot, node.pipe) if node.pipe else None
        outer, self.variables = self.variables, [("$", value)]
        self._depth += 1
        self.walk_all(value, body)
        self._depth -= 1
        self.variables = outer

    def _range(self, dot: "Any", node: nodes.Branch) -> None:
        value = self._pipeline(dot, node.pipe, declare=False)
        pairs: Any
        if isinstance(value, list):
            pairs = enumerate(value)
        elif isinstance(value, dict) and not isinstance(value, Struct):
            pairs = ((key, value[key]) for key in sorted(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = ((number, number) for number in range(value))
        elif value is None or isinstance(value, NoValue):
            pairs = ()
        else:
            raise self._fail(f"range can't iterate over {text(value)}")
        names = node.pipe.variables
        scope = len(self.variables)
        rounds = 0
        for key, item in pairs:
            rounds += 1
            self._steps += 1
            if self._steps > _STEPS:
                raise self._fail(f"more than {_STEPS} rounds")
            bound = [(names[0], item)] if len(names) == 1 else list(zip(names, (key, item), strict=False))
            for name, bound_value in bound:
                if node.pipe.assigns:
                    self._assign(name, bound_value)
                else:
                    self.variables.append((name, bound_value))
            try:
                self.walk_all(item, node.body)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                del self.variables[scope:]
        if not rounds:
            self.walk_all(dot, node.otherwise)

    # --- variables ---

    def _assign(self, name: str, value: "Any") -> None:
        for at in range(len(self.variables) - 1, -1, -1):
            if self.variables[at][0] == name:
                self.variables[at] = (name, value)
                return
        raise self._fail(f"undefined variable: {name}")

    def _value_of(self, name: str) -> "Any":
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise self._fail(f"undefined variable: {name}")

    # --- pipelines ---

    def _pipeline(self, dot: "Any", pipe: nodes.Pipe, *, declare: bool = True) -> "Any":
        value: Any = _MISSING
        for call in pipe.calls:
            value = self._command(dot, call, value)
        if declare:
            for name in pipe.variables:
                if pipe.assigns:
                    self._assign(name, value)
                else:
                    self.variables.append((name, value))
        return value

    def _command(self, dot: "Any", call: nodes.Call, final: "Any") -> "Any":
        first, rest = call.words[0], call.words[1:]
        if isinstance(first, nodes.Field):
            return self._fields(dot, dot, first, rest, final)
        if isinstance(first, nodes.Chain):
            return self._fields(dot, self._argument(dot, first.node), first, rest, final)
        if isinstance(first, nodes.Identifier):
            return self._function(dot, first, call, rest, final)
        self._node = first
        if isinstance(first, nodes.Variable) and first.names:
            return self._fields(dot, self._value_of(first.name), first, rest, final)
        if rest or final is not _MISSING:
            raise self._fail(f"can't give argument to non-function {first}")
        if isinstance(first, nodes.Nil):
            raise self._fail("nil is not a command")
        return self._argument(dot, first)

    def _argument(self, dot: "Any", node: nodes.Node) -> "Any":
        """The value of a word that is not called with arguments."""
        if isinstance(node, nodes.Constant):
            return node.value
        if isinstance(node, nodes.Dot):
            return dot
        if isinstance(node, nodes.Field):
            return self._fields(dot, dot, node, [])
        if isinstance(node, nodes.Variable):
            return self._fields(dot, self._value_of(node.name), node, [])
        if isinstance(node, nodes.Pipe):
            return self._pipeline(dot, node)
        if isinstance(node, nodes.Identifier):
            return self._function(dot, node, node, [], _MISSING)
        if isinstance(node, nodes.Chain):
            return self._fields(dot, self._argument(dot, node.node), node, [])
        return None  # nil

    # --- fields ---

    def _fields(
        self,
        dot: "Any",
        value: "Any",
        node: "nodes.Field | nodes.Variable | nodes.Chain",
        rest: "list[nodes.Node]",
        final: "Any" = _MISSING,
    ) -> "Any":
        names = node.names
        for name in names[:-1]:
            value = self._field(value, name, node, [])
        arguments = [self._argument(dot, word) for word in rest]
        if final is not _MISSING:
            arguments.append(final)
        return self._field(value, names[-1], node, arguments) if names else value

    def _field(self, value: "Any", name: str, node: nodes.Node, arguments: "list[Any]") -> "Any":
        self._node = node
        if isinstance(value, Row):
            return self._row_field(value, name, arguments)
        if isinstance(value, NoValue):
            return NO_VALUE
        if isinstance(value, Struct):
            if name in value or name in value.absent:
                return value[name] if name in value else value.absent[name]
        elif isinstance(value, dict):
            if arguments:
                raise self._fail(f"{name} is not a method but has arguments")
            if name not in value and self.strict:
                raise self._fail(f'map has no entry for key "{name}"')
            found = value.get(name)
            return NO_VALUE if found is None else found
        if value is None:
            raise self._fail(f"nil pointer evaluating interface {{}}.{name}")
        raise self._fail(f"can't evaluate field {name} in type {type_of(value)}")

    def _row_field(self, row: Row, name: str, arguments: "list[Any]") -> "Any":
        wanted = 1 if name in row.kind.methods else 0
        if name not in row.kind.methods and name not in row.kind.fields:
            raise self._fail(f"can't evaluate field {name} in type {row.type_name}")
        if len(arguments) != wanted:
            raise self._fail(f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
        if not wanted:
            return row.field(name)
        if not isinstance(arguments[0], str):
            raise self._fail(f"wrong type for value; expected string; got {type_of(arguments[0])}")
        return row.kind.methods[name](row.data, arguments[0])

    # --- functions ---

    def _function(
        self, dot: "Any", name: nodes.Identifier, call: nodes.Node, rest: "list[nodes.Node]", final: "Any"
    ) -> "Any":
        function = self.template.functions[name.name]
        self._node = name
        count = len(rest) + (final is not _MISSING)
        least = len(function.parameters)
        if count < least or (count > least and not function.rest):
            want = f"at least {least}" if function.rest else str(least)
            raise self._fail(f"wrong number of args for {name}: want {want} got {count}", name)
        if name.name in ("and", "or"):
            return self._shortcut(dot, name.name, rest, final)
        kinds = function.parameters + (function.rest,) * (count - least)
        arguments = []
        for kind, word in zip(kinds, rest, strict=False):
            value = self._argument(dot, word)
            value = None if isinstance(value, NoValue) else value
            self._node = word
            arguments.append(self._checked(kind, value))
        if final is not _MISSING:
            self._node = name
            arguments.append(self._checked(kinds[-1], None if isinstance(final, NoValue) else final))
        try:
            result = function.call(*arguments)
        except FunctionError as error:
            raise self._fail(f"error calling {name}: {error}", call) from None
        if isinstance(result, str) and len(result) > LIMIT:
            raise self._fail(f"the result of {name} exceeds {LIMIT} characters", call)
        return result

    def _shortcut(self, dot: "Any", name: str, rest: "list[nodes.Node]", final: "Any") -> "Any":
        value: Any = None
        for word in rest:
            value = self._argument(dot, word)
            if truth(value) == (name == "or"):
                return value
        return value if final is _MISSING else final

    def _checked(self, kind: str, value: "Any") -> "Any":
        expected = {"string": "string", "strings": "[]string", "int": "int"}.get(kind)
        if expected is None:
            return value
        if value is None:
            raise self._fail(f"invalid value; expected {expected}")
        fits = {
            "string": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "strings": isinstance(value, list) and all(isinstance(item, str) for item in value),
        }[kind]
        if not fits:
            raise self._fail(f"wrong type for value; expected {expected}; got {type_of(value)}")
        return value
