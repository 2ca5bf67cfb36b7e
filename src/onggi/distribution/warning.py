"""`Warning` headers: what a registry wants people to know though it did as it was asked. (distribution-spec, "Warnings")

Warning: 299 - "the project team holds 95 of the 100 bytes of its quota"

They are shown and never acted upon.
"""

import re
from collections.abc import Iterable, Iterator

from onggi.distribution.failure import printable

_VALUE = re.compile(r'299 - "((?:[^"\\]|\\.)*)"', re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_MOST_CHARACTERS = 8192
MOST = 20
"""So many different ones are kept of an operation."""


def sentences(headers: Iterable[str]) -> Iterator[str]:
    """What the `Warning` headers of one answer say, made fit for a terminal. Other codes than 299 are not for people."""
    for header in headers:
        for text in _VALUE.findall(header[:_MOST_CHARACTERS]):
            yield printable(_ESCAPED.sub(r"\1", text))
