"""Manifests, indexes and image configurations: one rule set for all who read them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import OnggiError
from onggi.oci.descriptor import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    encode_document,
)
from onggi.oci.digest import Digest
from onggi.oci.image import InvalidImageConfig, chain_id, parse_image_config
from onggi.oci.manifest import Index, InvalidManifest, Manifest, NoMatchingPlatform, parse_manifest
from onggi.oci.platform import parse_platform

DIGEST = str(Digest.of(b"x"))
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 1},
    "layers": [{"mediaType": OCI_LAYER_GZIP, "digest": DIGEST, "size": 2, "annotations": {"a": "b"}}],
    "annotations": {"c": "d"},
}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def entry(architecture: str, variant: str = "", kind: str = OCI_MANIFEST) -> dict[str, Any]:
    platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
    return {
        "mediaType": kind,
        "digest": str(Digest.of(f"{architecture}{variant}".encode())),
        "size": 3,
        "platform": platform,
    }


def test_manifest_is_read_and_written_alike() -> None:
    manifest = parse_manifest(encoded(MANIFEST), OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert manifest.layers[0].digest == DIGEST
    assert manifest.layers[0].digest.algorithm == "sha256"
    assert json.loads(encode_document(manifest)) == MANIFEST


def test_kind_is_told_by_the_document_or_by_the_header() -> None:
    bare = {name: member for name, member in MANIFEST.items() if name != "mediaType"}
    for kind in ("", OCI_MANIFEST, DOCKER_MANIFEST, "application/json", "text/plain"):
        assert isinstance(parse_manifest(encoded(bare), kind), Manifest)
    assert isinstance(parse_manifest(encoded({"schemaVersion": 2, "manifests": []}), DOCKER_LIST), Index)


def test_index_chooses_by_platform() -> None:
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}},
        {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1},
        entry("arm", "v6"), entry("arm", "v7"), entry("amd64"), entry("amd64", "v3"), entry("arm64", "v8"),
    ]  # fmt: skip
    index = parse_manifest(encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}), OCI_INDEX)
    assert isinstance(index, Index)
    chosen = {
        wanted: index.choose(parse_platform(wanted)).digest
        for wanted in ("linux/amd64", "linux/amd64/v3", "linux/arm64", "linux/arm/v7", "linux/arm/v6")
    }
    assert chosen == {
        "linux/amd64": Digest.of(b"amd64"), "linux/amd64/v3": Digest.of(b"amd64v3"), "linux/arm64": Digest.of(b"arm64v8"),
        "linux/arm/v7": Digest.of(b"armv7"), "linux/arm/v6": Digest.of(b"armv6"),
    }  # fmt: skip
    with pytest.raises(
        NoMatchingPlatform, match=r"^no matching manifest for linux/s390x in the manifest list entries$"
    ):
        index.choose(parse_platform("linux/s390x"))


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        (MANIFEST | {"manifests": []}, OCI_MANIFEST, "ambiguous manifest: it has both layers and manifests"),
        (MANIFEST, OCI_INDEX, f"the manifest calls itself {OCI_MANIFEST} but was announced as {OCI_INDEX}"),
        (MANIFEST | {"schemaVersion": 3}, "", "unsupported manifest: schemaVersion is 3, not 2"),
        (
            MANIFEST | {"layers": [MANIFEST["config"]] * 1001},
            "",
            "the manifest has 1001 layers; at most 1000 are taken",
        ),
        (
            {"schemaVersion": 2, "manifests": [entry("x")] * 1001},
            "",
            "the index has 1001 entries; at most 1000 are taken",
        ),
        ({"schemaVersion": 2}, "text/x", "unsupported manifest media type: text/x"),
        ([], "", "invalid manifest: Expected `object`, got `array`"),
        (MANIFEST | {"config": {"mediaType": "x", "digest": DIGEST, "size": 2**63}}, "", "invalid manifest: "),
    ],
)
def test_refused_manifests(document: Any, kind: str, words: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest(encoded(document), kind)
    assert str(caught.value).startswith(words)


def test_manifest_larger_than_the_limit() -> None:
    with pytest.raises(InvalidManifest, match=r"^the manifest is larger than 4194304 bytes$"):
        parse_manifest(b" " * (4 * 1024 * 1024 + 1))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.sampled_from(["layers", "manifests", "config", "schemaVersion", "digest", "size",
                                                       "mediaType", "platform"]), inner)))  # fmt: skip
def test_any_json_is_read_or_refused(document: Any) -> None:
    for parse in (parse_manifest, parse_image_config):
        try:
            parse(encoded(document))
        except OnggiError:
            continue


def test_image_configuration_as_docker_writes_it() -> None:
    config = parse_image_config(
        encoded(
            {
                "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "container": "abc",
                "config": {"Hostname": "x", "Env": None, "Cmd": ["sh"], "Entrypoint": None, "OnBuild": None, "Labels": None,
                           "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "WorkingDir": "/w", "User": "1:2",
                           "StopSignal": "SIGINT", "Shell": ["/bin/bash"], "ArgsEscaped": True,
                           "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5000000000, "Retries": 3}},
                "history": [{"created_by": "x", "empty_layer": True}],
                "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
            }
        )
    )  # fmt: skip
    container = config.container
    assert (container.cmd_words, container.entrypoint_words, container.env) == (["sh"], None, None)
    assert (container.working_dir, container.user, container.stop_signal) == ("/w", "1:2", "SIGINT")
    assert container.exposed_ports == {"80/tcp": {}}
    assert container.healthcheck is not None
    assert container.healthcheck.interval == 5_000_000_000
    assert list(config.diff_ids) == [DIGEST]
    assert str(config.platform) == "linux/amd64"


def test_old_configurations_with_a_bare_string() -> None:
    config = parse_image_config(b'{"config": {"Cmd": "sh -c true", "Entrypoint": "/run"}}')
    assert config.container.cmd_words == ["sh -c true"]
    assert config.container.entrypoint_words == ["/run"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"rootfs": {"type": "windows", "diff_ids": []}}',
         "unsupported rootfs type 'windows' in the image configuration"),
        (b'{"config": {"Env": "x"}}', "invalid image configuration: Expected `array | null`, got `str` - at `$.config.Env`"),
        (b"{" * 10, "invalid image configuration: "),
        (b'{"created": ' + b"[" * 100_000, "invalid image configuration: "),
        (b" " * (4 * 1024 * 1024 + 1), "the image configuration is larger than 4194304 bytes"),
    ],
)  # fmt: skip
def test_refused_configurations(content: bytes, words: str) -> None:
    with pytest.raises(InvalidImageConfig) as caught:
        parse_image_config(content)
    assert str(caught.value).startswith(words)


def test_chain_id() -> None:
    """By the example of the specification: the chain of one is the layer's own, that of more hashes the texts."""
    first, second = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([first]) == first
    assert chain_id([first, second]) == Digest.of(f"{first} {second}".encode())
    with pytest.raises(ValueError, match="no layers"):
        chain_id([])
