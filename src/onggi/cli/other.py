"""Words that name no row of the table: groups alone, help, other programs, plugins, and what is not there."""

import os
import sys

from onggi.cli.failure import PROGRAM, Failure
from onggi.cli.table import GROUPS, PROGRAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from onggi.cli.main import Invocation

_NO_SWARM = "Onggi has no swarm mode: `{name}` is not available"
NOT_THERE = {
    **dict.fromkeys(("swarm", "service", "stack", "node", "config", "secret"), _NO_SWARM),
    "plugin": "Onggi has no engine plugins; `{name}` is not available",
    "checkpoint": "Onggi does not checkpoint containers; `{name}` is not available",
    "trust": "Docker Content Trust is not offered; `{name}` is not available",
    "build": "`{name}` is not carried out by this client yet; use `docker build`, or buildah and `onggi load`",
    "builder": "`{name}` is not carried out by this client yet; use `docker build`, or buildah and `onggi load`",
    "image build": "`{name}` is not carried out by this client yet; use `docker build`, or buildah and `onggi load`",
    "buildx": "`{name}` needs the plugin docker-buildx, which is not installed",
    "compose": "`{name}` needs the plugin docker-compose, which is not installed",
}
"""Docker's words that Onggi does not carry out → the sentence that says so."""


def _help(words: "Sequence[str]", invocation: "Invocation") -> int:
    from onggi.cli import help as layout
    from onggi.cli import main

    if not words:
        sys.stdout.write(layout.root(invocation.config.folder))
        return 0
    if words[0] in GROUPS and len(words) == 1:
        sys.stdout.write(layout.group(words[0]))
        return 0
    row = main.find(words)
    if row is None:
        raise Failure(f"unknown help topic: {' '.join(words)}")
    sys.stdout.write(layout.command(row[0], row[1]))
    return 0


def _group(name: str, words: "Sequence[str]") -> int:
    from onggi.cli import help as layout

    if not words or words[0] in ("--help", "-h", "help"):
        if words and words[0] == "-h":
            sys.stderr.write("Flag shorthand -h has been deprecated, use --help\n")
        (sys.stdout if words else sys.stderr).write(layout.group(name))
        return 0
    if words[0].startswith("--"):
        raise Failure(f"unknown flag: {words[0].partition('=')[0]}\n\nUsage:  {PROGRAM} {name} COMMAND\n\n"
                      f"Run '{PROGRAM} {name} --help' for more information", 125)  # fmt: skip
    if words[0].startswith("-") and len(words[0]) > 1:
        raise Failure(f"unknown shorthand flag: {words[0][1]!r} in {words[0]}\n\nUsage:  {PROGRAM} {name} COMMAND\n\n"
                      f"Run '{PROGRAM} {name} --help' for more information", 125)  # fmt: skip
    full = f"{name} {words[0]}"
    if full in NOT_THERE:
        raise Failure(NOT_THERE[full].format(name=f"{PROGRAM} {full}"))
    raise Failure(f"{PROGRAM}: unknown command: {PROGRAM} {full}\n\nUsage:  {PROGRAM} {name}\n\n"
                  f"Run '{PROGRAM} {name} --help' for more information")  # fmt: skip


def _program(module: str, words: "Sequence[str]") -> int:
    """Become another program of this package; never returns."""
    here = os.path.dirname(os.path.abspath(__file__))
    file = os.path.join(os.path.dirname(here), *module.split(".")[1:])
    if not (os.path.exists(f"{file}.py") or os.path.exists(os.path.join(file, "__main__.py"))):
        raise Failure(f"{module} is not part of this installation")
    entry = os.path.join(here, "entry.py")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-I", entry, module, *words])


def carry_out(words: "Sequence[str]", invocation: "Invocation") -> int:
    """Returns the exit status; raises Failure."""
    from onggi.cli import help as layout

    if not words:
        sys.stderr.write(layout.root(invocation.config.folder))
        return 0
    name, rest = words[0], words[1:]
    if name == "-h":
        sys.stderr.write("Flag shorthand -h has been deprecated, use --help\n")
    if name in ("--help", "-h", "help"):
        return _help(rest, invocation)
    if name == "--version":
        from onggi import __version__

        sys.stdout.write(f"Onggi version {__version__}\n")
        return 0
    if name in GROUPS:
        return _group(name, rest)
    if name in PROGRAMS:
        return _program(PROGRAMS[name], rest)
    if name == "completion":
        from onggi.cli import completion

        return completion.script(rest)
    if name == "__complete":
        from onggi.cli import completion

        return completion.complete(rest)
    from onggi.cli import plugins

    status = plugins.run(name, rest, invocation)
    if status is not None:
        return status
    if name in NOT_THERE:
        raise Failure(NOT_THERE[name].format(name=f"{PROGRAM} {' '.join([name, *rest[:1]]) if rest else name}"))
    raise Failure(f"{PROGRAM}: unknown command: {PROGRAM} {name}\n\nRun '{PROGRAM} --help' for more information")
