"""Onggi in the middle: an image comes in by one tool and goes out by another, and no digest of it changes.

Each row is a way in, a way out and a kind of image. All rows by `ONGGI_TESTS_WHOLE=1`; otherwise as many as it takes to
meet each way in, each way out and each kind.
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_trees import odd_tree
from tests.engine import Engine
from tests.images import busybox_layer, file, layer, symlink
from tests.peers import PEERS, Docker, peer_run
from tests.registry import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    SUFFIXES,
    Registry,
    TokenServer,
    Uploader,
    compressed,
    digest_of,
)

WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
USER, PASSWORD = "alice", "secret"
PLAIN_HTTP = "--tls-verify=false"
DOCKER = "application/vnd.docker."
LIST = f"{DOCKER}distribution.manifest.list.v2+json"
ACCEPTED = ", ".join([MANIFEST, INDEX, f"{DOCKER}distribution.manifest.v2+json", LIST])


@dataclass(frozen=True)
class Facts:
    """What one side knows of an image; None: it can't know."""

    image_id: str
    diff_ids: list[str]
    manifest: str | None = None
    layers: list[str] | None = None

    def differences(self, other: "Facts") -> list[str]:
        """The names of what both know, and not alike."""
        return [
            name
            for name in ("image_id", "diff_ids", "manifest", "layers")
            if None not in (mine := getattr(self, name), theirs := getattr(other, name)) and mine != theirs
        ]


# Kinds of images


def _config(diff_ids: Sequence[str], architecture: str = "amd64", **more: Any) -> bytes:
    """An image's configuration, with a member that no specification knows."""
    return json.dumps(
        {"architecture": architecture, "os": "linux", "created": "2026-01-02T03:04:05.678901234Z", "x-unknown": [1, {"a": None}],
         "config": {"Cmd": ["/bin/sh"], "Labels": {"이름": "값"}, "Env": ["PATH=/bin"]},
         "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}, **more}, indent=3, ensure_ascii=False,
    ).encode()  # fmt: skip


def _image(
    upload: Uploader, compressions: Sequence[str], *, schema_2: bool = False, annotated: bool = False, architecture: str = "amd64"
) -> tuple[bytes, str]:  # fmt: skip
    """Upload a busybox with small layers above, one for each further compression; gives the manifest and its type."""
    tars = [
        busybox_layer(),
        *(layer([file(f"f{n}", b"x" * n), symlink(f"l{n}", f"f{n}")]) for n in range(len(compressions) - 1)),
    ]
    blobs = [compressed(tar, kind) for tar, kind in zip(tars, compressions, strict=True)]
    config = _config([digest_of(tar) for tar in tars], architecture)
    kinds = (
        (f"{DOCKER}distribution.manifest.v2+json", f"{DOCKER}container.image.v1+json")
        if schema_2
        else (MANIFEST, CONFIG)
    )
    layers: list[dict[str, Any]] = [
        {"mediaType": f"{DOCKER}image.rootfs.diff.tar.gzip" if schema_2 else LAYER + SUFFIXES[kind],
         "digest": upload.blob(blob), "size": len(blob)}
        for blob, kind in zip(blobs, compressions, strict=True)
    ]  # fmt: skip
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": kinds[0],
        "config": {"mediaType": kinds[1], "digest": upload.blob(config), "size": len(config)},
        "layers": layers,
    }
    if annotated:
        document["annotations"] = {"org.opencontainers.image.title": "제목", "x": ""}
        document["x-unknown"] = {"kept": True}
        layers[0]["annotations"] = {"of": "the layer"}
    return json.dumps(document, indent=1, ensure_ascii=False).encode(), kinds[0]


def _index(upload: Uploader, *, schema_2: bool = False) -> tuple[bytes, str]:
    """Two machines and an attestation, and an entry of a type that nobody knows."""
    entries: list[dict[str, Any]] = []
    for architecture in ("s390x", "amd64"):
        content, kind = _image(upload, ["gzip", "gzip"], schema_2=schema_2, architecture=architecture)
        digest = upload.manifest(digest_of(content), content, kind)
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": kind, "digest": digest, "size": len(content), "platform": platform})
    if not schema_2:
        statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": []}).encode()
        config = _config([digest_of(statement)], "unknown", os="unknown")
        content = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": upload.blob(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": upload.blob(statement), "size": len(statement)}],
        }).encode()  # fmt: skip
        entries.append({
            "mediaType": MANIFEST, "digest": upload.manifest(digest_of(content), content, MANIFEST), "size": len(content),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                            "vnd.docker.reference.digest": entries[1]["digest"]},
        })  # fmt: skip
    kind = LIST if schema_2 else INDEX
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, indent=2).encode(), kind


KINDS: dict[str, Callable[[Uploader], tuple[bytes, str]]] = {
    "gzip": lambda upload: _image(upload, ["gzip", "gzip"]),
    "zstd": lambda upload: _image(upload, ["zstd", "zstd"]),
    "plain": lambda upload: _image(upload, ["none", "none"]),
    "mixed": lambda upload: _image(upload, ["gzip", "zstd", "none"], annotated=True),
    "schema 2": lambda upload: _image(upload, ["gzip", "gzip"], schema_2=True),
    "index": _index,
    "schema 2 list": lambda upload: _index(upload, schema_2=True),
}


# What is where


class Workplace:
    """Registries, a directory that the peers see too, and names of this test alone."""

    def __init__(self, engine: Engine, peer: Docker, opened: Registry, guarded: Registry, directory: Path) -> None:
        assert guarded.tokens is not None
        self.tokens = guarded.tokens
        self.engine, self.peer, self.directory = engine, peer, directory
        self.opened, self.guarded = opened.host, guarded.host
        self.inside = f"/tmp/{directory.name}"
        """`directory` as the peers' programs call it."""
        self.number = uuid.uuid4().hex[:12]
        self.name = f"{self.opened}/trips/{self.number}:1"
        """What the image is called at the registry that it comes from, and here."""
        self.names = {self.name}

    @cached_property
    def buildah(self) -> list[str]:
        storage = ["--root", f"{self.inside}/storage", "--runroot", f"{self.inside}/run", "--storage-driver", "vfs"]
        return ["buildah", *storage]

    def another(self, host: str, word: str) -> str:
        """One more name, to be forgotten after the test."""
        name = f"{host}/trips/{self.number}-{word}:1"
        self.names.add(name)
        return name

    def stock(self, kind: str) -> Facts:
        """Put an image of this kind into the open registry."""
        with Uploader(self.opened, f"trips/{self.number}") as upload:
            content, media_type = KINDS[kind](upload)
            upload.manifest("1", content, media_type)
        return self.at_registry(self.name)

    def at_registry(self, name: str) -> Facts:
        """What a registry has under a name; of an index the image for this machine."""
        host, repository = name.split("/", 1)[0], name.split("/", 1)[1].rpartition(":")[0]
        authorization = ""
        if host == self.guarded:
            authorization = f"Bearer {self.tokens.sign(USER, 'onggi-test', [f'repository:{repository}:pull'])}"
        with Uploader(host, repository, authorization=authorization) as ask:
            status, _, content = ask.request("GET", f"/v2/{repository}/manifests/1", None, {"Accept": ACCEPTED})
            assert status == 200, content
            document = json.loads(content)
            if "manifests" in document:
                digest = next(e["digest"] for e in document["manifests"] if e["platform"]["architecture"] == "amd64")
                status, _, content = ask.request(
                    "GET", f"/v2/{repository}/manifests/{digest}", None, {"Accept": ACCEPTED}
                )
                assert (status, digest_of(content)) == (200, digest)
                document = json.loads(content)
            status, _, config = ask.request("GET", f"/v2/{repository}/blobs/{document['config']['digest']}")
            assert (status, digest_of(config)) == (200, document["config"]["digest"])
            for blob in document["layers"]:
                status, _, data = ask.request("GET", f"/v2/{repository}/blobs/{blob['digest']}")
                assert (status, digest_of(data), len(data)) == (200, blob["digest"], blob["size"])
        layers = [blob["digest"] for blob in document["layers"]]
        return Facts(digest_of(config), json.loads(config)["rootfs"]["diff_ids"], digest_of(content), layers)

    def of_layout(self, layout: Path) -> Facts:
        """What an OCI layout in a directory holds: the only image in it, every blob verified."""

        def blob(digest: str) -> bytes:
            data = (layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
            assert digest_of(data) == digest
            return data

        (entry, *more) = json.loads((layout / "index.json").read_bytes())["manifests"]
        assert not more
        document = json.loads(blob(entry["digest"]))
        layers = [described["digest"] for described in document["layers"]]
        for digest in layers:
            blob(digest)
        config = document["config"]["digest"]
        return Facts(config, json.loads(blob(config))["rootfs"]["diff_ids"], entry["digest"], layers)

    def of_command(self, docker: Callable[..., "subprocess.CompletedProcess[str]"], name: str) -> Facts:
        """What an engine has under a name."""
        found = json.loads(docker("image", "inspect", name, check=True).stdout)[0]
        return Facts(found["Id"], found["RootFS"]["Layers"])

    def skopeo(self, *words: str) -> None:
        peer_run("skopeo", "--insecure-policy", "--override-arch", "amd64", *words)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("guarded")
    with TokenServer(directory / "tokens", {USER: PASSWORD}) as tokens, Registry(directory, tokens=tokens) as running:
        engine.docker("login", "-u", USER, "--password-stdin", running.host, input=PASSWORD, check=True)
        yield running
        engine.docker("logout", running.host, check=True)


@pytest.fixture
def place(engine: Engine, peer: Docker, registry: Registry, guarded: Registry) -> Iterator[Workplace]:
    (PEERS / "tmp").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=PEERS / "tmp", prefix="trips-"))
    made = Workplace(engine, peer, registry, guarded, directory)
    yield made
    for docker in (engine.docker, peer):
        docker("rmi", "-f", *made.names)
    shutil.rmtree(directory)


# Ways in: from the open registry, by way of a tool, into Onggi under `place.name`. Each gives what it brought.


def load(place: Workplace, archive: str, *, named: bool = True) -> None:
    """`docker load`, by our command line; and the name, where the archive holds none that counts here."""
    said = place.engine.onggi("load", "-i", str(place.directory / archive), check=True).stdout
    word = said.split()[-1]
    assert said == (f"Loaded image: {place.name}\n" if named else f"Loaded image ID: {word}\n")
    if not named:
        place.engine.onggi("tag", word, place.name, check=True)


def in_by_pull(place: Workplace) -> Facts:
    place.engine.onggi("pull", "-q", place.name, check=True)
    return place.at_registry(place.name)


def in_by_pull_with_a_token(place: Workplace) -> Facts:
    name = place.another(place.guarded, "in")
    place.skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
                 f"--dest-creds={USER}:{PASSWORD}", f"docker://{place.name}", f"docker://{name}")  # fmt: skip
    place.engine.docker("pull", "-q", name, check=True)
    place.engine.docker("tag", name, place.name, check=True)
    return place.at_registry(place.name)


def in_by_docker_push(place: Workplace) -> Facts:
    """Docker writes its own manifest, of schema 2."""
    name = place.another(place.opened, "docker")
    place.peer("pull", "-q", place.name, check=True)
    place.peer("tag", place.name, name, check=True)
    place.peer("push", "-q", name, check=True)
    place.engine.onggi("pull", "-q", name, check=True)
    place.engine.onggi("tag", name, place.name, check=True)
    return place.at_registry(name)


def in_by_docker_save(place: Workplace) -> Facts:
    place.peer("pull", "-q", place.name, check=True)
    place.peer("save", "-o", str(place.directory / "docker.tar"), place.name, check=True)
    load(place, "docker.tar")
    return place.of_command(place.peer, place.name)


def in_by_skopeo_docker_archive(place: Workplace) -> Facts:
    facts = place.at_registry(place.name)
    place.skopeo(
        "copy", "--src-tls-verify=false", f"docker://{place.name}", f"docker-archive:{place.inside}/a.tar:{place.name}"
    )
    load(place, "a.tar")
    return Facts(facts.image_id, facts.diff_ids)


def in_by_skopeo_oci_archive(place: Workplace) -> Facts:
    place.skopeo(
        "copy", "--src-tls-verify=false", f"docker://{place.name}", f"oci-archive:{place.inside}/a.tar:{place.name}"
    )
    load(place, "a.tar")
    (place.directory / "read").mkdir()
    subprocess.run(["tar", "-xf", "a.tar", "-C", "read"], cwd=place.directory, check=True)
    return place.of_layout(place.directory / "read")


def in_by_skopeo_oci_layout(place: Workplace) -> Facts:
    """A tag alone names nothing here."""
    place.skopeo(
        "copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{place.name}", f"oci:{place.inside}/layout:1"
    )
    subprocess.run(["tar", "-cf", "a.tar", "-C", "layout", "."], cwd=place.directory, check=True)
    load(place, "a.tar", named=False)
    return place.of_layout(place.directory / "layout")


def in_by_buildah_commit(place: Workplace) -> Facts:
    name = place.another(place.opened, "committed")
    container = peer_run(*place.buildah, "from", PLAIN_HTTP, "--arch", "amd64", place.name).strip()
    peer_run(*place.buildah, "config", "--label", "by=buildah", "--annotation", "also=kept", container)
    peer_run(*place.buildah, "commit", "--format", "oci", container, "made:1")
    peer_run(*place.buildah, "push", PLAIN_HTTP, "made:1", f"docker://{name}")
    place.engine.onggi("pull", "-q", name, check=True)
    place.engine.onggi("tag", name, place.name, check=True)
    return place.at_registry(name)


def in_by_buildah_archive(place: Workplace) -> Facts:
    peer_run(*place.buildah, "pull", PLAIN_HTTP, "--arch", "amd64", place.name)
    peer_run(*place.buildah, "push", place.name, f"docker-archive:{place.inside}/a.tar:{place.name}")
    load(place, "a.tar")
    with tarfile.open(place.directory / "a.tar") as tar:
        written = tar.extractfile(json.load(tar.extractfile("manifest.json"))[0]["Config"])  # type: ignore[arg-type]
        config = written.read()  # type: ignore[union-attr]
    return Facts(digest_of(config), json.loads(config)["rootfs"]["diff_ids"])


def in_by_umoci(place: Workplace) -> Facts:
    """Changed by umoci, which writes layers and documents of its own."""
    layout = f"{place.inside}/layout"
    place.skopeo("copy", "--src-tls-verify=false", f"docker://{place.name}", f"oci:{layout}:1")
    peer_run(
        "umoci", "config", "--image", f"{layout}:1", "--config.label", "by=umoci", "--manifest.annotation", "also=kept"
    )
    peer_run("umoci", "insert", "--image", f"{layout}:1", f"{layout}/oci-layout", "/inserted")
    peer_run("umoci", "gc", "--layout", layout)
    subprocess.run(["tar", "-cf", "a.tar", "-C", "layout", "."], cwd=place.directory, check=True)
    load(place, "a.tar", named=False)
    return place.of_layout(place.directory / "layout")


# Ways out: what Onggi has as `place.name`, by way of a tool. Each gives what arrived.


def push(place: Workplace, host: str) -> str:
    """Twice, for the second must find what the first has made."""
    name = place.another(host, "out")
    place.engine.onggi("tag", place.name, name, check=True)
    first = place.engine.onggi("push", "-q", name, check=True).stdout
    assert place.engine.docker("push", "-q", name, check=True).stdout == first == f"{name}\n"
    return name


def out_by_push(place: Workplace) -> Facts:
    return place.at_registry(push(place, place.opened))


def out_by_push_with_a_token(place: Workplace) -> Facts:
    name = push(place, place.guarded)
    found = json.loads(
        peer_run(
            "skopeo",
            "inspect",
            PLAIN_HTTP,
            f"--creds={USER}:{PASSWORD}",
            "--override-arch",
            "amd64",
            f"docker://{name}",
        )
    )
    facts = place.at_registry(name)
    assert found["Layers"] == facts.layers
    return facts


def out_by_docker_pull(place: Workplace) -> Facts:
    name = push(place, place.opened)
    place.peer("pull", "-q", name, check=True)
    return place.of_command(place.peer, name)


def out_by_skopeo_directory(place: Workplace) -> Facts:
    """The form that keeps a manifest as it is, whatever its type."""
    name = push(place, place.opened)
    place.skopeo("copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}", f"dir:{place.inside}/out")
    out = place.directory / "out"
    content = (out / "manifest.json").read_bytes()
    document = json.loads(content)
    layers = [blob["digest"] for blob in document["layers"]]
    assert all(digest_of((out / digest.removeprefix("sha256:")).read_bytes()) == digest for digest in layers)
    config = (out / document["config"]["digest"].removeprefix("sha256:")).read_bytes()
    return Facts(digest_of(config), json.loads(config)["rootfs"]["diff_ids"], digest_of(content), layers)


def out_by_buildah_pull(place: Workplace) -> Facts:
    name = push(place, place.opened)
    peer_run(*place.buildah, "pull", "-q", PLAIN_HTTP, "--arch", "amd64", name)
    return of_buildah(place, name)


def of_buildah(place: Workplace, name: str) -> Facts:
    found = json.loads(peer_run(*place.buildah, "inspect", "--type", "image", name))
    config = json.loads(found["Config"])
    return Facts(f"sha256:{found['FromImageID']}", config["rootfs"]["diff_ids"])


def save(place: Workplace, archive: str) -> None:
    place.engine.onggi("save", "-o", str(place.directory / archive), place.name, check=True)


def out_by_docker_load(place: Workplace) -> Facts:
    """`onggi save | docker load`."""
    place.peer("rmi", "-f", *place.names)
    archive = place.engine.onggi("save", place.name, text=False, check=True).stdout
    said = place.peer("load", input=archive, text=False, check=True).stdout
    assert said == f"Loaded image: {place.name}\n".encode()  # type: ignore[comparison-overlap]
    found = json.loads(place.peer("image", "inspect", place.name, check=True).stdout)[0]
    assert found["RepoTags"] == [place.name]
    return place.of_command(place.peer, place.name)


def out_by_skopeo_docker_archive(place: Workplace) -> Facts:
    save(place, "out.tar")
    source = f"docker-archive:{place.inside}/out.tar:{place.name}"
    config = peer_run("skopeo", "inspect", "--config", "--raw", source).encode()
    described = json.loads(peer_run("skopeo", "inspect", "--raw", source))
    assert described["config"]["digest"] == digest_of(config)
    return Facts(digest_of(config), [blob["digest"] for blob in described["layers"]])


def out_by_skopeo_oci_archive(place: Workplace) -> Facts:
    save(place, "out.tar")
    place.skopeo("copy", "--preserve-digests", f"oci-archive:{place.inside}/out.tar:1", f"oci:{place.inside}/out:1")
    facts = place.of_layout(place.directory / "out")
    return Facts(facts.image_id, facts.diff_ids)


def out_by_buildah_archive(place: Workplace) -> Facts:
    save(place, "out.tar")
    peer_run(*place.buildah, "pull", "-q", f"docker-archive:{place.inside}/out.tar:{place.name}")
    return of_buildah(place, place.name)


def out_by_umoci(place: Workplace) -> Facts:
    save(place, "out.tar")
    (place.directory / "out").mkdir()
    subprocess.run(["tar", "-xf", "out.tar", "-C", "out"], cwd=place.directory, check=True)
    assert peer_run("umoci", "list", "--layout", f"{place.inside}/out").split() == ["1"]
    facts = place.of_layout(place.directory / "out")
    return Facts(facts.image_id, facts.diff_ids)


Way = Callable[[Workplace], Facts]
INS: tuple[Way, ...] = (
    in_by_pull, in_by_pull_with_a_token, in_by_docker_push, in_by_docker_save, in_by_skopeo_docker_archive,
    in_by_skopeo_oci_archive, in_by_skopeo_oci_layout, in_by_buildah_commit, in_by_buildah_archive, in_by_umoci,
)  # fmt: skip
OUTS: tuple[Way, ...] = (
    out_by_push, out_by_push_with_a_token, out_by_docker_pull, out_by_skopeo_directory, out_by_buildah_pull,
    out_by_docker_load, out_by_skopeo_docker_archive, out_by_skopeo_oci_archive, out_by_buildah_archive, out_by_umoci,
)  # fmt: skip
Row = tuple[Way, Way, str]


def rows() -> list[Row]:
    every = list(product(INS, OUTS, KINDS))
    if WHOLE:
        return every
    # Each way in and out twice, and each kind with several of both.
    kinds = list(KINDS)
    return [
        (INS[n % len(INS)], OUTS[(n + shift) % len(OUTS)], kinds[(n + shift) % len(kinds)])
        for n, shift in product(range(len(INS)), (0, 3))
    ]


def _words(value: object) -> str:
    return getattr(value, "__name__", str(value)).replace("_by_", " ").replace("_", " ")


@pytest.mark.parametrize(("bring", "take", "kind"), rows(), ids=_words)
def test_no_digest_changes(
    place: Workplace, bring: Callable[[Workplace], Facts], take: Callable[[Workplace], Facts], kind: str
) -> None:
    place.stock(kind)
    brought = bring(place)
    here = place.of_command(place.engine.onggi, place.name)
    assert brought.differences(here) == []
    taken = take(place)
    assert {name: (getattr(brought, name), getattr(taken, name)) for name in brought.differences(taken)} == {}


def entries(archive: bytes) -> dict[str, tuple[object, ...]]:
    """What an exported archive says of each path, without those that engines put into every container."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for info in tar:
            name = info.name.strip("/")
            if name in ("", ".", "dev", "etc") or name == ".dockerenv" or name.split("/")[0] in ("dev", "proc", "sys"):
                continue
            if name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"):
                continue
            content = tar.extractfile(info).read() if info.isreg() else b""  # type: ignore[union-attr]
            found[name] = (info.type, info.mode, info.uid, info.gid, int(info.mtime), info.linkname.lstrip("/"),
                           digest_of(content), info.devmajor, info.devminor)  # fmt: skip
    return found


def attributes(archive: bytes) -> dict[str, list[str]]:
    """The extended attributes that it has."""
    prefix = "SCHILY.xattr."
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = {info.name.strip("/"): [key.removeprefix(prefix) for key in info.pax_headers if key.startswith(prefix)]
                 for info in tar}  # fmt: skip
    return {name: kept for name, kept in names.items() if kept}


def test_export_and_import_in_turns(place: Workplace) -> None:
    """What one engine exports the other imports, and back again: the same files with all that belongs to them."""
    odd_tree(place.directory / "root")
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "-cf", "0.tar", "-C", "root", "."], cwd=place.directory, check=True
    )
    archive = (place.directory / "0.tar").read_bytes()
    seen, attributed = [], []
    for ask in (place.engine.onggi, place.peer, place.engine.docker, place.peer):
        ask("import", "-", place.name, input=archive, text=False, check=True)
        assert place.of_command(ask, place.name).diff_ids == [digest_of(archive)]
        container = ask("create", place.name, "/bin/sh", check=True).stdout.strip()
        try:
            archive = ask("export", container, text=False, check=True).stdout  # type: ignore[assignment]
        finally:
            ask("rm", "-v", container, check=True)
        seen.append(entries(archive))
        attributed.append(attributes(archive))
    assert len(seen[0]) >= 300
    # Docker's export leaves them out, so there are none to be kept afterwards.
    assert attributed == [{"odd/old": ["user.note"], "odd/hard link": ["security.capability"]}, {}, {}, {}]
    for number, those in enumerate(seen[1:]):
        assert {path: (seen[0].get(path), those.get(path)) for path in seen[0].keys() | those.keys()
                if seen[0].get(path) != those.get(path)} == {}, f"exported by number {number + 1}"  # fmt: skip
