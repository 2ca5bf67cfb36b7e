"""Tables, sizes, times, escapes: as docker prints them."""

import time

import pytest

from onggi.cli import rawjson, times, units
from onggi.cli.commands.images import lines
from onggi.cli.commands.port import _lines
from onggi.cli.commands.ps import HEADERS, ports, row_type
from onggi.cli.failure import Failure
from onggi.cli.output import Listing, align, render, safe
from onggi.cli.progress import bar

CONTAINER = {
    "Id": "d075d8c070e36c75a88d9a2ddec848ed4c068386f1bf71d8f2073307a4f4dd2d", "Names": ["/cafe"], "Image": "tool",
    "ImageID": "sha256:f09380dc", "Command": "sh -c 'i=0; while true; do :; done'", "Created": int(time.time()) - 200,
    "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 18085, "Type": "tcp"},
              {"IP": "::", "PrivatePort": 80, "PublicPort": 18085, "Type": "tcp"}],
    "Labels": {"b.c-d": "2", "a": "1"}, "State": "running", "Status": "Up 3 minutes",
    "NetworkSettings": {"Networks": {"n": {}}}, "Mounts": [{"Type": "volume", "Name": "e6c2dfa7ce54091234", "Driver": "local"}],
}  # fmt: skip


def _made(form: str, *, whole: bool = False) -> str:
    return render(
        Listing(row_type(whole=whole), HEADERS, ("ID", "Image", "Command", "RunningFor", "Names")), [CONTAINER], form
    )


def test_the_table() -> None:
    assert _made("") == (
        "CONTAINER ID   IMAGE     COMMAND                  CREATED         NAMES\n"
        'd075d8c070e3   tool      "sh -c \'i=0; while t…"   3 minutes ago   cafe\n'
    )


def test_templates() -> None:
    assert _made("{{.ID}}\\t{{.Names}}") == "d075d8c070e3\tcafe\n"
    assert _made('table {{.Names | upper}}\\t{{.Label "b.c-d"}}') == "NAMES     c d\nCAFE      2\n"
    assert _made("{{.Ports}} {{.Labels}} {{.Mounts}} {{.LocalVolumes}}") == (
        "0.0.0.0:18085->80/tcp, [::]:18085->80/tcp a=1,b.c-d=2 e6c2dfa7ce5409… 1\n"
    )
    assert _made("json").startswith('{"Command":"\\"sh -c \'i=0; while t…\\"","CreatedAt":"')
    assert "\\u003e80/tcp" in _made("json")
    with pytest.raises(Failure, match=r"^failed to parse template: template: :1: unclosed action$"):
        _made("{{.ID")
    with pytest.raises(Failure, match=r"^failed to execute template: .* can't evaluate field Foo in type \*formatter"):
        _made("{{.Foo}}")


def test_what_others_wrote_does_not_steer_the_terminal() -> None:
    assert safe("a\x1b[2J\r\u202eb\n", "\n") == "a\\x1b[2J\\r\\u202eb\n"
    evil = {**CONTAINER, "Names": ["/a\x1b]0;x\x07\nb"]}
    text = render(Listing(row_type(whole=False), HEADERS, ("Names",)), [evil])
    assert text == "NAMES\na\\x1b]0;x\\x07\\nb\n"


def test_columns_are_those_of_tabwriter() -> None:
    assert align([["a", "b", "c"], ["aaaaaaaaaa", "b", "c"]]) == "a            b         c\naaaaaaaaaa   b         c\n"
    assert align([["한글", "b"], ["a", "b"]]) == "한글        b\na         b\n"
    assert align([["alone"], ["a", "b"], []]) == "alone\na         b\n\n"
    assert align([["UID", "CMD"], ["root", "sh"]], minimum=20, padding=1) == f"{'UID':20}CMD\n{'root':20}sh\n"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([(8000, 8000), (8001, 8001), (8002, 8002)], "0.0.0.0:8000-8002->8000-8002/tcp"),
        ([(80, 8080)], "0.0.0.0:8080->80/tcp"),
        ([(90, 0), (91, 0), (93, 0)], "90-91/tcp, 93/tcp"),
        ([], ""),
    ],
)
def test_ports(found: list[tuple[int, int]], text: str) -> None:
    data = [
        {"PrivatePort": inside, "Type": "tcp", **({"IP": "0.0.0.0", "PublicPort": outside} if outside else {})}
        for inside, outside in found
    ]
    assert ports(data) == text


def test_port_command_sorts_by_number() -> None:
    found = {
        "90/tcp": None,
        "1000/udp": [{"HostIp": "::", "HostPort": "1"}],
        "80/tcp": [{"HostIp": "1.2.3.4", "HostPort": "2"}],
    }
    assert list(_lines(found)) == ["80/tcp -> 1.2.3.4:2", "1000/udp -> [::]:1"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1984000, "1.98MB"), (11361, "11.4kB"), (1_500_000_000, "1.5GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert units.decimal(size, 3) == text


def test_binary_sizes() -> None:
    assert units.binary(843776) == "824KiB"
    assert units.binary(25_275_000_000) == "23.54GiB"


def test_times() -> None:
    assert times.parse("2026-12-01T00:33:21.386107508Z") == (1796085201, 386107508)
    assert times.parse("2026-12-01T09:33:21+09:00") == (1796085201, 0)
    assert times.parse(times.ZERO)[0] < 0
    assert times.timestamp("1600000000.5") == "1600000000.5"
    assert times.timestamp("2020-01-01T10:11:12+02:00") == "1577866272.000000000"
    assert abs(float(times.timestamp("10m")) - (time.time() - 600)) < 5
    with pytest.raises(Failure, match=r'^invalid value for "since": failed to parse value as time or duration: "foo"$'):
        times.timestamp("foo", "since")


def test_json_text_keeps_every_byte_of_its_strings() -> None:
    text = '{"a":{},"b":[],"c":[1,{"d":"\\u003c\\"\\\\"}],"e":null}'
    assert rawjson.indent(text) == (
        '{\n    "a": {},\n    "b": [],\n    "c": [\n        1,\n        {\n            "d": "\\u003c\\"\\\\"\n        }\n'
        '    ],\n    "e": null\n}'
    )
    assert rawjson.indent("[]") == "[]"


def test_lines_of_an_image() -> None:
    image = {"RepoTags": ["r/a:1", "r/a:2", "b:1"], "RepoDigests": ["r/a@sha256:x", "c@sha256:y"]}

    def found(*, digests: bool) -> list[tuple[str, str, str]]:
        return [(line.repository, line.tag, line.digest) for line in lines(image, digests=digests)]

    assert found(digests=False) == [
        ("r/a", "1", "<none>"),
        ("r/a", "2", "<none>"),
        ("b", "1", "<none>"),
        ("c", "<none>", ""),
    ]
    assert found(digests=True) == [("r/a", "1", "sha256:x"), ("r/a", "2", "sha256:x"), ("b", "1", "<none>"),
                                   ("c", "<none>", "sha256:y")]  # fmt: skip
    nothing = list(lines({"RepoTags": None, "RepoDigests": []}, digests=False))
    assert [(line.repository, line.tag) for line in nothing] == [("<none>", "<none>")]


def test_progress_bars() -> None:
    detail = {"current": 500, "total": 1000}
    assert bar(detail, 80) == "    500B/1kB"
    assert bar(detail, 120) == f"[{'=' * 25}>{' ' * 25}]     500B/1kB"
    assert bar({}, 80) == ""
    assert bar({"current": 5, "total": 3}, 80) == "      5B"
