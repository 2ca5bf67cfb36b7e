"""The command line's main program: global options, the command's row, its function, its exit status.

    main ── Invocation (global options, configuration, address) ── table: path → row ── arguments.parse ── the function

A command's function is named by its row ("onggi.cli.commands.run:run") and gets an Invocation and its Arguments.
"""

import sys

from onggi.cli import system
from onggi.cli.command import Command
from onggi.cli.failure import PROGRAM, Failure, UsageError
from onggi.cli.table import ALIASES, FAMILIES, GROUPS, PROGRAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.config import Config
    from onggi.cli.connection import Client

GLOBAL = Command(
    "",
    "[OPTIONS] COMMAND",
    "A container platform in Python, drop-in for Docker",
    run="",
    interspersed=False,
    options=(
        ("config", "", "string", "Location of client config files (default {folder})"),
        (
            "context",
            "c",
            "string",
            "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context "
            'set with "onggi context use")',
        ),
        ("debug", "D", "bool", "Enable debug mode"),
        ("host", "H", "string", "Daemon socket to connect to"),
        ("log-level", "l", "string",
         'Set the logging level ("debug", "info", "warn", "error", "fatal") (default "info")'),
        ("tls", "", "bool", "Use TLS; implied by --tlsverify"),
        ("tlscacert", "", "string", 'Trust certs signed only by this CA (default {folder/ca.pem})'),
        ("tlscert", "", "string", 'Path to TLS certificate file (default {folder/cert.pem})'),
        ("tlskey", "", "string", 'Path to TLS key file (default {folder/key.pem})'),
        ("tlsverify", "", "bool", "Use TLS and verify the remote"),
        ("trace", "", "bool", "Print what each phase of a container's start took"),
        ("version", "v", "bool", "Print version information and quit"),
    ),
)  # fmt: skip


class Invocation:
    """What a command needs beside its own arguments: global options, configuration, the way to the engine."""

    __slots__ = ("_client", "_config", "given", "name", "trace")

    def __init__(self, given: "dict[str, str]") -> None:
        self.given = given
        self.trace = given.get("trace") == "true"
        self.name = ""
        """The command as it was typed: "ps" or "container ls"."""
        self._client: Client | None = None
        self._config: Config | None = None

    @property
    def config(self) -> "Config":
        if self._config is None:
            from onggi.cli.config import Config

            self._config = Config(self.given.get("config", ""))
        return self._config

    @property
    def client(self) -> "Client":
        """The one client of this command. Nothing is sent before its first call."""
        if self._client is None:
            self._client = self.another_client()
        return self._client

    def another_client(self) -> "Client":
        from onggi.cli import address
        from onggi.cli.connection import Client

        headers = {name: str(value) for name, value in self.config.table("HttpHeaders").items()}
        where = address.find(self.config, self.given)
        client = Client(where, version=system.environment("DOCKER_API_VERSION") or "", headers=headers)
        client.debug = self.given.get("debug") == "true" or self.given.get("log-level") in ("debug", "trace")
        return client


def find(words: "Sequence[str]") -> "tuple[Command, str, int] | None":
    """The row of a command, the name it was called by, and how many words that name has."""
    count = 2 if words[0] in GROUPS else 1
    name = " ".join(words[:count])
    path = ALIASES.get(name, name)
    family = FAMILIES.get(path)
    if family is None:
        return None
    module = __import__(f"onggi.cli.table.{family}", None, None, ("COMMANDS",))
    row: Command = module.COMMANDS[path]
    return row, name, count


def _carry_out(row: Command, invocation: Invocation, found: "Arguments") -> int:
    module, _, function = row.run.partition(":")
    status: Any = getattr(__import__(module, None, None, (function,)), function)(invocation, found)
    return int(status or 0)


def _usage_of(row: Command, name: str) -> str:
    usages = (row.usage,) if isinstance(row.usage, str) else row.usage
    return "Usage:  " + "\n\t".join(f"{PROGRAM} {name} {usage}".rstrip() for usage in usages)


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text if text.endswith("\n") else text + "\n")


def _escaped(text: str) -> str:
    """A sentence that may quote others: nothing in it may steer the terminal."""
    if text.replace("\n", "").isprintable():
        return text
    from onggi.cli.output import safe

    return safe(text, "\n\t")


def _run(row: Command, name: str, invocation: Invocation, words: "Sequence[str]") -> int:
    """Parse the words of a command and carry it out. Returns the exit status."""
    from onggi.cli.arguments import check_count, parse

    try:
        found = parse(row, words)
    except UsageError as error:
        _say(f"{error}\n\n{_usage_of(row, name)}\n\nRun '{PROGRAM} {name} --help' for more information")
        return error.status
    if found.help:
        from onggi.cli import help as layout

        if found.help == "-h":
            _say("Flag shorthand -h has been deprecated, use --help")
        sys.stdout.write(layout.command(row, name))
        return 0
    problem = check_count(row, len(found.words))
    if problem:
        see = "See" if problem.startswith("requires at least") and " and " not in problem else "Run"
        _say(f"{PROGRAM}: '{PROGRAM} {name}' {problem}\n\n{_usage_of(row, name)}\n\n"
             f"{see} '{PROGRAM} {name} --help' for more information")  # fmt: skip
        return 1
    invocation.name = name
    return _carry_out(row, invocation, found)


def _other(words: "Sequence[str]", invocation: Invocation) -> int:
    """What is no row: groups, help, programs of their own, plugins, unknown words."""
    from onggi.cli import other

    return other.carry_out(words, invocation)


def dispatch(words: "Sequence[str]") -> int:
    """Carry out one command line. Returns the exit status; raises Failure."""
    given: dict[str, str] = {}
    if words and words[0].startswith("-"):
        from onggi.cli.arguments import parse

        try:
            found = parse(GLOBAL, words)
        except UsageError as error:
            _say(f"{error}\n\nUsage:  {PROGRAM} [OPTIONS] COMMAND [ARG...]\n\n"
                 f"Run '{PROGRAM} --help' for more information")  # fmt: skip
            return error.status
        if found.help:
            words = [found.help]
        else:
            given = {name: "true" if value is True else str(value) for name, value in found.values.items()}
            words = found.words
        if found.text("log-level", "info") not in ("debug", "info", "warn", "error", "fatal", "panic", "trace"):
            raise Failure(f"Unable to parse logging level: {found.text('log-level')}")
    invocation = Invocation(given)
    if given.get("version") == "true":
        words = ["--version"]
    if not words or words[0] in PROGRAMS:
        return _other(words, invocation)
    row = find(words)
    if row is None:
        return _other(words, invocation)
    return _run(row[0], row[1], invocation, words[row[2] :])


def _die_of(number: int) -> int:
    """End as a program that does not handle the signal: shells and scripts see the signal itself."""
    from onggi.cli import signals

    signals.handle(number, signals.default)
    system.kill(system.getpid(), number)
    return 128 + number


def main(words: "Sequence[str]") -> int:
    """The process's exit status. Never raises, but for the broken pipe and Ctrl-C, which end the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test has put something else in its place
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        try:
            status = dispatch(words)
            sys.stdout.flush()
        except Failure as failure:
            _say(_escaped(str(failure)))
            return failure.status
        return status
    except BrokenPipeError:
        if sys.platform == "win32":
            return 1
        from onggi.cli import signals

        return _die_of(signals.number("SIGPIPE"))
    except KeyboardInterrupt:
        return 130


def run_and_exit(words: "Sequence[str]") -> None:
    """`main` for scripts/onggi. Leaves without tearing the interpreter down, which would cost a millisecond."""
    status = main(words)
    sys.stderr.flush()
    system.exit_now(status)
