"""What the help of the program and of its groups lists. Loaded for help and completion only."""

from onggi.cli.table import ALIASES, FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Command

GROUPS = {
    "container": "Manage containers",
    "context": "Manage contexts",
    "image": "Manage images",
    "manifest": "Manage image manifests and manifest lists",
    "network": "Manage networks",
    "system": "Manage Onggi",
    "trust": "Manage trust on images",
    "volume": "Manage volumes",
}

PROGRAMS = {
    "completion": "Generate the autocompletion script for the specified shell",
    "daemon": "Run the engine in the foreground",
    "doctor": "Look for what is wrong on this machine and say how to mend it",
    "registry": "Run a registry server",
}

COMMON = ("run", "exec", "ps", "pull", "push", "images", "login", "logout", "search", "version", "info")
_HIDDEN = frozenset(("log", "system dial-stdio"))


def row(path: str) -> "Command":
    """The row of a canonical path."""
    module = __import__(f"onggi.cli.table.{FAMILIES[path]}", None, None, ("COMMANDS",))
    found: Command = module.COMMANDS[path]
    return found


def commands_of(group: str) -> "list[tuple[str, str]]":
    """Canonical paths below a group, in order, with their summaries."""
    return [
        (path, row(path).summary) for path in sorted(FAMILIES) if path.startswith(f"{group} ") and path not in _HIDDEN
    ]


def top_level() -> "dict[str, str]":
    """Names without a group → summary."""
    names = {path: path for path in FAMILIES if " " not in path}
    names |= {alias: path for alias, path in ALIASES.items() if " " not in alias and alias not in _HIDDEN}
    return {name: row(path).summary for name, path in sorted(names.items())}


def root() -> "list[tuple[str, list[tuple[str, str]]]]":
    """The sections of the program's help."""
    top = top_level()
    return [
        ("Common Commands", [(name, top[name]) for name in COMMON]),
        ("Management Commands", sorted(GROUPS.items())),
        ("Programs", sorted(PROGRAMS.items())),
        ("Commands", [(name, text) for name, text in top.items() if name not in COMMON]),
    ]
