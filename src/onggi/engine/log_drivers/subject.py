"""What a logging driver says of a container beside its lines: the tag, and the labels and variables that were chosen."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onggi.engine.pattern import Pattern
from onggi.errors import InvalidParameter
from onggi.template.evaluator import Template
from onggi.template.failure import TemplateError
from onggi.template.functions import FUNCTIONS
from onggi.template.values import Row, RowType, StringMap

if TYPE_CHECKING:
    from onggi.engine.container import Container

CHOICES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
"""The options that decide it; most drivers take them all."""
DEFAULT_TAG = "{{.ID}}"
_SHORT = 12
_LONGEST_TAG = 4096


class Subject:
    """A container as its driver's options show it (moby: daemon/logger/loginfo.go)."""

    def __init__(self, container: "Container", options: Mapping[str, str]) -> None:
        self.container = container
        self.options = options

    @property
    def command(self) -> str:
        return " ".join(self.container.config.argv())

    def tag(self, default: str = DEFAULT_TAG) -> str:
        """The option `tag`, a template, filled in. Raises InvalidParameter with Go's sentence."""
        source = self.options.get("tag") or default
        if "{{" not in source:
            return source
        try:
            tag = Template(source, name="log-tag", functions=FUNCTIONS).execute(Row(_INFO, self))
        except TemplateError as error:
            raise InvalidParameter(str(error)) from error
        if len(tag) > _LONGEST_TAG:
            raise InvalidParameter(f"template: log-tag: the tag is longer than {_LONGEST_TAG} characters")
        return tag

    def attributes(self, rename: Callable[[str], str] = str) -> dict[str, str]:
        """The chosen labels and variables; `rename` makes names that the driver's server takes. Raises
        InvalidParameter for a pattern that is none."""
        labels = self.container.config.labels or {}
        variables = dict(text.split("=", 1) for text in self.container.config.env or () if "=" in text)
        found: dict[str, str] = {}
        for option, values in (("labels", labels), ("env", variables)):
            for name in self.options.get(option, "").split(","):
                if name in values:
                    found[rename(name)] = values[name]
            if pattern := self.options.get(f"{option}-regex"):
                matching = _pattern(pattern)
                found.update((rename(name), value) for name, value in values.items() if matching.found_in(name))
        return found


def _pattern(text: str) -> Pattern:
    try:
        return Pattern(text)
    except InvalidParameter as error:
        raise InvalidParameter(str(error).removeprefix("invalid filter: ")) from error


def _image_id(subject: Subject) -> str:
    return subject.container.image_id


_INFO: RowType = RowType(
    "*logger.Info",
    {
        "ID": lambda about: about.container.id[:_SHORT],
        "FullID": lambda about: about.container.id,
        "ContainerID": lambda about: about.container.id,
        "Name": lambda about: about.container.name,
        "ContainerName": lambda about: "/" + about.container.name,
        "ImageID": lambda about: _image_id(about)[:_SHORT],
        "ImageFullID": _image_id,
        "ContainerImageID": _image_id,
        "ImageName": lambda about: about.container.image_name,
        "ContainerImageName": lambda about: about.container.image_name,
        "Command": lambda about: about.command,
        "ContainerLabels": lambda about: StringMap(about.container.config.labels or {}),
        "ContainerEnv": lambda about: list(about.container.config.env or ()),
        "ContainerCreated": lambda about: about.container.created_at.isoformat(),
        "Config": lambda about: StringMap(about.options),
        "DaemonName": lambda about: "docker",  # what such tags mean to whoever filters by them
    },
)
