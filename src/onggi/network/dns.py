"""DNS messages, as much of them as a resolver of local names needs (RFC 1035, 6891). Pure; hostile input welcome.

Nothing is followed: a question's name may hold no compression pointer (nothing stands before it that it could point
to), and of other servers' answers only the head and the question are read.
"""

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
UDP_BYTES = 512
MESSAGE_BYTES = 65535
NAME_BYTES = 255
TTL_S = 600

_HEADER = Struct(">HHHHHH")
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800


class Malformed(Exception):
    """Not a query that can be answered; `code` is what to say, None when nothing."""

    def __init__(self, code: "int | None") -> None:
        super().__init__(code)
        self.code = code


class Query:
    """One question."""

    __slots__ = ("flags", "id", "kind", "name", "question", "sort")

    def __init__(self, id: int, flags: int, name: str, kind: int, sort: int, question: bytes) -> None:
        self.id, self.flags = id, flags
        self.name = name
        """Lower case, without the final dot; bytes that are not ASCII letters, digits, "-" or "_" as \\ddd."""
        self.kind, self.sort = kind, sort
        """QTYPE and QCLASS."""
        self.question = question
        """The question section, as it came."""


def parse(message: bytes) -> Query:
    """Raises Malformed."""
    if len(message) < _HEADER.size or len(message) > MESSAGE_BYTES:
        raise Malformed(None)
    identity, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
    if flags & _RESPONSE:
        raise Malformed(None)
    if flags & _OPCODE:
        raise Malformed(NOTIMP)
    if questions != 1 or answers or authorities:
        raise Malformed(FORMERR)
    name, end = _name(message, _HEADER.size)
    if end + 4 > len(message):
        raise Malformed(FORMERR)
    kind, sort = Struct(">HH").unpack_from(message, end)
    return Query(identity, flags, name, kind, sort, message[_HEADER.size : end + 4])


def _name(message: bytes, offset: int) -> tuple[str, int]:
    labels: list[str] = []
    start = offset
    while True:
        if offset >= len(message):
            raise Malformed(FORMERR)
        length = message[offset]
        offset += 1
        if length == 0:
            return ".".join(labels), offset
        if length > 63 or offset + length > len(message) or offset + length - start > NAME_BYTES:
            raise Malformed(FORMERR)
        labels.append("".join(_letter(byte) for byte in message[offset : offset + length]))
        offset += length


def _letter(byte: int) -> str:
    if 65 <= byte <= 90:
        return chr(byte + 32)
    if 97 <= byte <= 122 or 48 <= byte <= 57 or byte in b"-_":
        return chr(byte)
    return f"\\{byte:03d}"


def encode_name(name: str) -> bytes:
    """Raises ValueError for what is no name."""
    encoded = b""
    for label in name.split("."):
        raw = label.encode("ascii")
        if not 0 < len(raw) < 64:
            raise ValueError(f"not a DNS name: {name!r}")
        encoded += bytes([len(raw)]) + raw
    if len(encoded) >= NAME_BYTES:
        raise ValueError(f"not a DNS name: {name!r}")
    return encoded + b"\0"


def answer(query: Query, code: int, records: "Sequence[tuple[int, bytes]]" = (), *, limit: int = UDP_BYTES) -> bytes:
    """A reply with records (type, data) for the asked name; as many as fit, with TC set when some do not."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | query.flags & (_RECURSION_DESIRED | _OPCODE) | code
    body = query.question
    count = 0
    for kind, data in records:
        # 0xC00C: a pointer to the question's name.
        record = Struct(">HHHIH").pack(0xC00C, kind, IN, TTL_S, len(data)) + data
        if _HEADER.size + len(body) + len(record) > limit:
            flags |= _TRUNCATED
            break
        body += record
        count += 1
    return _HEADER.pack(query.id, flags, 1, count, 0, 0) + body


def refusal(message: bytes, code: int) -> bytes:
    """A reply to what could not be parsed: its ID and nothing of its content."""
    identity, flags = Struct(">HH").unpack_from(message)
    return _HEADER.pack(identity, _RESPONSE | flags & (_RECURSION_DESIRED | _OPCODE) | code, 0, 0, 0, 0)


def with_id(message: bytes, identity: int) -> bytes:
    return identity.to_bytes(2, "big") + message[2:]


def replies_to(reply: bytes, query: Query, identity: int) -> bool:
    """Whether a message from an upstream server answers the query that was sent with `identity`."""
    if len(reply) < _HEADER.size:
        return False
    found, flags, questions, _, _, _ = _HEADER.unpack_from(reply)
    if found != identity or not flags & _RESPONSE:
        return False
    if questions == 0:  # some servers refuse so
        return flags & 0xF in {FORMERR, SERVFAIL, NOTIMP, REFUSED}
    end = _HEADER.size + len(query.question)
    return questions == 1 and reply[_HEADER.size : end].lower() == query.question.lower()


def code_of(reply: bytes) -> int:
    return reply[3] & 0xF


def reverse_address(name: str) -> str | None:
    """`2.0.0.10.in-addr.arpa` → "10.0.0.2"; None for any other name."""
    if not name.endswith(".in-addr.arpa"):
        return None
    parts = name.removesuffix(".in-addr.arpa").split(".")
    if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
        return None
    return ".".join(reversed(parts))
