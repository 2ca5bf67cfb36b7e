"""`WWW-Authenticate`: what a registry asks for. (RFC 9110, section 11.6.1; RFC 6750, section 3)"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*,*\s*({_TOKEN})(?:\s+|$)", re.ASCII)
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))', re.ASCII)
_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in. `scheme` and the names of parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read all `WWW-Authenticate` headers of a reply; what is malformed is left out."""
    challenges: list[Challenge] = []
    for header in headers:
        text, position = header[:_LIMIT], 0
        while position < len(text) and (scheme := _SCHEME.match(text, position)):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while found := _PARAMETER.match(text, position):
                quoted = found[2]
                value = found[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters[found[1].lower()] = value
                position = found.end()
            challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges
