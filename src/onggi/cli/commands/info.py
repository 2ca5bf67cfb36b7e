"""`info`: what the engine is and has. After docker/cli: cli/command/system/info.go."""

import sys

from onggi import __version__
from onggi.cli import units
from onggi.cli.failure import Failure
from onggi.cli.output import parse_template, safe, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def _client(invocation: "Invocation") -> "dict[str, Any]":
    from onggi.cli.address import context_name

    return {
        "Debug": invocation.given.get("debug") == "true",
        "Version": __version__,
        "Context": context_name(invocation.config, invocation.given),
        "Plugins": [],
        "Warnings": None,
    }


def _client_lines(client: "dict[str, Any]") -> "Iterable[str]":
    yield "Client:"
    yield f" Version:    {client['Version']}"
    yield f" Context:    {client['Context']}"
    yield f" Debug Mode: {'true' if client['Debug'] else 'false'}"


def _truth(value: object) -> str:
    return "true" if value else "false"


def _plugins(info: "dict[str, Any]") -> "Iterable[str]":
    plugins = info.get("Plugins") or {}
    yield " Plugins:"
    yield f"  Volume: {' '.join(plugins.get('Volume') or ())}"
    yield f"  Network: {' '.join(plugins.get('Network') or ())}"
    if plugins.get("Authorization"):
        yield f"  Authorization: {' '.join(plugins['Authorization'])}"
    yield f"  Log: {' '.join(plugins.get('Log') or ())}"


def _security(info: "dict[str, Any]") -> "Iterable[str]":
    options = info.get("SecurityOptions") or ()
    if not options:
        return
    yield " Security Options:"
    for option in options:
        fields = dict(part.partition("=")[::2] for part in option.split(","))
        yield f"  {fields.pop('name', option)}"
        for key, value in fields.items():
            yield f"   {key.capitalize()}: {value}"


def _daemon(info: "dict[str, Any]") -> "Iterable[str]":
    yield f" Kernel Version: {info.get('KernelVersion') or '<unknown>'}"
    yield f" Operating System: {info.get('OperatingSystem') or '<unknown>'}"
    yield f" OSType: {info.get('OSType') or '<unknown>'}"
    yield f" Architecture: {info.get('Architecture') or '<unknown>'}"
    yield f" CPUs: {info.get('NCPU')}"
    yield f" Total Memory: {units.binary(info.get('MemTotal') or 0)}"
    yield f" Name: {info.get('Name', '')}"
    yield f" ID: {info.get('ID', '')}"
    yield f" Docker Root Dir: {info.get('DockerRootDir', '')}"
    yield f" Debug Mode: {_truth(info.get('Debug'))}"
    for key, name in (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy")):
        if info.get(key):
            yield f" {name}: {info[key]}"
    if info.get("Labels"):
        yield " Labels:"
        yield from (f"  {label}" for label in info["Labels"])
    yield f" Experimental: {_truth(info.get('ExperimentalBuild'))}"
    registries = info.get("RegistryConfig") or {}
    insecure = [name for name, found in (registries.get("IndexConfigs") or {}).items() if not found.get("Secure")]
    networks = registries.get("InsecureRegistryCIDRs") or []
    if insecure or networks:
        yield " Insecure Registries:"
        yield from (f"  {name}" for name in [*sorted(insecure), *networks])
    if registries.get("Mirrors"):
        yield " Registry Mirrors:"
        yield from (f"  {mirror}" for mirror in registries["Mirrors"])
    yield f" Live Restore Enabled: {_truth(info.get('LiveRestoreEnabled'))}"
    if info.get("ProductLicense"):
        yield f" Product License: {info['ProductLicense']}"
    if info.get("DefaultAddressPools"):
        yield " Default Address Pools:"
        yield from (f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"])
    yield ""


def _server_lines(info: "dict[str, Any]") -> "Iterable[str]":
    yield f" Containers: {info.get('Containers', 0)}"
    yield f"  Running: {info.get('ContainersRunning', 0)}"
    yield f"  Paused: {info.get('ContainersPaused', 0)}"
    yield f"  Stopped: {info.get('ContainersStopped', 0)}"
    yield f" Images: {info.get('Images', 0)}"
    if info.get("ServerVersion"):
        yield f" Server Version: {info['ServerVersion']}"
    yield f" Storage Driver: {info.get('Driver', '')}"
    yield from (f"  {name}: {value}" for name, value in info.get("DriverStatus") or ())
    if info.get("LoggingDriver"):
        yield f" Logging Driver: {info['LoggingDriver']}"
    if info.get("CgroupDriver"):
        yield f" Cgroup Driver: {info['CgroupDriver']}"
    if info.get("CgroupVersion"):
        yield f" Cgroup Version: {info['CgroupVersion']}"
    yield from _plugins(info)
    if info.get("CDISpecDirs"):
        yield " CDI spec directories:"
        yield from (f"  {folder}" for folder in info["CDISpecDirs"])
    if info.get("Swarm"):
        yield f" Swarm: {info['Swarm'].get('LocalNodeState') or 'inactive'}"
    if info.get("Runtimes"):
        yield f" Runtimes: {' '.join(sorted(info['Runtimes']))}"
        yield f" Default Runtime: {info.get('DefaultRuntime', '')}"
    if info.get("OSType", "linux") == "linux":
        yield f" Init Binary: {info.get('InitBinary', '')}"
        for key, name in (("ContainerdCommit", "containerd"), ("RuncCommit", "runc"), ("InitCommit", "init")):
            if key in info:
                yield f" {name} version: {(info[key] or {}).get('ID', '')}"
    yield from _security(info)
    yield from _daemon(info)


def info(invocation: "Invocation", found: "Arguments") -> int:
    """Without an engine the client's part, and fail."""
    client = _client(invocation)
    failure: Failure | None = None
    server: dict[str, Any] = {}
    try:
        server = invocation.client.get("/info")
    except Failure as error:
        failure = error
    form = found.text("format")
    if form:
        if failure:
            raise failure
        from onggi.cli.commands.inspect import typed
        from onggi.template.failure import TemplateError
        from onggi.template.values import Struct

        members = typed({**server, "ClientInfo": client})
        template = parse_template("{{json .}}" if form == "json" else form)
        try:
            text = template.execute(Struct(members, "system.dockerInfo"))
        except TemplateError as error:
            sys.stdout.write("\n")
            raise Failure(str(error)) from None
        sys.stdout.write(shown(text) + "\n")
        return 0
    sys.stdout.writelines(f"{line}\n" for line in _client_lines(client))
    sys.stdout.write("\nServer:\n")
    if failure:
        raise Failure(f"{failure}", failure.status)
    sys.stdout.writelines(f"{safe(line)}\n" for line in _server_lines(server))
    sys.stdout.flush()
    for warning in server.get("Warnings") or ():
        sys.stderr.write(f"{safe(warning)}\n")
    return 0
