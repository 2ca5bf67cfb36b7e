"""`context`: named addresses of engines, shared with the docker CLI."""

import os
import shutil
import sys

from onggi.cli import address, contexts
from onggi.cli.failure import Failure
from onggi.cli.files import write_private
from onggi.cli.output import Listing, render
from onggi.template.json import dumps
from onggi.template.values import RowType, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.config import Config
    from onggi.cli.main import Invocation

HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Current": "CURRENT",
           "Error": "ERROR"}  # fmt: skip
_FILES = (("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))
_NOT_YET = (
    "`onggi context {}` is not carried out by this client yet; use `docker context {}`, which shares the same files"
)


def _default_address(invocation: "Invocation") -> str:
    given = {name: text for name, text in invocation.given.items() if name != "context"}
    host = given.get("host") or os.environ.get("ONGGI_HOST") or os.environ.get("DOCKER_HOST") or ""
    return address.parse(host).text


def _rows(invocation: "Invocation") -> "list[dict[str, Any]]":
    config = invocation.config
    current = address.context_name(config, invocation.given)
    rows = [
        {
            "Name": "default",
            "Description": "Current DOCKER_HOST based configuration",
            "DockerEndpoint": _default_address(invocation),
            "Error": "",
        }
    ]
    for name in contexts.names(config):
        found = contexts.read(config, name)
        endpoint = found["Endpoints"].get("docker") or {}
        description = (found.get("Metadata") or {}).get("Description") or ""
        rows.append({"Name": name, "Description": description, "DockerEndpoint": endpoint.get("Host", ""), "Error": ""})
    return [{**row, "Current": row["Name"] == current} for row in rows]


def _row_type() -> RowType:
    fields: dict[str, Callable[[Any], Any]] = {
        "Name": lambda row: row["Name"],
        "Description": lambda row: row["Description"],
        "DockerEndpoint": lambda row: row["DockerEndpoint"],
        "Current": lambda row: row["Current"],
        "Error": lambda row: row["Error"],
    }
    return RowType("*formatter.clientContextContext", fields)


def ls(invocation: "Invocation", found: "Arguments") -> int:
    rows = _rows(invocation)
    form = found.text("format")
    if found.flag("quiet"):
        sys.stdout.writelines(f"{row['Name']}\n" for row in rows)
        return 0
    kind = _row_type()
    if form in ("", "table"):
        kind.fields["Name"] = lambda row: f"{row['Name']} *" if row["Current"] else row["Name"]  # type: ignore[index]
    listing = Listing(kind, HEADERS, ("Name", "Description", "DockerEndpoint", "Error"))
    sys.stdout.write(render(listing, rows, form))
    if form in ("", "table") and os.environ.get("DOCKER_HOST"):
        sys.stdout.flush()
        sys.stderr.write(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the "
            "global --context flag, or unset DOCKER_HOST environment variable.\n"
        )
    return 0


def show(invocation: "Invocation", found: "Arguments") -> int:
    sys.stdout.write(address.context_name(invocation.config, invocation.given) + "\n")
    return 0


def use(invocation: "Invocation", found: "Arguments") -> int:
    name = found.words[0]
    config = invocation.config
    if name == "default":
        config.values.pop("currentContext", None)
    else:
        contexts.check_name(name)
        contexts.read(config, name)
        config.values["currentContext"] = name
    config.save()
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Current context is now "{name}"\n')
    if name != "default" and os.environ.get("DOCKER_HOST"):
        sys.stderr.write(
            f'Warning: DOCKER_HOST environment variable overrides the active context. To use "{name}", either set the '
            "global --context flag, or unset DOCKER_HOST environment variable.\n"
        )
    return 0


def _endpoint(config: "Config", found: "Arguments") -> "tuple[dict[str, Any], dict[str, str]]":
    """The endpoint's data, and the paths of its TLS files."""
    given = dict(text.partition("=")[::2] for text in found.texts("docker"))
    unknown = sorted(set(given) - {"host", "ca", "cert", "key", "skip-tls-verify", "from"})
    if unknown:
        raise Failure(f"unrecognized config key: {unknown[0]}")
    source = given.get("from") or found.text("from")
    if source and source != "default":
        endpoint = dict(contexts.read(config, source)["Endpoints"].get("docker") or {})
        folder = os.path.join(contexts.tls_folder(config, source), "docker")
        return endpoint, {file: os.path.join(folder, file) for _, file in _FILES if os.path.exists(f"{folder}/{file}")}
    host = given.get("host") or os.environ.get("DOCKER_HOST") or f"unix://{address.DEFAULT_SOCKET}"
    address.parse(host)
    endpoint = {"Host": host, "SkipTLSVerify": given.get("skip-tls-verify", "") in ("1", "t", "true", "True", "TRUE")}
    return endpoint, {file: given[key] for key, file in _FILES if given.get(key)}


def create(invocation: "Invocation", found: "Arguments") -> int:
    name = found.words[0]
    config = invocation.config
    contexts.check_name(name)
    if os.path.exists(contexts.meta_path(config, name)):
        raise Failure(f'context "{name}" already exists')
    endpoint, files = _endpoint(config, found)
    metadata = {"Description": found.text("description")} if found.text("description") else {}
    text = dumps(Struct({"Name": name, "Metadata": Struct(metadata), "Endpoints": {"docker": Struct(endpoint)}}))
    for file, path in files.items():
        try:
            with open(path, "rb") as opened:
                data = opened.read()
        except OSError as error:
            raise Failure(f"unable to create docker endpoint config: open {path}: {error.strerror}") from None
        write_private(os.path.join(contexts.tls_folder(config, name), "docker", file), data)
    write_private(contexts.meta_path(config, name), text.encode())
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully created context "{name}"\n')
    return 0


def inspect(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.commands.inspect import Inspector

    config = invocation.config
    inspector = Inspector(found.text("format"))
    for name in found.words or [address.context_name(config, invocation.given)]:
        try:
            inspector.add(dumps(_details(invocation, name), html=True))
        except Failure:
            inspector.finish()
            raise
    inspector.finish()
    return 0


def _details(invocation: "Invocation", name: str) -> Struct:
    config = invocation.config
    if name == "default":
        endpoint = Struct({"Host": _default_address(invocation), "SkipTLSVerify": False})
        memory = Struct({"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"})
        members = {
            "Name": name,
            "Metadata": {},
            "Endpoints": {"docker": endpoint},
            "TLSMaterial": {},
            "Storage": memory,
        }
        return Struct(members)
    found = contexts.read(config, name)
    folder = os.path.join(contexts.tls_folder(config, name), "docker")
    material = {"docker": sorted(os.listdir(folder))} if os.path.isdir(folder) else {}
    storage = Struct({"MetadataPath": os.path.dirname(contexts.meta_path(config, name)),
                      "TLSPath": contexts.tls_folder(config, name)})  # fmt: skip
    endpoints = {key: Struct(value) for key, value in found["Endpoints"].items()}
    return Struct(
        {
            "Name": name,
            "Metadata": Struct(found.get("Metadata") or {}),
            "Endpoints": endpoints,
            "TLSMaterial": material,
            "Storage": storage,
        }
    )


def rm(invocation: "Invocation", found: "Arguments") -> int:
    config = invocation.config
    current = config.text("currentContext")
    failures = []
    for name in found.words:
        if name == "default":
            failures.append('context "default" cannot be removed')
        elif not os.path.exists(contexts.meta_path(config, name)):
            if not found.flag("force"):
                failures.append(f'context "{name}" does not exist')
        elif name == current and not found.flag("force"):
            failures.append(f'context "{name}" is in use, set -f flag to force remove')
        else:
            if name == current:
                config.values.pop("currentContext", None)
                config.save()
            shutil.rmtree(contexts.tls_folder(config, name), ignore_errors=True)
            shutil.rmtree(os.path.dirname(contexts.meta_path(config, name)))
            sys.stdout.write(f"{name}\n")
    if failures:
        raise Failure("\n".join(failures))
    return 0


def update(invocation: "Invocation", found: "Arguments") -> int:
    raise Failure(_NOT_YET.format("update", "update"))


def export(invocation: "Invocation", found: "Arguments") -> int:
    raise Failure(_NOT_YET.format("export", "export"))


def import_(invocation: "Invocation", found: "Arguments") -> int:
    raise Failure(_NOT_YET.format("import", "import"))
