"""Tags that move and come back, rules, quotas, deletion and collection, asked of a running registry."""

import json
from collections.abc import Iterator

import pytest

from tests.onggi_registry import INDEX, MANIFEST, Client, OnggiRegistry, digest_of


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    # Nothing unreferenced, deleted or unfinished is kept, so each collection takes all it may.
    ages = [word for name in ("--unreferenced-age", "--keep-deleted", "--upload-age") for word in (name, "0s")]
    with OnggiRegistry(tmp_path_factory.mktemp("versions"), *ages) as running:
        yield running


@pytest.fixture
def project(registry: OnggiRegistry, request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    return registry.make_project(request.node.name)


@pytest.fixture
def ask(registry: OnggiRegistry) -> Client:
    return registry.admin


def pointed(ask: Client, repository: str, tag: str) -> str:
    return ask.ok("HEAD", f"/v2/{repository}/manifests/{tag}").headers["docker-content-digest"]


def test_history_and_rollback(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    first, second = ask.image(repository, "latest", b"one"), ask.image(repository, "latest", b"two")
    ask.image(repository, "latest", b"two")  # the same again is no move
    answer = ask.ok("POST", f"/api/v1/repositories/{repository}/-/tags/latest/rollback", {"digest": first})
    assert answer.json() == {"name": "latest", "digest": first, "previous": second}
    assert pointed(ask, repository, "latest") == first
    history = ask.ok("GET", f"/api/v1/repositories/{repository}/-/tags/latest/history").json()
    assert [(move["digest"], move["action"], move["by"]) for move in history] == [
        (first, "rollback", "admin"), (second, "push", "admin"), (first, "push", "admin"),
    ]  # fmt: skip
    older = ask.ok("GET", f"/api/v1/repositories/{repository}/-/tags/latest/history?before={history[1]['sequence']}")
    assert older.json() == history[2:]
    unknown = ask("POST", f"/api/v1/repositories/{repository}/-/tags/latest/rollback", {"digest": digest_of(b"none")})
    assert (unknown.status, unknown.code) == (404, "MANIFEST_UNKNOWN")
    kinds = [event["kind"] for event in ask.ok("GET", f"/api/v1/projects/{project}/events").json()]
    assert [kind for kind in kinds if kind != "scan"] == ["rollback", "push", "push"]  # scans come when they are done


def test_immutable_tags(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    ask.ok("PATCH", f"/api/v1/projects/{project}", {"immutable": [{"repositories": "app", "tags": "v*"}]})
    kept = ask.image(repository, "v1", b"one")
    ask.image(repository, "latest", b"one")
    ask.image(repository, "latest", b"two")
    other = pointed(ask, repository, "latest")
    document = ask.ok("GET", f"/v2/{repository}/manifests/latest").body
    tries = [
        ask("PUT", f"/v2/{repository}/manifests/v1", document, {"Content-Type": MANIFEST}),
        ask("DELETE", f"/v2/{repository}/manifests/v1"),
        ask("DELETE", f"/v2/{repository}/manifests/{kept}"),
        ask("POST", f"/api/v1/repositories/{repository}/-/tags/v1/rollback", {"digest": other}),
        ask("DELETE", f"/api/v1/repositories/{repository}/-"),
    ]
    for answer in tries:
        assert (answer.status, answer.code) == (409, "DENIED")
        assert answer.message == "the tag v1 is immutable by the project's rule 'app:v*': push under another tag"
    assert pointed(ask, repository, "v1") == kept
    ask.image(repository, "v1", b"one")  # the same again is fine
    ask.image(f"{project}/other", "v1", b"one")
    ask.image(f"{project}/other", "v1", b"two")  # another repository has no such rule


def test_a_child_of_an_index_stays(ask: Client, project: str) -> None:
    """An immutable (or any) tag can't be hollowed out by deleting what its index is made of."""
    repository = f"{project}/app"
    child = ask.image(repository, "child", b"one")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": child, "size": 1}]}
    digest = ask.manifest(repository, "multi", index)
    answer = ask("DELETE", f"/v2/{repository}/manifests/{child}")
    assert (answer.status, answer.code) == (409, "DENIED")
    ask.ok("DELETE", f"/v2/{repository}/manifests/{digest}")
    ask.ok("DELETE", f"/v2/{repository}/manifests/{child}")


def test_quota(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    ask.ok("PATCH", f"/api/v1/projects/{project}", {"quota_bytes": 3000})
    ask.blob(repository, b"a" * 2000)
    held = digest_of(b"a" * 2000)
    ask.ok("POST", f"/v2/{project}/other/blobs/uploads/?mount={held}&from={repository}", b"")  # it counts once
    for path in (f"/v2/{repository}/blobs/uploads/?digest={digest_of(b'b' * 2000)}",):
        answer = ask("POST", path, b"b" * 2000, {"Content-Type": "application/octet-stream"})
        assert (answer.status, answer.code) == (403, "DENIED")
        assert answer.message == (
            f"the project {project} may hold 3000 bytes and holds 2000: delete images or raise its quota"
        )
    begun = ask.ok("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["location"]
    assert ask("PATCH", begun, b"c" * 900, {"Content-Type": "application/octet-stream"}).status == 202
    assert ask("PATCH", begun, b"c" * 900, {"Content-Type": "application/octet-stream"}).status == 403  # it counts
    assert ask.ok("GET", f"/api/v1/projects/{project}").json()["used_bytes"] == 2900
    ask.ok("DELETE", begun)
    config = b"{}"
    ask.blob(repository, config)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "test/quota", "layers": [],
                "config": {"mediaType": "test/config", "digest": digest_of(config), "size": len(config)}}  # fmt: skip
    put = ask.ok("PUT", f"/v2/{repository}/manifests/fits", json.dumps(document).encode(), {"Content-Type": MANIFEST})
    assert "warning" not in put.headers
    holds = ask.ok("GET", f"/api/v1/projects/{project}").json()["used_bytes"]
    assert holds == 2002 + len(ask.ok("GET", f"/v2/{repository}/manifests/fits").body)
    ask.manifest(repository, "again", document)  # the same under another name
    assert ask.ok("GET", f"/api/v1/projects/{project}").json()["used_bytes"] == holds
    large = {**document, "annotations": {"why": "x" * 1000}}
    answer = ask("PUT", f"/v2/{repository}/manifests/large", large, {"Content-Type": MANIFEST})
    assert (answer.status, answer.code) == (403, "DENIED")
    assert ask("GET", f"/v2/{repository}/manifests/large").status == 404
    ask.blob(repository, b"d" * (3000 - holds))
    put = ask.ok("PUT", f"/v2/{repository}/manifests/full", json.dumps(document).encode(), {"Content-Type": MANIFEST})
    assert put.headers["warning"] == f'299 - "the project {project} holds 3000 of the 3000 bytes of its quota"'
    assert "quota" in [event["kind"] for event in ask.ok("GET", f"/api/v1/projects/{project}/events").json()]


def test_retention(ask: Client, project: str, registry: OnggiRegistry) -> None:
    repository = f"{project}/app"
    for number in range(5):
        ask.image(repository, f"build-{number}", f"build {number}".encode())
    ask.image(repository, "latest", b"build 0")
    rules = [{"tags": "build-*", "keep_last": 2}]
    ask.ok("PATCH", f"/api/v1/projects/{project}", {"retention": rules})
    plan = ask.ok("POST", f"/api/v1/projects/{project}/retention?dry_run=true").json()
    assert sorted(one["tag"] for one in plan) == ["build-0", "build-1", "build-2"]
    assert len(ask.ok("GET", f"/v2/{repository}/tags/list").json()["tags"]) == 6  # a plan changes nothing
    assert ask.ok("POST", f"/api/v1/projects/{project}/retention").json() == plan
    assert ask.ok("GET", f"/v2/{repository}/tags/list").json()["tags"] == ["build-3", "build-4", "latest"]
    history = ask.ok("GET", f"/api/v1/repositories/{repository}/-/tags/build-0/history").json()
    assert [move["action"] for move in history] == ["retention", "push"]
    assert ask.ok("POST", f"/api/v1/projects/{project}/retention").json() == []
    everything = ask("PATCH", f"/api/v1/projects/{project}", {"retention": [{"tags": "*"}]})
    assert everything.status == 400


def test_retention_leaves_immutable_tags(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    for tag in ("v1", "v2", "v3"):
        ask.image(repository, tag, tag.encode())
    ask.ok("PATCH", f"/api/v1/projects/{project}", {"immutable": [{"tags": "v1"}], "retention": [{"keep_last": 1}]})
    assert [one["tag"] for one in ask.ok("POST", f"/api/v1/projects/{project}/retention").json()] == ["v2"]


def test_what_was_deleted_comes_back_until_it_is_collected(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    digest = ask.image(repository, "v1", b"one")
    ask.ok("DELETE", f"/v2/{repository}/manifests/{digest}")
    listed = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests").json()
    assert [bool(one["deleted_at"]) for one in listed] == [True]
    ask.ok("POST", f"/api/v1/repositories/{repository}/-/manifests/{digest}/restore")
    assert ask("GET", f"/v2/{repository}/manifests/{digest}").status == 200
    ask.ok("DELETE", f"/v2/{repository}/manifests/{digest}")
    ask.ok("POST", "/api/v1/collect")
    assert ask("POST", f"/api/v1/repositories/{repository}/-/manifests/{digest}/restore").status == 404
    assert ask("GET", f"/v2/{repository}/blobs/{digest_of(b'one')}").status == 404


def test_collection_takes_what_nobody_names_only(ask: Client, project: str, registry: OnggiRegistry) -> None:
    repository = f"{project}/app"
    ask.image(repository, "v1", b"kept")
    lone = ask.blob(repository, b"named by nothing")
    begun = ask.ok("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["location"]
    assert ask.ok("POST", "/api/v1/collect").json()["blobs"] >= 1
    assert ask("GET", f"/v2/{repository}/blobs/{lone}").status == 404
    assert ask("GET", begun).status == 404
    assert ask("GET", f"/v2/{repository}/blobs/{digest_of(b'kept')}").body == b"kept"
    done = registry.command("fsck")
    assert (done.returncode, done.stdout, done.stderr) == (0, "all is well\n", "")


def test_details_of_an_image(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    config = {"architecture": "arm64", "variant": "v8", "config": {"Labels": {"team": "blue", "tier": "web"}}}
    ask.image(repository, "v1", b"one", config)
    details = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests").json()[0]["details"]
    assert details == {"platform": "linux/arm64/v8", "label:team": "blue", "label:tier": "web"}
    ask.ok("PATCH", f"/api/v1/repositories/{repository}/-", {"description": "The Blue Thing"})
    for words, found in {
        "label:team=blue": True, "label:team": True, "label:team=red": False, "platform:linux/arm64": True,
        "platform:linux/arm": False, "blue+thing": True, "blue+thing+label:team=blue": True, "red": False,
        "%25": False, "'": False, "_": False,
    }.items():  # fmt: skip
        names = [one["name"] for one in ask.ok("GET", f"/api/v1/search?q={words}").json()]
        assert (repository in names) == found, words
    assert ask("GET", "/api/v1/search?q=digest:sha256:1").status == 400


def test_an_emptied_project_can_be_deleted(ask: Client, project: str) -> None:
    ask.image(f"{project}/app", "v1", b"one")
    refused = ask("DELETE", f"/api/v1/projects/{project}")
    assert (refused.status, refused.message) == (
        409, f"the project {project!a} has 1 repositories: delete them first",
    )  # fmt: skip
    ask.ok("DELETE", f"/api/v1/repositories/{project}/app/-")
    ask.ok("DELETE", f"/api/v1/projects/{project}")
    assert ask("GET", f"/api/v1/projects/{project}").status == 404


def test_the_name_of_one_part_is_of_library(ask: Client) -> None:
    digest = ask.image("solo", "v1", b"one")
    assert pointed(ask, "library/solo", "v1") == digest
    assert json.loads(ask.ok("GET", "/v2/solo/tags/list").body) == {"name": "solo", "tags": ["v1"]}


def test_one_tag_among_many_that_hold_its_name(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    digest = ask.image(repository, "1", b"one")
    for number in range(10, 14):
        ask.image(repository, str(number), b"%d" % number)
    tags = f"/api/v1/repositories/{repository}/-/tags"
    found = ask.ok("GET", f"{tags}/1").json()
    assert (found["name"], found["digest"], found["platforms"]) == ("1", digest, ["linux/amd64"])
    assert found in ask.ok("GET", f"{tags}?q=1").json()
    assert ask("GET", f"{tags}/2").code == "MANIFEST_UNKNOWN"
