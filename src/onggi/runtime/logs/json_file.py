r"""Docker's json-file format: one record a line, in this order of members and without spaces.

    {"log":"hello\n","stream":"stdout","time":"2026-12-01T00:00:00.123456789Z"}\n
    {"log":"hello\n","stream":"stdout","attrs":{"tag":"web"},"time":"2026-12-01T00:00:00.123456789Z"}\n

- `log` ends in `\n` when the program wrote one. A line longer than 16 KiB comes as several records, of which all but
  the last lack the `\n`; what a program writes last, without a newline, is a record without one too.
- Bytes that are not UTF-8 become U+FFFD. It, `<`, `>`, `&`, U+2028 and U+2029 are written as \uXXXX, as Go writes
  them; all other text above ASCII stands as it is.
- `attrs` holds what the options `labels`, `env` and `tag` chose.
- `time` is UTC and always has nine digits after the point, so that the last 33 bytes of a record, `"` and `}` and
  newline included, are `2026-12-01T00:00:00.123456789Z"}\n`: a reader may look for a time without parsing.
"""

import time

from onggi.runtime.logs.rotation import RotatingFile

_ESCAPES = [
    (b"\\", b"\\\\"),
    (b'"', b'\\"'),
    (b"\r", b"\\r"),
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xef\xbf\xbd", b"\\ufffd"),
]
_RUN = 32
"""Zeros mostly come in long runs: replaced by the run they cost a fifth."""
_ESCAPES += [(bytes(_RUN), b"\\u0000" * _RUN)]
_ESCAPES += [(bytes((code,)), b"\\u%04x" % code) for code in range(32) if code not in (10, 13)]
_PLAIN = bytes(code for code in range(32, 127) if code not in b'"\\<>&') + b"\n"
"""The bytes that need no escape; a newline ends the record and is dealt with there."""


class JsonFile:
    """Writes the records of one container's streams."""

    __slots__ = ("_attributes", "_second", "_second_text", "file")

    def __init__(self, file: RotatingFile, attributes: str = "") -> None:
        """`attributes`: the members of `attrs` as JSON text, "" for none."""
        self.file = file
        self._attributes = f'"attrs":{attributes},'.encode() if attributes else b""
        self._second = -1
        self._second_text = b""

    def record(self, stream: str, parts: "list[bytes]", time_ns: int) -> None:
        tail = b'","stream":"%s",%s"time":"%s"}\n' % (stream.encode("ascii"), self._attributes, self._text(time_ns))
        self.file.append(b"".join([_encode(part, tail) for part in parts]), _first_end)

    def _text(self, time_ns: int) -> bytes:
        second, fraction = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            year, month, day, hour, minute, at = time.gmtime(second)[:6]
            self._second_text = b"%04d-%02d-%02dT%02d:%02d:%02d" % (year, month, day, hour, minute, at)
        return b"%s.%09dZ" % (self._second_text, fraction)


def _first_end(records: bytes, size: int) -> int:
    return records.find(b"\n", size - 1) + 1


def _encode(lines: bytes, tail: bytes) -> bytes:
    """Whole lines, or one piece of a line, as records. All the work per byte is done in C, a chunk at a time."""
    special = lines.translate(None, _PLAIN)
    if special:
        if not special.isascii():
            try:
                lines.decode("utf-8")
            except UnicodeDecodeError:
                lines = lines.decode("utf-8", "replace").encode("utf-8")
                special += b"\xef"
        for plain, escaped in _ESCAPES:
            if plain[0] in special:
                lines = lines.replace(plain, escaped)
    head = b'{"log":"'
    ends = b"\\n" + tail
    if not lines.endswith(b"\n"):
        return head + lines.replace(b"\n", ends + head) + tail
    return head + lines[:-1].replace(b"\n", ends + head) + ends
