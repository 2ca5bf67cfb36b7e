"""`manifest`: lists of images for several platforms, made from what registries have. After docker/cli: cli/command/manifest.

The engine speaks to the registries; the lists being made are files of the user's (see `manifests.Store`).
"""

import json
import sys
from base64 import b64decode, b64encode

from onggi.cli import credentials
from onggi.cli.commands.pull import reference
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.manifests import DOCKER_LIST, OCI_INDEX, Store, encoded, index, manifest_of, ordered, ordered_platform
from onggi.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation
    from onggi.oci.reference import Reference

_MACHINES = {
    "aix": "ppc64", "android": "386 amd64 arm arm64", "darwin": "386 amd64 arm arm64", "dragonfly": "amd64",
    "freebsd": "386 amd64 arm", "linux": "386 amd64 arm arm64 loong64 ppc64le mips64 mips64le riscv64 s390x",
    "netbsd": "386 amd64 arm", "openbsd": "386 amd64 arm", "plan9": "386 amd64", "solaris": "amd64",
    "windows": "386 amd64 arm arm64",
}  # fmt: skip
"""Which architectures there are of which system, by docker's list."""


def create(invocation: "Invocation", found: "Arguments") -> int:
    target, store = _named(found.words[0]), _store(invocation)
    if store.has(target) and not found.flag("amend"):
        raise Failure("refusing to amend an existing manifest list with no --amend flag")
    images = [_named(word) for word in found.words[1:]]
    manifests = [_manifest(invocation, store, target, image, insecure=found.flag("insecure")) for image in images]
    for image, manifest in zip(images, manifests, strict=True):
        store.save(target, image, manifest)
    sys.stdout.write(f"Created manifest list {target.canonical}\n")
    return 0


def annotate(invocation: "Invocation", found: "Arguments") -> int:
    target, image, store = _named(found.words[0]), _named(found.words[1]), _store(invocation)
    manifest = store.get(target, image)
    if manifest is None:
        raise Failure(f"manifest for image {found.words[1]} does not exist in {found.words[0]}")
    platform = dict(manifest["Descriptor"].get("platform") or {})
    for option, key in (("os", "os"), ("arch", "architecture"), ("variant", "variant"), ("os-version", "os.version")):
        if found.text(option):
            platform[key] = found.text(option)
    features = list(platform.get("os.features") or [])
    platform["os.features"] = features + [name for name in found.texts("os-features") if name not in features]
    if platform.get("architecture") not in _MACHINES.get(platform.get("os", ""), "").split():
        raise Failure(
            f"manifest entry for image has unsupported os/arch combination: {found.text('os')}/{found.text('arch')}"
        )
    manifest["Descriptor"] = ordered({**manifest["Descriptor"], "platform": ordered_platform(platform)})
    store.save(target, image, manifest)
    return 0


def inspect(invocation: "Invocation", found: "Arguments") -> int:
    store, insecure, verbose = _store(invocation), found.flag("insecure"), found.flag("verbose")
    image = _named(found.words[-1])
    if len(found.words) == 2:
        target = _named(found.words[0])
        return _show(_manifest(invocation, store, target, image, insecure=insecure), verbose=verbose)
    if store.has(image):
        manifests = store.every(image)
        if verbose:
            _print(manifests, "\t")
        else:
            _write(index(manifests)[1])
        return 0
    answer = _ask(invocation, image, insecure=insecure)
    if answer["Descriptor"]["mediaType"] not in (OCI_INDEX, DOCKER_LIST):
        return _show(manifest_of(image.canonical, answer), verbose=verbose)
    entries = json.loads(b64decode(answer["Raw"])).get("manifests") or []
    if not verbose:
        _write(encoded(answer["Descriptor"]["mediaType"], entries))
        return 0
    shown = []
    for entry in entries:
        member = _ask(invocation, image.with_digest(Digest(entry["digest"])), insecure=insecure)
        name = f"{image.canonical.partition('@')[0]}@{entry['digest']}"
        shown.append({**manifest_of(name, member), "Descriptor": ordered(entry)})
    _print(shown, "\t")
    return 0


def push(invocation: "Invocation", found: "Arguments") -> int:
    target, store = _named(found.words[0]), _store(invocation)
    manifests = store.every(target)
    if not manifests:
        raise Failure(f"{target.canonical} not found")
    kind, content = index(manifests)
    body = {
        "MediaType": kind, "Raw": b64encode(content).decode(),
        "Members": [
            {"Source": manifest["Ref"], "MediaType": manifest["Descriptor"]["mediaType"], "Raw": manifest["Raw"]}
            for manifest in manifests
        ],
    }  # fmt: skip
    query = _query(target, insecure=found.flag("insecure"))
    headers = credentials.headers_for(invocation.config, target.name)
    answer = invocation.client.call("PUT", "/onggi/manifests", query, body, headers=headers).json()
    for pushed in answer["Pushed"]:
        sys.stdout.write(f"Pushed ref {pushed} with digest: {pushed.rpartition('@')[2]}\n")
    sys.stdout.write(f"{answer['Digest']}\n")
    if found.flag("purge"):
        store.remove(target)
    return 0


def rm(invocation: "Invocation", found: "Arguments") -> int:
    failures = []
    for word in found.words:
        try:
            _store(invocation).remove(_named(word))
        except Failure as failure:
            failures.append(str(failure))
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _store(invocation: "Invocation") -> Store:
    return Store(invocation.config.folder)


def _named(text: str) -> "Reference":
    return reference(text).with_default_tag()


def _manifest(
    invocation: "Invocation", store: Store, target: "Reference", image: "Reference", *, insecure: bool
) -> "dict[str, Any]":
    """What is kept of an image in a list, else what its registry has."""
    return store.get(target, image) or manifest_of(image.canonical, _ask(invocation, image, insecure=insecure))


def _ask(invocation: "Invocation", image: "Reference", *, insecure: bool) -> "dict[str, Any]":
    query = _query(image, insecure=insecure)
    headers = credentials.headers_for(invocation.config, image.name)
    try:
        answer: dict[str, Any] = invocation.client.call("GET", "/onggi/manifests", query, headers=headers).json()
    except ResponseError as error:
        if error.code == 404:
            raise Failure(f"no such manifest: {image.canonical}") from None
        raise
    return answer


def _query(name: "Reference", *, insecure: bool) -> "dict[str, str | int | bool | list[str]]":
    query: dict[str, str | int | bool | list[str]] = {"name": name.canonical}
    if insecure:
        query["insecure"] = True
    return query


def _show(manifest: "dict[str, Any]", *, verbose: bool) -> int:
    _print(manifest if verbose else json.loads(b64decode(manifest["Raw"])), "\t")
    return 0


def _print(value: "Any", indent: str) -> None:
    _write(json.dumps(value, indent=indent, ensure_ascii=False).encode())


def _write(content: bytes) -> None:
    sys.stdout.write(content.decode() + "\n")
