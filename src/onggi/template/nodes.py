"""The parsed template. `str()` of a node is the source as Go prints it in errors."""

from onggi.template.lexer import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Node:
    """Something at a place in the text."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Text(Node):
    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text


class Constant(Node):
    """A number, string, character or truth value. `source` is how it was written."""

    __slots__ = ("source", "value")

    def __init__(self, position: int, value: "Any", source: str) -> None:
        super().__init__(position)
        self.value = value
        self.source = source

    def __str__(self) -> str:
        return self.source


class Nil(Node):
    __slots__ = ()

    def __str__(self) -> str:
        return "nil"


class Dot(Node):
    __slots__ = ()

    def __str__(self) -> str:
        return "."


class Field(Node):
    """.A.B of the current value."""

    __slots__ = ("names",)

    def __init__(self, position: int, names: "list[str]") -> None:
        super().__init__(position)
        self.names = names

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(Node):
    """$x.A.B."""

    __slots__ = ("name", "names")

    def __init__(self, position: int, name: str, names: "list[str]") -> None:
        super().__init__(position)
        self.name = name
        self.names = names

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


class Identifier(Node):
    """The name of a function."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str) -> None:
        super().__init__(position)
        self.name = name

    def __str__(self) -> str:
        return self.name


class Chain(Node):
    """(pipeline).A.B"""

    __slots__ = ("names", "node")

    def __init__(self, position: int, node: Node, names: "list[str]") -> None:
        super().__init__(position)
        self.node = node
        self.names = names

    def __str__(self) -> str:
        inner = f"({self.node})" if isinstance(self.node, Pipe) else str(self.node)
        return inner + "".join(f".{name}" for name in self.names)


class Call(Node):
    """A command: a function, method or value and its arguments."""

    __slots__ = ("words",)

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.words: list[Node] = []

    def __str__(self) -> str:
        return " ".join(f"({word})" if isinstance(word, Pipe) else str(word) for word in self.words)


class Pipe(Node):
    """Commands joined by "|", perhaps with variables declared or assigned."""

    __slots__ = ("assigns", "calls", "variables")

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.calls: list[Call] = []
        self.variables: list[str] = []
        self.assigns = False

    def __str__(self) -> str:
        lead = ""
        if self.variables:
            lead = ", ".join(self.variables) + (" = " if self.assigns else " := ")
        return lead + " | ".join(str(call) for call in self.calls)


class Action(Node):
    __slots__ = ("pipe",)

    def __init__(self, position: int, pipe: Pipe) -> None:
        super().__init__(position)
        self.pipe = pipe

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


class Branch(Node):
    """if, range or with."""

    __slots__ = ("body", "kind", "otherwise", "pipe")

    def __init__(self, position: int, kind: str, pipe: Pipe, body: "list[Node]", otherwise: "list[Node]") -> None:
        super().__init__(position)
        self.kind = kind
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise


class Jump(Node):
    """break or continue."""

    __slots__ = ("kind",)

    def __init__(self, position: int, kind: str) -> None:
        super().__init__(position)
        self.kind = kind

    def __str__(self) -> str:
        return f"{{{{{self.kind}}}}}"


class Include(Node):
    """{{template "name" pipeline}}"""

    __slots__ = ("name", "pipe")

    def __init__(self, position: int, name: str, pipe: "Pipe | None") -> None:
        super().__init__(position)
        self.name = name
        self.pipe = pipe

    def __str__(self) -> str:
        return f"{{{{template {quote(self.name)}{f' {self.pipe}' if self.pipe else ''}}}}}"


class Mark(Node):
    """{{end}} or {{else …}}: seen by the parser only."""

    __slots__ = ("kind",)

    def __init__(self, position: int, kind: str) -> None:
        super().__init__(position)
        self.kind = kind

    def __str__(self) -> str:
        return f"{{{{{self.kind}}}}}"
