"""Go templates: results and sentences as Go 1.24 and docker 28 give them (each was seen there)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.template.evaluator import Template
from onggi.template.failure import TemplateError
from onggi.template.json import dumps, indented
from onggi.template.values import NullList, Row, RowType, StringMap, Struct, number

ROW = Row(
    RowType(
        "*formatter.ContainerContext",
        {"ID": lambda data: "d075d8c070e3", "Names": lambda data: "cafe", "Ports": lambda data: "0.0.0.0:1->80/tcp"},
        {"Label": lambda data, name: {"x": "y"}.get(name, "")},
    ),
    None,
)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("{{.ID}} {{.Names}}", "d075d8c070e3 cafe"),
        ('{{.Label "x"}}|{{"x" | .Label}}|{{.Label "q"}}', "y|y|"),
        ('{{printf "%d" "x"}}', "%!d(string=x)"),
        ('{{"a" | printf "%q" | printf "%s"}}', '"a"'),
        ('{{title "foo bar"}}{{upper "x"}}{{lower "X"}}{{pad "x" 2 2}}|{{truncate "hello" 2}}', "Foo BarXx  x  |he"),
        ('{{split "a,b" ","}} {{join (split "a,b" ",") "-"}}', "[a b] a-b"),
        ('{{println "x" 1}}', "x 1\n"),
        ("{{json .Ports}}", '"0.0.0.0:1->80/tcp"'),
        ("{{json .}}", '{"ID":"d075d8c070e3","Names":"cafe","Ports":"0.0.0.0:1->80/tcp"}'),
        ('{{printf "%v %T %5d|%-5s|%x|%08.3f" true 1 42 "ab" "hi" 3.14159}}', "true int    42|ab   |6869|0003.142"),
        ('{{printf "%s" 1}} {{printf "%d%%" 5}} {{printf "%d"}} {{printf "x" 1}}', "%!s(int=1) 5% %!d(MISSING) x%!(EXTRA int=1)"),
        ('{{and 1 0}} {{or 0 "x"}} {{not 1}}', "0 x false"),
        ('{{eq .ID "a" "b"}} {{ne 1 2}} {{lt 1 2}} {{ge 2 2}} {{gt "b" "a"}}', "false true true true true"),
        ("{{len .ID}} {{len (split \"a,b\" \",\")}}", "12 2"),
        ('{{html "<a>"}} {{js "a\\"b"}} {{urlquery "a b"}}', '&lt;a&gt; a\\"b a+b'),
        ('{{index (split "a,b" ",") 1}} {{slice "abcd" 1 3}}', "b bc"),
        ("{{1.5}} {{0x10}} {{1e3}} {{'a'}} {{`raw`}}", "1.5 16 1000 97 raw"),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ('{{.ID}}{{/* c */}}x{{- " y" -}} z', "d075d8c070e3x yz"),
        ("a {{- /* c */ -}} b", "ab"),
        ('{{range $i, $x := split "a,b" ","}}{{if $i}},{{end}}{{$x}}{{else}}none{{end}}', "a,b"),
        ('{{range split "" ","}}[{{.}}]{{end}}{{with 0}}a{{else}}b{{end}}', "[]b"),
        ("{{if eq 1 2}}a{{else if eq 1 1}}b{{else}}c{{end}}", "b"),
        ('{{define "t"}}[{{.}}]{{end}}{{template "t" .ID}}{{block "u" 1}}{{.}}{{end}}', "[d075d8c070e3]1"),
        ("{{range 3}}{{.}}{{if eq . 1}}{{break}}{{end}}{{end}}", "01"),
        ("{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "02"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{(index (split \"a b\" \" \") 1) | upper}}", "B"),
        ("plain } text }} {", "plain } text }} {"),
    ],
)  # fmt: skip
def test_results(source: str, result: str) -> None:
    assert Template(source).execute(ROW) == result


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{.ID", "template: :1: unclosed action"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{if .ID}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ('{{"unterminated}}', "template: :1: unterminated quoted string"),
        ("{{)}}", "template: :1: unexpected right paren"),
        ("{{(}}", "template: :1: unclosed left paren"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("\n\n{{foo}}", 'template: :3: function "foo" not defined'),
        ("{{/* x", "template: :1: unclosed comment"),
        ("{{1 | 2}}", "template: :1: non executable command in pipeline stage 2"),
    ],
)
def test_what_does_not_parse(source: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as failed:
        Template(source)
    assert str(failed.value) == sentence


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{.Foo}}", '2: executing "" at <.Foo>: can\'t evaluate field Foo in type *formatter.ContainerContext'),
        ("{{json}}", '2: executing "" at <json>: wrong number of args for json: want 1 got 0'),
        ("{{.ID.X}}", "5: executing \"\" at <.ID.X>: can't evaluate field X in type string"),
        ("{{index .ID 100}}", '2: executing "" at <index .ID 100>: error calling index: index out of range: 100'),
        ("{{len 3}}", '2: executing "" at <len 3>: error calling len: len of type int'),
        ("{{.Label}}", '2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0'),
        ("{{1 2}}", '2: executing "" at <1>: can\'t give argument to non-function 1'),
        ('{{lt 1 "a"}}',
         '2: executing "" at <lt 1 "a">: error calling lt: incompatible types for comparison: int and string'),
        ('{{join .ID ","}}', '7: executing "" at <.ID>: wrong type for value; expected []string; got string'),
        ("{{nil}}", '2: executing "" at <nil>: nil is not a command'),
        ("{{.ID | .Names}}", '8: executing "" at <.Names>: wrong number of args for Names: want 0 got 1'),
        ('{{template "x"}}', '11: executing "" at <{{template "x"}}>: template "x" not defined'),
    ],
)  # fmt: skip
def test_what_does_not_fit(source: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as failed:
        Template(source).execute(ROW)
    assert str(failed.value) == f"template: :1:{sentence}"


def test_structures_maps_and_absent_values() -> None:
    value = Struct(
        {"State": Struct({"Running": True, "Pid": 0}, absent={"Health": None}), "Labels": StringMap({"b": "2", "a": "1"}),
         "Env": NullList(), "Ports": {"80/tcp": [Struct({"HostIp": "", "HostPort": "1"})]}, "Size": 12345678901}
    )  # fmt: skip

    def made(source: str, *, strict: bool = False) -> str:
        return Template(source).execute(value, strict=strict)

    assert made("{{.State}} {{.State.Health}} {{.Labels}} {{.Env}} {{.Ports}} {{.Size}}") == (
        "{true 0} <nil> map[a:1 b:2] [] map[80/tcp:[{ 1}]] 12345678901"
    )
    assert made('{{.Labels.q}}|{{.Labels.q.r}}|{{index .Labels "q"}}|{{json .Env}}') == "<no value>|<no value>||null"
    assert made("{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}") == "a1b2"
    with pytest.raises(TemplateError, match="can't evaluate field Foo in type struct"):
        made("{{.State.Foo}}")
    with pytest.raises(TemplateError, match='map has no entry for key "q"'):
        made("{{.Labels.q}}", strict=True)


def test_json_as_go_writes_it() -> None:
    assert dumps({"b": 1.0, "a": "é<\u2028"}) == '{"a":"é<\\u2028","b":1}'
    assert dumps("<&>", html=True) == '"\\u003c\\u0026\\u003e"'
    assert indented(Struct({"b": {}, "a": [1, []]}), "  ") == '{\n  "b": {},\n  "a": [\n    1,\n    []\n  ]\n}'


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1"), (0.1, "0.1"), (1e20, "100000000000000000000"),
     (1e21, "1e+21"), (1e-5, "1e-05"), (2.5e-7, "2.5e-07")]
)  # fmt: skip
def test_floats(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    "source",
    [
        '{{printf "%999999999d" 1}}{{printf "%.999999999f" 1.0}}',
        '{{define "t"}}{{template "t"}}{{end}}{{template "t"}}',
        "{{range 1000000000000}}{{end}}",
        '{{$x := "0123456789"}}{{range 40}}{{$x = printf "%s%s" $x $x}}{{end}}',
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}" * 5000 + "{{end}}" * 5000,
        '{{pad "x" 999999999 1}}',
    ],
    ids=range(7),
)
def test_hostile_templates_end(source: str) -> None:
    """Bounded output and time."""
    try:
        assert len(Template(source).execute(ROW)) < 1 << 21
    except TemplateError:
        pass


@pytest.mark.parametrize(
    "source", ["{{.__class__}}", "{{.data}}", '{{"x".__class__}}', "{{.kind}}", '{{(split "a" "b").append}}']
)
def test_no_attribute_of_python_is_reached(source: str) -> None:
    with pytest.raises(TemplateError):
        Template(source).execute(ROW)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="{}.-ab $:=\"()|/*1,`\\'nif rangeend", max_size=60))
def test_any_text_gives_a_result_or_a_sentence(source: str) -> None:
    said = "template: "
    try:
        Template(source).execute({"a": [1, "b"], "b": {"a": None}})
    except TemplateError as error:
        said = str(error)
    assert said.startswith("template: ")
