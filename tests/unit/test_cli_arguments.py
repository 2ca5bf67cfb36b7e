"""Options are read by spf13/pflag's rules."""

import pytest

from onggi.cli.arguments import check_count
from onggi.cli.failure import UsageError
from onggi.cli.main import find
from onggi.cli.table import ALIASES, FAMILIES
from onggi.cli.values import _KINDS, comma_separated, duration, integer, nano_cpus, size
from tests.cli import arguments


def test_forms_of_an_option() -> None:
    for line in (["--memory", "5m"], ["--memory=5m"], ["-m", "5m"], ["-m5m"], ["-m=5m"]):
        assert arguments(["run", *line, "x"]).values == {"memory": 5 << 20}
    found = arguments(["run", "-itd", "--rm=false", "-e", "A=1", "-eB=2", "x", "-i", "--rm"])
    assert found.texts("env") == ["A=1", "B=2"]
    assert (found.flag("interactive"), found.flag("tty"), found.flag("detach"), found.flag("rm")) == (
        True,
        True,
        True,
        False,
    )
    assert found.words == ["x", "-i", "--rm"]


def test_options_and_words_mix_where_the_command_allows() -> None:
    found = arguments(["rm", "a", "-f", "b", "--", "-c"])
    assert found.words == ["a", "b", "-c"]
    assert found.flag("force")
    assert arguments(["exec", "a", "-f", "b"]).words == ["a", "-f", "b"]
    assert arguments(["cp", "-", "a:b"]).words == ["-", "a:b"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["ps", "--al"], "unknown flag: --al"),
        (["ps", "-zq"], "unknown shorthand flag: 'z' in -zq"),
        (["run", "--restart"], "flag needs an argument: --restart"),
        (["run", "-m"], "flag needs an argument: 'm' in -m"),
        (["ps", "---x"], "bad flag syntax: ---x"),
        (["ps", "-n", "x"], 'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["run", "--rm=maybe", "x"],
         'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["ps", "-f", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
    ],
)  # fmt: skip
def test_refusals(line: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as failed:
        arguments(line)
    assert (str(failed.value), failed.value.status) == (sentence, 125)


def test_every_row_is_reachable_and_its_function_exists() -> None:
    for path in [*FAMILIES, *ALIASES]:
        found = find(path.split())
        assert found is not None, path
        row = found[0]
        assert row.path == ALIASES.get(path, path)
        module, _, function = row.run.partition(":")
        assert callable(getattr(__import__(module, None, None, (function,)), function)), row.run
        names = [option[0] for option in row.options]
        shorts = [option[1] for option in row.options if option[1]]
        assert len(set(names)) == len(names), path
        assert len(set(shorts)) == len(shorts), path


def test_every_kind_of_option_can_be_read() -> None:
    simple = {"bool", "string", "list"}
    for path in FAMILIES:
        found = find(path.split())
        assert found is not None
        assert {option[2] for option in found[0].options} - simple <= set(_KINDS), path


def test_counts() -> None:
    def said(path: str, count: int) -> str | None:
        found = find(path.split())
        assert found is not None
        return check_count(found[0], count)

    assert said("run", 1) is None
    assert said("ps", 0) is None
    assert said("port", 2) is None
    assert said("network connect", 1) == "requires 2 arguments"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1024", 1024),
        ("1.5g", 3 << 29),
        ("1kib", 1024),
        ("1KB", 1024),
        ("1 m", 1 << 20),
        (".5k", 512),
        ("7b", 7),
        ("1e3", 1000),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "x", "5x", "1bb", "1kk", "-1", "1kibb", "g", "1..2m", "0x10", "nan", "inf"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid (size|suffix)|ParseFloat"):
        size(text)


def test_numbers() -> None:
    assert [integer(text) for text in ("10", "-5", "+5", "0x1F", "0b11", "0o17", "017", "1_000")] == [
        10,
        -5,
        5,
        31,
        3,
        15,
        15,
        1000,
    ]
    assert nano_cpus("1.5") == 1_500_000_000
    assert nano_cpus("1/4") == 250_000_000
    assert nano_cpus("1e1") == 10**10
    for text in ("1/3", "x", "", "1/0", "1.2.3", "--1"):
        with pytest.raises(ValueError, match=r"rational|precise"):
            nano_cpus(text)
    for text in ("", "1__0", "08", "1.0", "9223372036854775808", "１"):
        with pytest.raises(ValueError, match=r"ParseInt"):
            integer(text)


def test_durations() -> None:
    assert duration("1h30m") == 5400 * 10**9
    assert duration("-1.5s") == -1_500_000_000
    assert duration("0") == 0
    assert duration("100us") == 100_000
    for text in ("", "x", "1", "1d", "s", ".s", "1h30"):
        with pytest.raises(ValueError, match=r"^time: "):
            duration(text)


def test_comma_separated_values() -> None:
    assert comma_separated('a,"b,c","d""e",') == ["a", "b,c", 'd"e', ""]
    assert comma_separated("") == []
    for text in ('a"b', '"a', '"a"b'):
        with pytest.raises(ValueError, match=r"^parse error on line 1, column"):
            comma_separated(text)
