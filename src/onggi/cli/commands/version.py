"""`version`: the client's and the engine's."""

import os
import sys

from onggi import __version__
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

API_VERSION = "1.51"
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "i686": "386"}


def machine() -> str:
    """The architecture by Go's name."""
    name = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return _MACHINES.get(name, name)


def _client(invocation: "Invocation") -> "dict[str, Any]":
    from onggi.cli.address import context_name

    return {
        "Version": __version__,
        "ApiVersion": os.environ.get("DOCKER_API_VERSION") or API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": ".".join(str(part) for part in sys.version_info[:3]),
        "Os": {"win32": "windows"}.get(sys.platform, sys.platform),
        "Arch": machine(),
        "Context": context_name(invocation.config, invocation.given),
    }


def _line(name: str, value: object, indent: str = " ") -> str:
    return f"{indent}{name + ':':<{20 - len(indent)}}{value}\n"


def _client_text(client: "dict[str, Any]") -> str:
    api = client["ApiVersion"]
    if api != client["DefaultAPIVersion"]:
        api = f"{api} (downgraded from {client['DefaultAPIVersion']})"
    return (
        "Client:\n"
        + _line("Version", client["Version"])
        + _line("API version", api)
        + _line("Python version", client["PythonVersion"])
        + _line("OS/Arch", f"{client['Os']}/{client['Arch']}")
        + _line("Context", client["Context"])
    )


def _component(found: "dict[str, Any]") -> str:
    details = found.get("Details") or {}
    text = f" {found.get('Name', '')}:\n" + _line("Version", found.get("Version", ""), "  ")
    if found.get("Name") != "Engine":
        return text + "".join(_line(key, details[key], "  ") for key in sorted(details))
    text += _line("API version", f"{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})", "  ")
    for key, name in (("PythonVersion", "Python version"), ("GoVersion", "Go version"), ("GitCommit", "Git commit"),
                      ("BuildTime", "Built")):  # fmt: skip
        if details.get(key):
            text += _line(name, details[key], "  ")
    text += _line("OS/Arch", f"{details.get('Os')}/{details.get('Arch')}", "  ")
    return text + _line("Experimental", details.get("Experimental", "false"), "  ")


def _server_text(server: "dict[str, Any]") -> str:
    platform = (server.get("Platform") or {}).get("Name", "")
    text = f"\nServer:{' ' + platform if platform else ''}\n"
    return text + "".join(_component(found) for found in server.get("Components") or ())


def version(invocation: "Invocation", found: "Arguments") -> int:
    """Print both versions; without an engine the client's, and fail."""
    from onggi.cli.output import safe

    client = _client(invocation)
    form = found.text("format")
    server: dict[str, Any] | None = None
    failure: Failure | None = None
    try:
        server = invocation.client.get("/version")
    except Failure as error:
        failure = error
    if form:
        from onggi.cli.output import parse_template
        from onggi.template.failure import TemplateError
        from onggi.template.values import Struct

        template = parse_template("{{json .}}" if form == "json" else form, name="version")
        members = {"Client": Struct(client), "Server": Struct(server) if server is not None else None}
        try:
            text = template.execute(Struct(members, "system.versionInfo"))
        except TemplateError as error:
            sys.stdout.write("\n")
            raise Failure(str(error)) from None
        sys.stdout.write(safe(text, "\n\t") + "\n")
    else:
        sys.stdout.write(_client_text(client))
        if server is not None:
            sys.stdout.write(safe(_server_text(server), "\n"))
    if failure is not None:
        raise failure
    return 0
