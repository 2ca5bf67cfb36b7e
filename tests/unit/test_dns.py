"""network.dns: messages of friends and enemies."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.network import dns


def query(name: bytes, kind: int = dns.A, *, flags: int = 0x0100, count: int = 1) -> bytes:
    return struct.pack(">HHHHHH", 0x1234, flags, count, 0, 0, 0) + name + struct.pack(">HH", kind, dns.IN)


def test_a_query_is_read() -> None:
    found = dns.parse(query(b"\3WEB\3net\0", dns.AAAA))
    assert (found.id, found.name, found.kind, found.sort) == (0x1234, "web.net", dns.AAAA, dns.IN)
    assert dns.parse(query(b"\3a.b\0")).name == "a\\046b"
    assert dns.parse(query(b"\0")).name == ""


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", None),
        (b"x" * 11, None),
        (query(b"\1a\0", flags=0x8000), None),
        (query(b"\1a\0", flags=0x2800), dns.NOTIMP),
        (query(b"\1a\0", count=2), dns.FORMERR),
        (query(b"\1a\0", count=0), dns.FORMERR),
        (query(b"\xc0\x0c"), dns.FORMERR),
        (query(b"\x3f"), dns.FORMERR),
        (query(b"\1a\0")[:-1], dns.FORMERR),
        (
            query(b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\0"),
            dns.FORMERR,
        ),
    ],
)
def test_what_is_no_query_is_refused(message: bytes, code: int | None) -> None:
    with pytest.raises(dns.Malformed) as refused:
        dns.parse(message)
    assert refused.value.code == code


@given(st.binary(max_size=600))
def test_no_bytes_do_more_than_be_malformed(message: bytes) -> None:
    try:
        found = dns.parse(message)
    except dns.Malformed as error:
        code = error.code
    else:
        reply = dns.answer(found, dns.NOERROR, [(dns.A, b"\x0a\0\0\1")] * 40)
        assert len(reply) <= dns.UDP_BYTES
        assert reply[:2] == message[:2]
        return
    if code is not None:
        assert len(dns.refusal(message, code)) == 12


@given(st.binary(max_size=100))
def test_no_bytes_pass_for_an_answer_by_accident(message: bytes) -> None:
    asked = dns.parse(query(b"\3web\0"))
    assert not dns.replies_to(b"\x12\x35" + message, asked, 0x1234)


def test_an_answer_must_fit_its_question() -> None:
    asked = dns.parse(query(b"\3web\0"))
    good = dns.answer(asked, dns.NOERROR, [(dns.A, b"\x0a\0\0\1")])
    assert dns.replies_to(good, asked, asked.id)
    assert dns.replies_to(good.replace(b"web", b"WeB"), asked, asked.id)
    assert not dns.replies_to(good.replace(b"web", b"wet"), asked, asked.id)
    assert not dns.replies_to(good, asked, asked.id ^ 1)
    assert not dns.replies_to(query(b"\3web\0"), asked, asked.id)


def test_what_does_not_fit_is_marked_as_cut() -> None:
    asked = dns.parse(query(b"\3web\0"))
    records = [(dns.A, bytes([10, 0, 0, last])) for last in range(100)]
    cut = dns.answer(asked, dns.NOERROR, records)
    assert len(cut) <= dns.UDP_BYTES
    assert cut[2] & 0x02
    whole = dns.answer(asked, dns.NOERROR, records, limit=dns.MESSAGE_BYTES)
    assert not whole[2] & 0x02
    assert struct.unpack_from(">H", whole, 6) == (100,)


def test_names_are_encoded_and_reversed() -> None:
    assert dns.encode_name("web.net") == b"\3web\3net\0"
    for bad in ("", "a..b", "x" * 64, ".".join(["x" * 60] * 5)):
        with pytest.raises(ValueError, match="not a DNS name"):
            dns.encode_name(bad)
    assert dns.reverse_address("2.0.0.10.in-addr.arpa") == "10.0.0.2"
    for other in ("2.0.10.in-addr.arpa", "a.0.0.10.in-addr.arpa", "256.0.0.10.in-addr.arpa", "web"):
        assert dns.reverse_address(other) is None
