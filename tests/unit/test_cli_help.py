"""Help, usage and refusals: Docker's layout and words, checked against what Docker printed (tests/reference)."""

import pytest

from onggi.cli import help as layout
from onggi.cli.main import find
from onggi.cli.table import FAMILIES, GROUPS
from tests.cli import reference, say
from tests.docker_recording import HELP

DOCKER = reference(HELP)
OURS = {"context create", "context update", "system df"}  # name the product in their text
ADDED = {
    "auto-update",
    "image verify",
    "trust generate",
    "trust sign",
    "trust verify",
}  # Docker has none, or speaks of Notary
EXTENDED = {"container logs": "--clear"}  # nor such an option


def _ours(path: str) -> str:
    """The help of a command, without the options that Docker does not have."""
    found = find(path.split())
    assert found is not None
    return layout.command(*found[:2]).partition(f"\n{layout.OWN}:\n")[0]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "width", lambda: 80)


@pytest.mark.parametrize("path", sorted(set(FAMILIES) - OURS - ADDED))
def test_help_is_dockers_with_our_name(path: str) -> None:
    theirs = DOCKER[path].replace("docker", "onggi").replace("docs.onggi.com", "docs.docker.com")
    theirs = theirs.replace("\tonggi cp ", "\tonggi container cp ")
    ours = "".join(line for line in _ours(path).splitlines(True) if EXTENDED.get(path, "\0") not in line)
    assert ours.replace("Docker", "Onggi") == theirs.replace("Docker", "Onggi")


@pytest.mark.parametrize("path", sorted(OURS))
def test_options_are_dockers(path: str) -> None:
    def options(text: str) -> list[str]:
        return [word.replace("onggi", "docker") for word in text.split() if word.startswith("-")]

    assert options(_ours(path)) == options(DOCKER[path])


@pytest.mark.parametrize("group", sorted(set(GROUPS) & set(DOCKER)))
def test_a_group_lists_dockers_commands(group: str) -> None:
    def commands(text: str) -> set[str]:
        lines = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        return {line.split()[0] for line in lines}

    assert commands(DOCKER[group]) - commands(layout.group(group)) <= {"build"}


def test_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "ps", "--foo")
    assert (said.status, said.out) == (125, "")
    assert (
        said.err == "unknown flag: --foo\n\nUsage:  onggi ps [OPTIONS]\n\nRun 'onggi ps --help' for more information\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence", "see"),
    [
        (["ps", "x"], "accepts no arguments", "Run"),
        (["rm"], "requires at least 1 argument", "See"),
        (["exec", "x"], "requires at least 2 arguments", "See"),
        (["attach"], "requires 1 argument", "Run"),
        (["rename", "x"], "requires 2 arguments", "Run"),
        (["images", "a", "b"], "requires at most 1 argument", "Run"),
        (["port", "a", "b", "c"], "requires at least 1 and at most 2 arguments", "Run"),
    ],
)
def test_wrong_number_of_words(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str, see: str) -> None:
    said = say(capsys, *words)
    assert said.status == 1
    assert said.err.startswith(f"onggi: 'onggi {words[0]}' {sentence}\n\nUsage:  onggi {words[0]} ")
    assert said.err.endswith(f"\n\n{see} 'onggi {words[0]} --help' for more information\n")


def test_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "foo").err == "onggi: unknown command: onggi foo\n\nRun 'onggi --help' for more information\n"
    said = say(capsys, "container", "foo")
    assert said.status == 1
    assert said.err == ("onggi: unknown command: onggi container foo\n\nUsage:  onggi container\n\n"
                        "Run 'onggi container --help' for more information\n")  # fmt: skip


@pytest.mark.parametrize(
    "words", [["swarm", "init"], ["service", "ls"], ["build", "."], ["image", "build", "."], ["plugin"]]
)
def test_what_is_not_there_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    said = say(capsys, *words)
    assert (said.status, said.out) == (1, "")
    assert f"onggi {words[0]}" in said.err
    assert said.err.count("\n") == 1


def test_help_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    root = say(capsys, "--help")
    assert root.status == 0
    assert root.out.startswith("Usage:  onggi [OPTIONS] COMMAND\n")
    assert say(capsys, "container", "--help").out.startswith("Usage:  onggi container COMMAND\n")
    assert say(capsys, "help", "container", "ls").out == say(capsys, "container", "ls", "--help").out
    assert say(capsys).err == root.out
    assert say(capsys, "help", "foo").err == "unknown help topic: foo\n"


def test_dash_h_is_deprecated_but_a_host_name_for_run(capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "ps", "-h")
    assert said.err == "Flag shorthand -h has been deprecated, use --help\n"
    assert said.out.startswith("Usage:")
    assert say(capsys, "run", "-h").err.startswith("flag needs an argument: 'h' in -h\n")


def test_the_reference_page_is_made_of_the_rows() -> None:
    from onggi.cli.reference import page
    from tests.cli import ROOT

    written = (ROOT / "docs/reference/commands.md").read_text()
    assert written == page(), "write it again: python -m onggi.cli.reference > docs/reference/commands.md"


def test_what_an_engine_says_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onggi.cli.connection import Client
    from onggi.cli.failure import ResponseError

    def call(self: Client, *words: object, **options: object) -> None:
        raise ResponseError(404, "No such \x1b]0;owned\x07\u202e thing")

    monkeypatch.setattr(Client, "call", call)
    said = say(capsys, "-H", "unix:///nonexistent", "diff", "x")
    assert said.err == "Error response from daemon: No such \\x1b]0;owned\\x07\\u202e thing\n"


def test_debug_tells_what_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "-D", "-H", "unix:///nonexistent", "ps", "-a")
    assert said.err.startswith(
        "DEBUG: unix:///nonexistent: GET /containers/json?all=1\nCannot connect to the Onggi daemon"
    )
