"""The OCI distribution specification 1.1: its four workflows, case by case, from the specification's text.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md: pull, push, content discovery, content
management. Each test names the section it is from.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.onggi_registry import CONFIG, INDEX, LAYER, MANIFEST, Answer, Client, OnggiRegistry, digest_of

OCTETS = {"Content-Type": "application/octet-stream"}
DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("distribution")) as running:
        running.admin.ok("POST", "/api/v1/projects", {"name": "team", "public": True})
        yield running


@pytest.fixture
def ask(registry: OnggiRegistry) -> Client:
    return registry.admin


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    name: str = request.node.name.partition("[")[0].removeprefix("test_").replace("__", "_")
    suffix = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    return f"team/{name}-{suffix}"


def begin(ask: Client, repository: str) -> str:
    answer = ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
    assert answer.status == 202
    return location(answer)


def location(answer: Answer) -> str:
    """The Location, relative or absolute, as a path."""
    parts = urlsplit(answer.headers["location"])
    return parts.path + (f"?{parts.query}" if parts.query else "")


def with_digest(path: str, digest: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}digest={digest}"


def document(ask: Client, repository: str, **more: Any) -> dict[str, Any]:
    """A manifest whose parts are in the repository."""
    config, layer = b"{}", DATA
    return {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": ask.blob(repository, config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": ask.blob(repository, layer), "size": len(layer)}], **more,
    }  # fmt: skip


# --- Pull


def test_base(ask: Client, registry: OnggiRegistry) -> None:
    """ "Determining Support": GET /v2/ is 200, or 401 for who is not signed in."""
    assert ask("GET", "/v2/").status == 200
    assert registry.anonymous("GET", "/v2/").status == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_manifest_by_tag_and_digest(ask: Client, repository: str, method: str) -> None:
    """ "Pulling manifests"."""
    body = json.dumps(document(ask, repository)).encode()
    assert ask("PUT", f"/v2/{repository}/manifests/v1", body, {"Content-Type": MANIFEST}).status == 201
    for reference in ("v1", digest_of(body)):
        answer = ask(method, f"/v2/{repository}/manifests/{reference}", None, {"Accept": MANIFEST})
        assert answer.status == 200
        assert answer.headers["docker-content-digest"] == digest_of(body)
        assert answer.headers["content-type"] == MANIFEST
        assert answer.headers["content-length"] == str(len(body))
        assert answer.body == (body if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_blob(ask: Client, repository: str, method: str) -> None:
    """ "Pulling blobs", "Checking if content exists in the registry"."""
    digest = ask.blob(repository, DATA)
    answer = ask(method, f"/v2/{repository}/blobs/{digest}")
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["docker-content-digest"] == digest
    assert answer.body == (DATA if method == "GET" else b"")


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_there(ask: Client, repository: str, kind: str, method: str) -> None:
    ask.blob(repository, DATA)
    answer = ask(method, f"/v2/{repository}/{kind}/{digest_of(b'never pushed')}")
    assert answer.status == 404
    if method == "GET":
        assert answer.code == {"blobs": "BLOB_UNKNOWN", "manifests": "MANIFEST_UNKNOWN"}[kind]


@pytest.mark.parametrize(
    ("wanted", "status", "content_range", "part"),
    [
        ("bytes=0-99", 206, "bytes 0-99/10240", DATA[:100]),
        ("bytes=10200-", 206, "bytes 10200-10239/10240", DATA[10200:]),
        ("bytes=-40", 206, "bytes 10200-10239/10240", DATA[-40:]),
        ("bytes=10239-99999", 206, "bytes 10239-10239/10240", DATA[-1:]),
        ("bytes=10240-", 416, None, None),
        ("bytes=-0", 416, None, None),
        ("bytes=0-1,5-6", 200, None, DATA),
        ("lines=0-1", 200, None, DATA),
        ("bytes=9-3", 200, None, DATA),
    ],
)
def test_part_of_a_blob(ask: Client, repository: str, wanted: str, status: int, content_range: str | None,
                        part: bytes | None) -> None:  # fmt: skip
    """ "Pulling blobs": RFC 9110's range requests."""
    digest = ask.blob(repository, DATA)
    answer = ask("GET", f"/v2/{repository}/blobs/{digest}", None, {"Range": wanted})
    assert (answer.status, answer.headers.get("content-range")) == (
        status, content_range or ("bytes */10240" if status == 416 else None),
    )  # fmt: skip
    if part is not None:
        assert answer.body == part


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
def test_not_modified(ask: Client, repository: str, kind: str) -> None:
    digest = ask.image(repository, "v1", DATA)
    if kind == "blobs":
        digest = digest_of(DATA)
    first = ask("GET", f"/v2/{repository}/{kind}/{digest}")
    again = ask("GET", f"/v2/{repository}/{kind}/{digest}", None, {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert ask("GET", f"/v2/{repository}/{kind}/{digest}", None, {"If-None-Match": '"other"'}).status == 200


# --- Push


def test_upload_by_post_then_put(ask: Client, repository: str) -> None:
    """ "POST then PUT"."""
    digest = digest_of(DATA)
    answer = ask("PUT", with_digest(begin(ask, repository), digest), DATA, OCTETS)
    assert answer.status == 201
    assert ask("GET", location(answer)).body == DATA
    assert answer.headers["docker-content-digest"] == digest


def test_upload_by_single_post(ask: Client, repository: str) -> None:
    """ "Single POST"."""
    answer = ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(DATA)}", DATA, OCTETS)
    assert answer.status == 201
    assert ask("GET", location(answer)).body == DATA


def test_upload_of_nothing(ask: Client, repository: str) -> None:
    answer = ask("PUT", with_digest(begin(ask, repository), digest_of(b"")), b"", OCTETS)
    assert answer.status == 201
    assert ask("GET", location(answer)).body == b""


def test_upload_by_sha512(ask: Client, repository: str) -> None:
    digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
    answer = ask("PUT", with_digest(begin(ask, repository), digest), DATA, OCTETS)
    assert answer.status == 201
    assert ask("GET", f"/v2/{repository}/blobs/{digest}").body == DATA
    wrong = "sha512:" + hashlib.sha512(b"other").hexdigest()
    assert ask("PUT", with_digest(begin(ask, repository), wrong), DATA, OCTETS).code == "DIGEST_INVALID"


def test_upload_in_chunks(ask: Client, repository: str) -> None:
    """ "Pushing a blob in chunks"."""
    path = begin(ask, repository)
    for first in range(0, len(DATA), 4096):
        piece = DATA[first : first + 4096]
        last = first + len(piece) - 1
        answer = ask("PATCH", path, piece, OCTETS | {"Content-Range": f"{first}-{last}"})
        assert (answer.status, answer.headers["range"]) == (202, f"0-{last}")
        path = location(answer)
    status = ask("GET", path)
    assert (status.status, status.headers["range"]) == (204, f"0-{len(DATA) - 1}")
    answer = ask("PUT", with_digest(path, digest_of(DATA)), b"")
    assert answer.status == 201
    assert ask("GET", location(answer)).body == DATA


def test_last_chunk_by_put(ask: Client, repository: str) -> None:
    path = location(ask("PATCH", begin(ask, repository), DATA[:100], OCTETS | {"Content-Range": "0-99"}))
    answer = ask(
        "PUT", with_digest(path, digest_of(DATA)), DATA[100:], OCTETS | {"Content-Range": f"100-{len(DATA) - 1}"}
    )
    assert answer.status == 201
    assert ask("GET", location(answer)).body == DATA


def test_upload_as_a_stream(ask: Client, repository: str) -> None:
    """Docker sends one PATCH with chunked transfer encoding and no Content-Range."""
    path = begin(ask, repository)
    pieces = iter([DATA] * 300)
    answer = ask("PATCH", path, pieces, OCTETS)
    assert (answer.status, answer.headers["range"]) == (202, f"0-{300 * len(DATA) - 1}")
    assert ask("PUT", with_digest(location(answer), digest_of(DATA * 300)), b"").status == 201


@pytest.mark.parametrize("content_range", ["5-14", "200-209", "99-108"])
def test_chunk_out_of_order(ask: Client, repository: str, content_range: str) -> None:
    """A chunk out of order is 416, and the upload stays as it was."""
    path = location(ask("PATCH", begin(ask, repository), DATA[:100], OCTETS | {"Content-Range": "0-99"}))
    assert ask("PATCH", path, DATA[:10], OCTETS | {"Content-Range": content_range}).status == 416
    assert ask("GET", path).headers["range"] == "0-99"
    answer = ask("PATCH", path, DATA[100:], OCTETS | {"Content-Range": f"100-{len(DATA) - 1}"})
    assert ask("PUT", with_digest(location(answer), digest_of(DATA)), b"").status == 201


@pytest.mark.parametrize("content_range", ["0-98", "a-b", "bytes", "10-3"])
def test_chunk_that_is_not_what_it_says(ask: Client, repository: str, content_range: str) -> None:
    answer = ask("PATCH", begin(ask, repository), DATA[:100], OCTETS | {"Content-Range": content_range})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


def test_upload_cancelled(ask: Client, repository: str) -> None:
    """ "Canceling uploads" (and "Upload Status")."""
    path = begin(ask, repository)
    assert ask("DELETE", path).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = ask(method, path, DATA if method == "PATCH" else None)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_wrong_digest(ask: Client, repository: str) -> None:
    wrong = digest_of(b"other bytes")
    answer = ask("PUT", with_digest(begin(ask, repository), wrong), DATA, OCTETS)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert ask("HEAD", f"/v2/{repository}/blobs/{wrong}").status == 404
    assert ask("HEAD", f"/v2/{repository}/blobs/{digest_of(DATA)}").status == 404


@pytest.mark.parametrize(
    "digest", ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:abc", "sha256:" + "A" * 64, "x", ""]
)
def test_what_is_no_digest(ask: Client, repository: str, digest: str) -> None:
    assert ask("PUT", with_digest(begin(ask, repository), digest), DATA, OCTETS).code == "DIGEST_INVALID"


def test_put_without_digest(ask: Client, repository: str) -> None:
    assert ask("PUT", begin(ask, repository), DATA, OCTETS).code == "DIGEST_INVALID"


def test_mount(ask: Client, repository: str) -> None:
    """ "Mounting a blob from another repository"."""
    digest = ask.blob(repository, DATA)
    answer = ask("POST", f"/v2/{repository}-other/blobs/uploads/?mount={digest}&from={repository}", b"")
    assert (answer.status, location(answer)) == (201, f"/v2/{repository}-other/blobs/{digest}")
    assert ask("GET", location(answer)).body == DATA


def test_mount_without_from(ask: Client, repository: str) -> None:
    """ "Automatic content discovery": the registry finds a source by itself."""
    digest = ask.blob(repository, b"found" + repository.encode())
    assert ask("POST", f"/v2/{repository}-other/blobs/uploads/?mount={digest}", b"").status == 201


@pytest.mark.parametrize("source", ["", "&from=team/nothing-here", "&from=Not+a+name"])
def test_mount_of_what_is_not_there(ask: Client, repository: str, source: str) -> None:
    """Falls back to an upload."""
    answer = ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest_of(b'nowhere')}{source}", b"")
    assert answer.status == 202
    assert ask("PUT", with_digest(location(answer), digest_of(b"nowhere")), b"nowhere", OCTETS).status == 201


def test_manifest_push(ask: Client, repository: str) -> None:
    """ "Pushing Manifests"."""
    body = json.dumps(document(ask, repository)).encode()
    for reference in ("v1", digest_of(body)):
        answer = ask("PUT", f"/v2/{repository}/manifests/{reference}", body, {"Content-Type": MANIFEST})
        assert answer.status == 201
        assert answer.headers["docker-content-digest"] == digest_of(body)
        assert ask("GET", location(answer)).body == body


def test_manifest_with_wrong_digest(ask: Client, repository: str) -> None:
    body = json.dumps(document(ask, repository)).encode()
    answer = ask("PUT", f"/v2/{repository}/manifests/{digest_of(b'other')}", body, {"Content-Type": MANIFEST})
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_manifest_whose_blobs_are_missing(ask: Client, repository: str) -> None:
    good = document(ask, repository)
    missing = {"mediaType": LAYER, "digest": digest_of(b"missing"), "size": 7}
    answer = ask("PUT", f"/v2/{repository}/manifests/v1", json.dumps(good | {"layers": [missing]}).encode(),
                 {"Content-Type": MANIFEST})  # fmt: skip
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert ask("GET", f"/v2/{repository}/manifests/v1").status == 404


def test_index_and_its_manifests(ask: Client, repository: str) -> None:
    one = document(ask, repository)
    digest = ask.manifest(repository, "", one)
    entry = {"mediaType": MANIFEST, "digest": digest, "size": len(json.dumps(one))}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    ask.manifest(repository, "multi", index)
    assert ask.ok("GET", f"/v2/{repository}/manifests/multi").headers["content-type"] == INDEX
    index["manifests"] = [entry | {"digest": digest_of(b"no such manifest")}]
    answer = ask("PUT", f"/v2/{repository}/manifests/multi", json.dumps(index).encode(), {"Content-Type": INDEX})
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


def test_docker_schema_2(ask: Client, repository: str) -> None:
    docker = "application/vnd.docker.distribution.manifest"
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": ask.blob(repository, b"{}"),
        "size": 2,
    }
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": ask.blob(repository, DATA),
             "size": len(DATA)}  # fmt: skip
    image = {"schemaVersion": 2, "mediaType": f"{docker}.v2+json", "config": config, "layers": [layer]}
    digest = ask.manifest(repository, "v1", image)
    assert ask.ok("GET", f"/v2/{repository}/manifests/v1").headers["content-type"] == f"{docker}.v2+json"
    entry = {"mediaType": f"{docker}.v2+json", "digest": digest, "size": len(json.dumps(image)),
             "platform": {"architecture": "amd64", "os": "linux"}}  # fmt: skip
    ask.manifest(repository, "list", {"schemaVersion": 2, "mediaType": f"{docker}.list.v2+json", "manifests": [entry]})
    assert ask.ok("GET", f"/v2/{repository}/manifests/list").headers["content-type"] == f"{docker}.list.v2+json"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", MANIFEST), (b"no json", MANIFEST), (b"{}", MANIFEST), (b"[]", INDEX), (b'{"schemaVersion":1}', MANIFEST),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', INDEX), (b"{}", "text/html"),
        (b"[" * 100_000, MANIFEST), (b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % INDEX.encode(), MANIFEST),
    ],
)  # fmt: skip
def test_what_is_no_manifest(ask: Client, repository: str, body: bytes, media_type: str) -> None:
    answer = ask("PUT", f"/v2/{repository}/manifests/v1", body, {"Content-Type": media_type})
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_manifest_of_the_largest_size(ask: Client, repository: str) -> None:
    """ "a registry MUST accept manifests of at least 4 megabytes"."""
    limit = 4 * 1024 * 1024
    body = json.dumps(document(ask, repository)).encode()
    assert ask("PUT", f"/v2/{repository}/manifests/big", body.ljust(limit), {"Content-Type": MANIFEST}).status == 201
    answer = ask("PUT", f"/v2/{repository}/manifests/bigger", body.ljust(limit + 1), {"Content-Type": MANIFEST})
    assert answer.status == 413


@pytest.mark.parametrize("name", ["UPPER/x", "team//x", "team/-x", "team/x.", "team/" + "a" * 260, "team/x/"])
def test_what_is_no_name(ask: Client, name: str) -> None:
    answer = ask("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize("tag", [".x", "-x", "a" * 129, "%20", "%C3%A9"])
def test_what_is_no_tag(ask: Client, repository: str, tag: str) -> None:
    answer = ask("GET", f"/v2/{repository}/manifests/{tag}")
    assert (answer.status, answer.code) == (400, "TAG_INVALID")


def test_two_at_once_push_the_same(ask: Client, repository: str) -> None:
    data = DATA * 200
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask.blob(f"{repository}-{number % 4}", data), range(16)))
    assert set(found) == {digest_of(data)}
    assert all(ask("GET", f"/v2/{repository}-{number}/blobs/{found[0]}").body == data for number in range(4))


# --- Content discovery


def test_tags(ask: Client, repository: str) -> None:
    """ "Listing Tags"."""
    names = ["a", "b", "B", "1.0", "1.10", "1.9", "_x", "latest"]
    image = document(ask, repository)
    for name in names:
        ask.manifest(repository, name, image)
    answer = ask("GET", f"/v2/{repository}/tags/list")
    assert answer.json() == {"name": repository, "tags": sorted(names)}
    assert "link" not in answer.headers

    seen: list[list[str]] = []
    path = f"/v2/{repository}/tags/list?n=3"
    while path:
        answer = ask("GET", path)
        seen.append(answer.json()["tags"])
        link = answer.headers.get("link", "")
        assert link == "" or link.endswith('; rel="next"')
        path = link.partition(">")[0][1:]
    assert [len(part) for part in seen] == [3, 3, 2]
    assert [name for part in seen for name in part] == sorted(names)
    assert ask("GET", f"/v2/{repository}/tags/list?last=b").json()["tags"] == ["latest"]
    assert ask("GET", f"/v2/{repository}/tags/list?n=0").json()["tags"] == []
    assert ask("GET", f"/v2/{repository}/tags/list?n={10**18}").json()["tags"] == sorted(names)


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "%D9%A1"])
def test_tags_by_what_is_no_number(ask: Client, repository: str, n: str) -> None:
    ask.blob(repository, DATA)
    assert ask("GET", f"/v2/{repository}/tags/list?n={n}").status == 400


def test_tags_of_what_is_not_there(ask: Client) -> None:
    answer = ask("GET", "/v2/team/nothing-here/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_referrers(ask: Client, repository: str) -> None:
    """ "Listing Referrers", "Pushing Manifests with Subject"."""
    subject = document(ask, repository)
    body = json.dumps(subject).encode()
    digest = digest_of(body)
    described = {"mediaType": MANIFEST, "digest": digest, "size": len(body)}
    empty = ask("GET", f"/v2/{repository}/referrers/{digest}")
    assert (empty.status, empty.headers["content-type"], empty.json()["manifests"]) == (200, INDEX, [])

    def refer(**more: Any) -> str:
        one = json.dumps(document(ask, repository, subject=described, **more)).encode()
        answer = ask("PUT", f"/v2/{repository}/manifests/{digest_of(one)}", one, {"Content-Type": MANIFEST})
        assert (answer.status, answer.headers["oci-subject"]) == (201, digest)
        return digest_of(one)

    signature = refer(artifactType="application/x.signature", annotations={"by": "me"})
    bill = refer(artifactType="application/x.sbom")
    plain = refer()
    ask.manifest(repository, "v1", subject)  # the subject may come later

    answer = ask("GET", f"/v2/{repository}/referrers/{digest}")
    found = {entry["digest"]: entry for entry in answer.json()["manifests"]}
    assert set(found) == {signature, bill, plain}
    assert "oci-filters-applied" not in answer.headers
    assert found[signature]["artifactType"] == "application/x.signature"
    assert found[signature]["annotations"] == {"by": "me"}
    assert found[plain]["artifactType"] == CONFIG  # its configuration's media type
    assert found[bill]["size"] == len(ask("GET", f"/v2/{repository}/manifests/{bill}").body)

    answer = ask("GET", f"/v2/{repository}/referrers/{digest}?artifactType=application/x.sbom")
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [bill]

    answer = ask("GET", f"/v2/{repository}/referrers/{digest}?n=2")
    rest = ask("GET", answer.headers["link"].partition(">")[0][1:])
    seen = [entry["digest"] for part in (answer, rest) for entry in part.json()["manifests"]]
    assert seen == sorted(found)

    assert ask("DELETE", f"/v2/{repository}/manifests/{bill}").status == 202
    left = ask("GET", f"/v2/{repository}/referrers/{digest}").json()["manifests"]
    assert {entry["digest"] for entry in left} == {signature, plain}


def test_referrers_of_what_is_no_digest(ask: Client, repository: str) -> None:
    assert ask("GET", f"/v2/{repository}/referrers/latest").status == 400


def test_catalog(ask: Client, repository: str) -> None:
    for letter in "abc":
        ask.blob(f"{repository}-{letter}", DATA)
    names: list[str] = []
    path = "/v2/_catalog?n=2"
    while path:
        answer = ask("GET", path)
        names += answer.json()["repositories"]
        path = answer.headers.get("link", "").partition(">")[0][1:]
    assert names == sorted(names)
    assert {f"{repository}-{letter}" for letter in "abc"} <= set(names)


# --- Content management


def test_deletes(ask: Client, repository: str) -> None:
    """ "Deleting tags", "Deleting Manifests", "Deleting Blobs"."""
    image = document(ask, repository)
    digest = ask.manifest(repository, "v1", image)
    ask.manifest(repository, "v2", image)
    assert ask("DELETE", f"/v2/{repository}/manifests/v1").status == 202
    assert ask("GET", f"/v2/{repository}/manifests/v1").status == 404
    assert ask("GET", f"/v2/{repository}/manifests/{digest}").status == 200
    layer = image["layers"][0]["digest"]
    assert ask("DELETE", f"/v2/{repository}/blobs/{layer}").status == 409  # v2 still needs it
    assert ask("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202
    for reference in ("v2", digest):
        answer = ask("GET", f"/v2/{repository}/manifests/{reference}")
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert ask("DELETE", f"/v2/{repository}/manifests/{digest}").status == 404
    assert ask("DELETE", f"/v2/{repository}/blobs/{layer}").status == 202
    assert ask("GET", f"/v2/{repository}/blobs/{layer}").status == 404
    assert ask("DELETE", f"/v2/{repository}/blobs/{layer}").status == 404


def test_what_was_deleted_can_be_pushed_again(ask: Client, repository: str) -> None:
    image = document(ask, repository)
    digest = ask.manifest(repository, "v1", image)
    ask.ok("DELETE", f"/v2/{repository}/manifests/{digest}")
    ask.manifest(repository, "v1", image)
    assert ask("GET", f"/v2/{repository}/manifests/{digest}").status == 200


def test_method_that_is_not_offered(ask: Client, repository: str) -> None:
    answer = ask("PUT", f"/v2/{repository}/tags/list", b"")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
