"""JSON text without the json package says the same as with it."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi import jsontext

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_both_ways_as_the_standard_package(value: object) -> None:
    text = jsontext.dumps(value)
    assert json.loads(text) == value
    assert jsontext.loads(json.dumps(value, indent=1)) == value
    assert jsontext.loads(text.encode()) == value


@pytest.mark.parametrize("text", ["", "  ", "{", '{"a":}', "[1] x", "nul", '"\\u12"', "NaN"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|not JSON|Expecting|Invalid|Unterminated"):
        jsontext.loads(text)


def test_refusals_need_no_package_loaded() -> None:
    script = (
        "import sys; from onggi.jsontext import loads\n"
        "assert 'json' not in sys.modules, 'the package was loaded'\n"
        "try: loads('{')\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "not JSON" in done.stdout


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        jsontext.dumps({"a": {1}})
