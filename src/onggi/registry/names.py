"""Names of repositories, tags and projects: the distribution specification's grammar.

The first part of a repository's name is its project. A name of one part is of the project `library`, as on Docker Hub:
`busybox` and `library/busybox` are one repository.
"""

import re

from onggi.errors import InvalidParameter

LIBRARY = "library"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_PROJECT = re.compile(_COMPONENT, re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
NAME_LIMIT = 255


class InvalidName(InvalidParameter):
    def __init__(self, name: str) -> None:
        super().__init__(f"invalid repository name: {name[:300]!a}")


class InvalidTag(InvalidParameter):
    def __init__(self, tag: str) -> None:
        super().__init__(f"invalid tag or digest: {tag[:200]!a}")


class InvalidProjectName(InvalidParameter):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"invalid project name {name[:100]!a}: at most 64 small letters and digits, parted by single . _ or by -"
        )


def repository_name(text: str) -> str:
    """The full name that `text` stands for. Raises InvalidName."""
    if len(text) > NAME_LIMIT or not _NAME.fullmatch(text):
        raise InvalidName(text)
    return text if "/" in text else f"{LIBRARY}/{text}"


def project_of(repository: str) -> str:
    return repository.partition("/")[0]


def tag_name(text: str) -> str:
    """Raises InvalidTag."""
    if not _TAG.fullmatch(text):
        raise InvalidTag(text)
    return text


def project_name(text: str) -> str:
    """Raises InvalidProjectName."""
    if len(text) > 64 or not _PROJECT.fullmatch(text):
        raise InvalidProjectName(text)
    return text
