"""Links: their grammar, and the variables of a linked container's ports."""

import pytest

from onggi.engine import links
from onggi.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "name", "alias"), [("db", "db", "db"), ("db:store", "db", "store"), ("/db:/web/store", "db", "store")]
)
def test_the_grammar(text: str, name: str, alias: str) -> None:
    assert links.parse(text) == (name, alias)


@pytest.mark.parametrize("text", ["", ":x", "a:b:c", "a:b c", "a:b\n10.0.0.1 evil"])
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(InvalidParameter):
        links.parse(text)


def test_neighbouring_ports_are_named_as_a_run() -> None:
    found = links._ports("DB", "10.0.0.2", ["53/udp", "81/tcp", "80/tcp", "90"])
    assert found[0] == "DB_PORT=tcp://10.0.0.2:80"
    assert "DB_PORT_80_TCP_START=tcp://10.0.0.2:80" in found
    assert "DB_PORT_80_TCP_PORT_END=81" in found
    assert found[-4:] == [
        "DB_PORT_53_UDP=udp://10.0.0.2:53", "DB_PORT_53_UDP_ADDR=10.0.0.2", "DB_PORT_53_UDP_PORT=53",
        "DB_PORT_53_UDP_PROTO=udp",
    ]  # fmt: skip
    assert not any("90_TCP_START" in entry for entry in found)
