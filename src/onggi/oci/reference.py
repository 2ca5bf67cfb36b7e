"""Image references: `busybox`, `quay.io/team/app:1.2`, `app@sha256:…`. (distribution/reference, its grammar and errors)

    reference  = name [":" tag] ["@" digest]
    name       = [registry "/"] path              registry = host [":" port]
    path       = component {"/" component}        component = alphanumeric {separator alphanumeric}

The short forms are Docker's: no registry means docker.io, no "/" in a docker.io path means library/.
"""

import re
from dataclasses import dataclass, replace

from onggi.errors import InvalidParameter
from onggi.oci.digest import Digest, InvalidDigest

DOCKER_HUB = "docker.io"
_LEGACY_DOCKER_HUB = "index.docker.io"
_OFFICIAL = "library/"
_NAME_LIMIT = 255
_TEXT_LIMIT = 2048

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<registry>{_REGISTRY})/(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_TAG_ONLY = re.compile(_TAG, re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}", re.ASCII)


class InvalidReference(InvalidParameter):
    """Text that names no image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in full: registry and repository always, tag and digest when given."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read any form that Docker takes. Raises InvalidReference with Docker's sentence."""
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        registry, remainder = _split_registry(text)
        path = remainder.partition(":")[0]
        if path.lower() != path:
            raise InvalidReference(f"invalid reference format: repository name ({path[:300]}) must be lowercase")
        match = _REFERENCE.fullmatch(f"{registry}/{remainder}") if len(text) <= _TEXT_LIMIT else None
        if match is None:
            raise InvalidReference("invalid reference format")
        if len(match["path"]) > _NAME_LIMIT:
            raise InvalidReference("repository name must not be more than 255 characters")
        try:
            digest = Digest(match["digest"]) if match["digest"] else None
        except InvalidDigest as error:
            raise InvalidReference(str(error)) from error
        return cls(match["registry"], match["path"], match["tag"], digest)

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/busybox`."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it: `busybox`."""
        if self.registry != DOCKER_HUB:
            return self.name
        path = self.repository.removeprefix(_OFFICIAL)
        return self.repository if "/" in path else path

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """As people write it: `busybox:latest`."""
        return self.familiar_name + self._suffix

    @property
    def canonical(self) -> str:
        """In full: `docker.io/library/busybox:latest`."""
        return self.name + self._suffix

    def __str__(self) -> str:
        return self.familiar

    def with_default_tag(self) -> "Reference":
        """With tag `latest` when neither tag nor digest is given."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    def with_tag(self, tag: str) -> "Reference":
        """The same name with this tag and no digest. Raises InvalidReference."""
        if not _TAG_ONLY.fullmatch(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> "Reference":
        """The same name by this digest, without a tag."""
        return replace(self, tag=None, digest=digest)

    def without_tag(self) -> "Reference":
        """Name alone."""
        return replace(self, tag=None, digest=None)


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DOCKER_HUB, _OFFICIAL + text
    if first == _LEGACY_DOCKER_HUB:
        registry, path = DOCKER_HUB, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        registry, path = first, rest
    else:
        registry, path = DOCKER_HUB, text
    if registry == DOCKER_HUB and "/" not in path:
        path = _OFFICIAL + path
    return registry, path
