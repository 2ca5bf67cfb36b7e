"""All that manifests can be made of, through all four workflows: push, list, ask, pull, refer, delete.

The kinds are those of the distribution specification's own conformance suite (conformance/run.go, GenerateData); what is
refused instead (indexes whose manifests are missing, layers that are) is in test_distribution.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.onggi_registry import CONFIG, INDEX, LAYER, MANIFEST, Client, OnggiRegistry

Json = dict[str, Any]
EMPTY = "application/vnd.oci.empty.v1+json"
EXAMPLE = "application/vnd.example.thing.v1"
ABROAD = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with OnggiRegistry(tmp_path_factory.mktemp("content")) as running:
        running.admin.ok("POST", "/api/v1/projects", {"name": "team"})
        yield running.admin


class Content:
    """Blobs and manifests of one test, in the order of their pushing."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self._algorithm = algorithm
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        """Digest of a manifest → the digest that it refers to."""

    def _digest(self, data: bytes) -> str:
        return f"{self._algorithm}:{hashlib.new(self._algorithm, data).hexdigest()}"

    def blob(self, media_type: str, data: bytes, /, **more: Any) -> Json:
        digest = self._digest(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def _manifest(self, document: Json, tag: str) -> Json:
        data = json.dumps(document).encode()
        digest = self._digest(data)
        self.manifests[digest] = document["mediaType"], data
        if tag:
            self.tags[tag] = digest
        if "subject" in document:
            self.subjects[digest] = document["subject"]["digest"]
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def image(self, tag: str = "", *, layers: list[Json] | None = None, **more: Any) -> Json:
        if layers is None:
            layers = [self.blob(LAYER, f"layer {number} of {tag}".encode() * 100) for number in range(2)]
        config = self.blob(CONFIG, json.dumps({"os": "linux", "architecture": "amd64", "of": tag}).encode())
        return self._manifest(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}, tag
        )

    def artifact(self, tag: str = "", *, layers: list[Json] | None = None, **more: Any) -> Json:
        layers = [self.blob(EXAMPLE, f"of {tag}".encode())] if layers is None else layers
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": EXAMPLE, "config": self.blob(EMPTY, b"{}"),
                    "layers": layers, **more}  # fmt: skip
        return self._manifest(document, tag)

    def index(self, tag: str, manifests: list[Json], **more: Any) -> Json:
        return self._manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **more}, tag)


def _platforms(made: Content, **more: Any) -> list[Json]:
    return [made.image(architecture, **more) | {"platform": {"os": "linux", "architecture": architecture}}
            for architecture in ("amd64", "arm64")]  # fmt: skip


def _nested(made: Content) -> None:
    inner = [made.index(name, _platforms(made, annotations={"of": name})) for name in ("one", "two")]
    made.index("index-of-indexes", inner)


def _referrers(made: Content) -> None:
    subject = made.image("subject")
    made.image(subject=subject)
    for number in range(2):
        made.artifact(f"artifact-{number}", subject=subject, annotations={"org.example.number": str(number)})


def _index_that_refers(made: Content) -> None:
    subject = made.index("subject", _platforms(made))
    made.index("", [made.artifact("part")], subject=subject, artifactType=EXAMPLE, annotations={"a": "b"})


def _inlined(made: Content) -> None:
    data = b"in the manifest itself"
    made.image("data", layers=[made.blob(LAYER, data, data=b64encode(data).decode())])


def _abroad(made: Content) -> None:
    digest = "sha256:" + hashlib.sha256(b"elsewhere").hexdigest()
    foreign = {"mediaType": ABROAD, "digest": digest, "size": 123_456, "urls": [f"https://store.example.com/{digest}"]}
    made.image("abroad", layers=[foreign, made.blob(LAYER, b"a layer of ours")])


def _missing_subject(made: Content) -> None:
    digest = "sha256:" + hashlib.sha256(b"not there, perhaps never").hexdigest()
    made.artifact("signature", subject={"mediaType": MANIFEST, "digest": digest, "size": 123})


KINDS: dict[str, Callable[[Content], object]] = {
    "image": lambda made: made.image("v1"),
    "large manifest": lambda made: made.image("large", annotations={f"a{n}": "A" * 10_000 for n in range(390)}),
    "index": lambda made: made.index("v1", _platforms(made)),
    "index of indexes": _nested,
    "empty index": lambda made: made.index("empty", []),
    "artifact": lambda made: made.artifact("v1"),
    "artifact without layers": lambda made: made.artifact("v1", layers=[made.blob(EMPTY, b"{}")]),
    "index of artifacts": lambda made: made.index("v1", [made.artifact("a"), made.artifact("b")], artifactType=EXAMPLE),
    "image without layers": lambda made: made.image("v1", layers=[]),
    "artifacts that refer": _referrers,
    "index that refers": _index_that_refers,
    "subject that is not there": _missing_subject,
    "data in a descriptor": _inlined,
    "layers that are elsewhere": _abroad,
    "unknown fields": lambda made: made.index("v1", _platforms(made, orgExample={"x": [1]}), orgExample="y"),
}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_through_all_workflows(ask: Client, kind: str, algorithm: str) -> None:
    made = Content(algorithm)
    KINDS[kind](made)
    repository = f"team/{kind.replace(' ', '-')}-{algorithm}"
    # A tag is pushed with the bytes alone, and so names them by sha256.
    tags = made.tags if algorithm == "sha256" else {}

    for digest, data in made.blobs.items():
        put = ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data,
                  {"Content-Type": "application/octet-stream"})  # fmt: skip
        assert (put.status, put.headers["docker-content-digest"]) == (201, digest)
    for reference, digest in [*((digest, digest) for digest in made.manifests), *tags.items()]:
        media_type, data = made.manifests[digest]
        put = ask("PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": media_type})
        assert (put.status, put.headers["docker-content-digest"]) == (201, digest)
        assert put.headers.get("oci-subject") == made.subjects.get(digest)

    assert ask.ok("GET", f"/v2/{repository}/tags/list").json()["tags"] == sorted(tags)
    for reference, digest in [*((digest, digest) for digest in made.manifests), *tags.items()]:
        media_type, data = made.manifests[digest]
        for method in ("HEAD", "GET"):
            got = ask.ok(method, f"/v2/{repository}/manifests/{reference}", None, {"Accept": media_type})
            headers = [got.headers[name] for name in ("docker-content-digest", "content-type", "content-length")]
            assert headers == [digest, media_type, str(len(data))]
            assert got.body == (data if method == "GET" else b"")
    for digest, data in made.blobs.items():
        assert ask.ok("HEAD", f"/v2/{repository}/blobs/{digest}").headers["content-length"] == str(len(data))
        assert ask.ok("GET", f"/v2/{repository}/blobs/{digest}").body == data

    for subject in set(made.subjects.values()):
        listed = ask.ok("GET", f"/v2/{repository}/referrers/{subject}").json()["manifests"]
        assert {entry["digest"]: entry for entry in listed} == {
            digest: _described(made, digest) for digest, of in made.subjects.items() if of == subject
        }

    for tag in tags:
        assert ask("DELETE", f"/v2/{repository}/manifests/{tag}").status == 202
        assert ask("HEAD", f"/v2/{repository}/manifests/{tag}").status == 404
    for path in [*(f"manifests/{digest}" for digest in reversed(made.manifests)), *(f"blobs/{d}" for d in made.blobs)]:
        assert ask("DELETE", f"/v2/{repository}/{path}").status == 202
        assert ask("HEAD", f"/v2/{repository}/{path}").status == 404
    assert ask.ok("GET", f"/v2/{repository}/tags/list").json()["tags"] == []
    for subject in set(made.subjects.values()):
        assert ask.ok("GET", f"/v2/{repository}/referrers/{subject}").json()["manifests"] == []


def _described(made: Content, digest: str) -> Json:
    """What the list of referrers says of a manifest."""
    media_type, data = made.manifests[digest]
    document = json.loads(data)
    shown = {"mediaType": media_type, "digest": digest, "size": len(data),
             "artifactType": document.get("artifactType") or document["config"]["mediaType"]}  # fmt: skip
    return shown | ({"annotations": document["annotations"]} if "annotations" in document else {})


@pytest.mark.parametrize("way", ["post", "post and put", "pieces", "pieces, the last by put", "stream"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_other_bytes_than_the_digest_says(ask: Client, way: str, algorithm: str) -> None:
    """By each way to push a blob: 400, and there is nothing under the digest, nor under that of the bytes."""
    repository, data = f"team/wrong-{algorithm}", bytes(range(256)) * 40
    digest = f"{algorithm}:{hashlib.new(algorithm, data + b'oh no').hexdigest()}"
    octets = {"Content-Type": "application/octet-stream"}
    if way == "post":
        answer = ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data, octets)
    else:
        path = ask.ok("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["location"]
        last = b""
        if way == "post and put":
            last = data
        elif way == "stream":
            ask.ok("PATCH", path, iter([data]), octets)
        else:
            ask.ok("PATCH", path, data[:5000], octets | {"Content-Range": "0-4999"})
            last = data[5000:]
            if way == "pieces":
                ask.ok("PATCH", path, last, octets | {"Content-Range": f"5000-{len(data) - 1}"})
                last = b""
        answer = ask("PUT", f"{path}?digest={digest}", last, octets)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    for wrong in (digest, f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"):
        assert ask("HEAD", f"/v2/{repository}/blobs/{wrong}").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_manifest_by_what_is_no_digest(ask: Client, method: str) -> None:
    answer = ask(method, "/v2/team/wrong/manifests/sha256:baddigeststring", b"{}" if method == "PUT" else None)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
