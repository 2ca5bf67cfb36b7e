"""Manifests, indexes and configurations, mutated: what reads them gives a value or a refusal, and what shows them an answer.

    python -m tests.fuzz_documents SEED FIRST COUNT

Case n of a seed is always the same. The first that is neither is told, by its number and its bytes, and ends the run.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec

from onggi.api.wire.images import _seconds, container_defaults
from onggi.engine.container_config import ContainerConfig
from onggi.engine.image_defaults import merge
from onggi.errors import OnggiError
from onggi.images import load
from onggi.images.names import parse_time
from onggi.oci.descriptor import (
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    encode_document,
)
from onggi.oci.image import chain_id, parse_image_config
from onggi.oci.manifest import Index, parse_manifest
from onggi.oci.platform import host_platform

MOST_S = 2.0
"""For one document."""
DIGEST = "sha256:" + "ab" * 32


def _descriptor(kind: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": DIGEST, "size": 7, "annotations": {"a": "b"}, "urls": ["http://x/"], **more}


PLATFORM = {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1", "os.features": ["x"]}
SEEDS: dict[str, list[Any]] = {
    "manifest": [
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "x/y", "config": _descriptor(OCI_CONFIG),
         "layers": [_descriptor(OCI_LAYER_GZIP)] * 2, "subject": _descriptor(OCI_MANIFEST), "annotations": {"a": "b"}},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "annotations": {}, "manifests": [
            _descriptor(OCI_MANIFEST, platform=PLATFORM),
            _descriptor(OCI_INDEX, platform={"os": "linux", "architecture": "amd64"})]},
        {"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": DIGEST}], "history": [{"v1Compatibility": "{}"}]},
    ],
    "configuration": [
        {**PLATFORM, "created": "2026-01-02T03:04:05.123456789Z", "author": "me", "comment": "why", "docker_version": "28",
         "config": {"User": "a:b", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "Entrypoint": ["x"], "Cmd": ["y"],
                    "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"a": "b"}, "StopSignal": "SIGINT", "StopTimeout": 1,
                    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9, "Timeout": 1, "Retries": 3, "StartPeriod": 5,
                                    "StartInterval": 6}, "Shell": ["sh"], "OnBuild": ["RUN x"], "ArgsEscaped": True},
         "rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]},
         "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "x", "empty_layer": True, "comment": "c", "author": "a"}]},
    ],
    "entries": [[{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l/layer.tar"], "LayerSources": {DIGEST: {"size": 1}}}]],
}  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, "", "x", "a" * 5000, "\0", "\n=",
    "\ud800", "🐚", "../../etc/passwd", "/", "..", "sha256:" + "0" * 64, "SHA256:" + "0" * 64, "md5:" + "0" * 32, "sha512:00",
    OCI_MANIFEST, OCI_INDEX, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2026-W01-1",
    "1" * 400, "20260102", "-1", "12:00", [], {}, [[]], [None], {"": None}, {"x": {"y": []}}, ["x"] * 2000, [1, "x", None],
]  # fmt: skip


def _nodes(document: Any) -> list[tuple[Any, Any]]:
    """Every place in it: what holds it, and its key."""
    found: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        holder = todo.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                todo.append(holder[key])
    return found


def mutated(chance: random.Random, document: Any) -> bytes:
    """The document with one to three things changed, then perhaps its bytes."""
    root = [deepcopy(document)]
    for _ in range(chance.randint(1, 3)):
        holder, key = chance.choice(_nodes(root))
        act = chance.randrange(6)
        if act <= 2:
            holder[key] = deepcopy(chance.choice(ODD))
        elif act == 3 and holder is not root:
            del holder[key]
        elif act == 4:
            other, name = chance.choice(_nodes(root))
            holder[key] = deepcopy(other[name])
        elif isinstance(holder, dict):
            holder[chance.choice([str(key).upper(), str(key) + " ", "x", "layers", "manifests", "config"])] = holder[
                key
            ]
    data = json.dumps(root[0], ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.3:
        at = chance.randrange(len(data))
        piece = bytes(chance.choice(b'[]{},:"\\0e-\xff\0 ') for _ in range(chance.randint(1, 4)))
        data = data[:at] + piece * chance.choice([1, 1, 1, 3000]) + data[at + chance.randint(0, 9) :]
    return data


def read_manifest(chance: random.Random, data: bytes) -> None:
    document = parse_manifest(data, chance.choice(["", "", "", "text/plain", *sorted(MANIFESTS | INDEXES)]))
    encode_document(document)
    if isinstance(document, Index):
        document.choose(host_platform())


def read_configuration(chance: random.Random, data: bytes) -> None:
    config = parse_image_config(data)
    if config.diff_ids:
        chain_id(config.diff_ids)
    created = parse_time(config.created)
    sorted(moment for moment in (created, parse_time("2026-01-01T00:00:00Z")) if moment is not None)
    _seconds(created)
    for step in config.history or ():
        _seconds(parse_time(step.created))
    for version in ((1, 51), (1, 43)):
        msgspec.json.encode(container_defaults(config.container, version))
    str(config.platform)
    merge(ContainerConfig(), config.container)


def read_entries(chance: random.Random, data: bytes) -> None:
    load.read_entries(data)


READERS: dict[str, Callable[[random.Random, bytes], None]] = {
    "manifest": read_manifest, "configuration": read_configuration, "entries": read_entries,
}  # fmt: skip


def try_case(seed: str, number: int) -> str:
    """What is wrong with a case, "" for nothing."""
    chance = random.Random(f"{seed}-{number}")
    kind = chance.choice(["manifest", "manifest", "configuration", "configuration", "entries"])
    data = mutated(chance, chance.choice(SEEDS[kind]))
    begun = time.monotonic()
    try:
        READERS[kind](chance, data)
    except OnggiError:
        pass
    except Exception as error:
        return f"{kind} {number}: {error!r} for {data[:3000]!r}"
    took_s = time.monotonic() - begun
    return "" if took_s < MOST_S else f"{kind} {number}: took {took_s:.1f} s for {data[:3000]!r}"


def main(seed: str, first: int, count: int) -> str:
    """The first finding, "" for none."""
    return next((wrong for number in range(first, first + count) if (wrong := try_case(seed, number))), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])) or None)
