"""`inspect` of containers, images, networks and volumes. After docker/cli: cli/command/inspect/inspector.go."""

import sys

from onggi.cli.connection import quote
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.output import shown
from onggi.template.values import NullList, StringMap, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

_PATHS = {"container": "/containers/{}/json", "image": "/images/{}/json", "network": "/networks/{}",
          "volume": "/volumes/{}"}  # fmt: skip
_NOT_HERE = ("config", "node", "plugin", "secret", "service", "task")
_STRING_MAPS = frozenset(("Labels", "Options", "DriverOpts", "Data", "Sysctls", "Tmpfs", "Annotations", "StorageOpt",
                          "AuxiliaryAddresses", "Config.LogConfig", "Metadata"))  # fmt: skip
_MAPS = frozenset(("Volumes", "ExposedPorts", "Ports", "PortBindings", "Networks", "Containers", "Status"))
_POINTERS = frozenset(("Health", "Healthcheck", "Init", "OomKillDisable", "PidsLimit", "SizeRw", "SizeRootFs",
                       "MemorySwappiness", "IPAMConfig", "StopTimeout", "UsageData", "ClusterVolume", "Peers",
                       "ImageManifestDescriptor", "Descriptor", "GraphDriver"))  # fmt: skip
_ABSENT: "dict[str, dict[str, Any]]" = {
    "": {"SizeRw": None, "SizeRootFs": None, "ImageManifestDescriptor": None, "GraphDriver": None},
    "State": {"Health": None},
    "Config": {
        "Healthcheck": None, "StopSignal": "", "StopTimeout": None, "Shell": NullList(), "MacAddress": "",
        "ArgsEscaped": False, "NetworkDisabled": False, "ExposedPorts": StringMap({}, null=True),
    },
    "HostConfig": {
        "Annotations": StringMap({}, null=True), "Mounts": NullList(), "StorageOpt": StringMap({}, null=True),
        "Tmpfs": StringMap({}, null=True), "Sysctls": StringMap({}, null=True), "Init": None, "Runtime": "",
    },
}  # fmt: skip
"""Members that Go leaves out when they are empty, by the object they belong to."""


def typed(value: "Any", key: str = "", parent: str = "") -> "Any":
    """The value with what Go's types know: which objects have fixed members, what an absent one is."""
    if isinstance(value, dict):
        if key in _STRING_MAPS or f"{key}.{parent}" in _STRING_MAPS:
            return StringMap(value)
        members = {name: typed(item, name, key) for name, item in value.items()}
        return members if key in _MAPS else Struct(members, absent=_ABSENT.get(key))
    if isinstance(value, list):
        return [typed(item, "", key) for item in value]
    if value is None and key and key not in _POINTERS:
        if key in _STRING_MAPS or key in _MAPS:
            return StringMap({}, null=True)
        return NullList()
    return value


class Inspector:
    """Prints what is found: all as one JSON list at the end, or each through a template."""

    def __init__(self, form: str) -> None:
        self._template = None
        self._raw: list[str] = []
        if form and form != "json":
            from onggi.template.evaluator import Template
            from onggi.template.failure import TemplateError
            from onggi.template.functions import FUNCTIONS

            try:
                self._template = Template(form, functions=FUNCTIONS)
            except TemplateError as error:
                raise Failure(f"template parsing error: {error}", 64) from None
        self._lines = form == "json"

    def add(self, text: str) -> None:
        """One object. Raises Failure where the template does not fit it."""
        if self._template is None:
            self._raw.append(text)
            return
        from onggi.jsontext import loads
        from onggi.template.failure import TemplateError

        value = loads(text)
        try:
            result = self._template.execute(typed(value))
        except TemplateError:
            try:
                result = self._template.execute(value, strict=True)
            except TemplateError as error:
                sys.stdout.write("\n")
                raise Failure(f"template parsing error: {error}") from None
        sys.stdout.write(shown(result) + "\n")

    def finish(self) -> None:
        if self._template is not None:
            return
        if self._lines:
            sys.stdout.write(shown("[" + ",".join(text.strip() for text in self._raw) + "]") + "\n")
            return
        from onggi.cli.rawjson import indent

        sys.stdout.write(shown(indent("[" + ",".join(self._raw) + "]")) + "\n")


def _show(names: "Sequence[str]", form: str, find: "Callable[[str], str]") -> int:
    inspector = Inspector(form)
    failures = []
    for name in names:
        try:
            inspector.add(find(name))
        except Failure as failure:
            failures.append(str(failure))
            status = failure.status
    inspector.finish()
    if failures:
        raise Failure("\n".join(failures), status)
    return 0


def _text(invocation: "Invocation", kind: str, name: str, query: "dict[str, Any]") -> str:
    path = _PATHS[kind].format(quote(name, "/:@" if kind == "image" else ""))
    return invocation.client.call("GET", path, query).read().decode("utf-8", "replace")


def inspect(invocation: "Invocation", found: "Arguments") -> int:
    kind = found.text("type")
    if kind in _NOT_HERE:
        raise Failure(f"Onggi has no objects of type {kind}")
    if kind and kind not in _PATHS:
        raise Failure(
            f'unknown type: "{kind}": must be one of "config", "container", "image", "network", "node", "plugin", '
            '"secret", "service", "task", "volume"'
        )
    if found.given("type") and not kind:
        raise Failure('type is empty: must be one of "config", "container", "image", "network", "node", "plugin", '
                      '"secret", "service", "task", "volume"')  # fmt: skip
    size = {"size": True} if found.flag("size") else {}

    def find(name: str) -> str:
        for candidate in (kind,) if kind else _PATHS:
            try:
                return _text(invocation, candidate, name, size if candidate == "container" else {})
            except ResponseError as error:
                if kind or error.code not in (400, 404):
                    raise
        raise Failure(f"Error: No such object: {name}")

    return _show(found.words, found.text("format"), find)


def container(invocation: "Invocation", found: "Arguments") -> int:
    query = {"size": True} if found.flag("size") else {}
    return _show(found.words, found.text("format"), lambda name: _text(invocation, "container", name, query))


def image(invocation: "Invocation", found: "Arguments") -> int:
    query: dict[str, Any] = {}
    if found.given("platform"):
        from onggi.cli.commands.load import platform

        query["platform"] = platform(found.text("platform"))
    return _show(found.words, found.text("format"), lambda name: _text(invocation, "image", name, query))


def network(invocation: "Invocation", found: "Arguments") -> int:
    query = {"verbose": True} if found.flag("verbose") else {}
    return _show(found.words, found.text("format"), lambda name: _text(invocation, "network", name, query))


def volume(invocation: "Invocation", found: "Arguments") -> int:
    return _show(found.words, found.text("format"), lambda name: _text(invocation, "volume", name, {}))
