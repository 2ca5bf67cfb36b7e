"""Images copied between registries by rule: two of ours, and Debian's docker-registry."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import until
from tests.onggi_registry import INDEX, MANIFEST, Client, OnggiRegistry, digest_of
from tests.registry import Registry, Uploader, push_image
from tests.upstream import Before

LOOPBACK = ("--remote-network", "127.0.0.0/8")
EMPTY = "application/vnd.oci.empty.v1+json"
SIGNATURE = "application/vnd.example.signature"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("here"), *LOOPBACK) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, here: OnggiRegistry) -> Iterator[OnggiRegistry]:
    """Another of ours; both know each other, by an account."""
    with OnggiRegistry(tmp_path_factory.mktemp("other"), *LOOPBACK) as running:
        for mine, name, theirs in ((here, "other", running), (running, "here", here)):
            account = {"username": "admin", "password": "a fine password"}
            mine.admin.ok("POST", "/api/v1/remotes", {"name": name, "url": f"http://{theirs.host}", **account})
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, here: OnggiRegistry) -> Iterator[Registry]:
    """docker-registry, which keeps no list of referrers."""
    with Registry(tmp_path_factory.mktemp("plain")) as running:
        here.admin.ok("POST", "/api/v1/remotes", {"name": "plain", "url": f"http://{running.host}"})
        yield running


@pytest.fixture
def project(here: OnggiRegistry, request: pytest.FixtureRequest) -> str:
    return here.make_project(request.node.name)


def rule(registry: OnggiRegistry, project: str, **more: Any) -> str:
    given = {"name": "rule", "direction": "push", "remote": "other", **more}
    registry.admin.ok("POST", f"/api/v1/projects/{project}/replication", given)
    return f"/api/v1/projects/{project}/replication/{given['name']}"


def runs(registry: OnggiRegistry, path: str) -> list[Any]:
    found: list[Any] = registry.admin.ok("GET", f"{path}/runs").json()
    return found


def ended(registry: OnggiRegistry, path: str) -> list[Any]:
    """All runs, the latest first, once none waits or goes on."""
    until(
        lambda: (found := runs(registry, path)) and all(run["state"] in ("done", "failed") for run in found),
        f"the runs of {path} end",
    )
    return runs(registry, path)


def run(registry: OnggiRegistry, path: str, *, dry_run: bool = False) -> list[tuple[str, str, str]]:
    """By hand; gives repository, tag and outcome of each image."""
    number = registry.admin.ok("POST", f"{path}/runs", {"dry_run": dry_run}).json()["id"]
    ended(registry, path)
    items = registry.admin.ok("GET", f"{path}/runs/{number}").json()
    return [(item["repository"], item["reference"], item["outcome"]) for item in items]


def digest_at(ask: Client, repository: str, reference: str) -> str:
    answer = ask("HEAD", f"/v2/{repository}/manifests/{reference}")
    return answer.headers["docker-content-digest"] if answer.status == 200 else ""


def signature(ask: Client, repository: str, subject: str, tag: str = "", *, layer: bytes = b"signed") -> str:
    """A manifest that refers to `subject`, or is one of cosign's tags; gives its digest."""
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGNATURE,
        "config": {"mediaType": EMPTY, "digest": ask.blob(repository, b"{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": ask.blob(repository, layer), "size": len(layer)}],
        "annotations": {"signs": subject},
    }  # fmt: skip
    if not tag:
        document["subject"] = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    return ask.manifest(repository, tag, document)


def index(ask: Client, repository: str, tag: str) -> tuple[str, list[str]]:
    """An index of two images; gives its digest and theirs."""
    parts = [ask.image(repository, "", f"{tag} {name}".encode(), {"architecture": name}) for name in ("amd64", "arm64")]
    entries = [{"mediaType": MANIFEST, "digest": part, "size": 1} for part in parts]
    return ask.manifest(repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}), parts


def test_a_push_is_pushed_on(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    """With all that belongs to it, by digest; into a project of another name."""
    other.admin.ok("POST", "/api/v1/projects", {"name": "mirror"})
    path = rule(here, project, prefix="mirror/deep", on_event=True)
    name = f"{project}/app"
    top, parts = index(here.admin, name, "v1")
    signed = [signature(here.admin, name, digest) for digest in (top, parts[1])]
    upon = signature(here.admin, name, signed[0])
    old = signature(here.admin, name, top, top.replace(":", "-") + ".sig")
    ended(here, path)
    there = "mirror/deep/app"
    assert digest_at(other.admin, there, "v1") == top
    for digest in (*parts, *signed, upon):
        assert digest_at(other.admin, there, digest) == digest
    assert digest_at(other.admin, there, top.replace(":", "-") + ".sig") == old
    listed = other.admin.ok("GET", f"/v2/{there}/referrers/{top}").json()["manifests"]
    assert [entry["digest"] for entry in listed] == [signed[0]]
    assert other.command("fsck").returncode == 0


def test_what_is_there_is_not_sent_again(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    path = rule(here, project)
    here.admin.image(f"{project}/app", "v1", b"once")
    assert run(here, path) == [(f"{project}/app", "v1", "copied")]
    assert run(here, path) == [(f"{project}/app", "v1", "present")]
    # A signature that comes later does go.
    digest = digest_at(here.admin, f"{project}/app", "v1")
    signed = signature(here.admin, f"{project}/app", digest)
    assert run(here, path) == [(f"{project}/app", "v1", "copied")]
    assert digest_at(other.admin, f"{project}/app", signed) == signed


def test_loops_end(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    """Each of two registries pushes to the other whatever happens: pushes, moved tags, deletions."""
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    one = rule(here, project, on_event=True, deletes=True)
    two = rule(other, project, remote="here", on_event=True, deletes=True)
    name = f"{project}/app"
    first = here.admin.image(name, "v1", b"first")
    until(lambda: digest_at(other.admin, name, "v1") == first)
    second = other.admin.image(name, "v1", b"second")
    until(lambda: digest_at(here.admin, name, "v1") == second)
    here.admin.ok("DELETE", f"/v2/{name}/manifests/v1")
    until(lambda: not digest_at(other.admin, name, "v1"))

    def quiet() -> bool:
        ended(here, one), ended(other, two)
        return len(runs(here, one)) + len(runs(other, two)) == count[0]

    count = [0]
    for _ in range(3):
        ended(here, one), ended(other, two)
        count[0] = len(runs(here, one)) + len(runs(other, two))
    assert quiet()
    assert count[0] <= 8, "nothing goes round"


def test_a_deletion_hits_only_what_was_deleted(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    path = rule(here, project, on_event=True, deletes=True)
    name = f"{project}/app"
    here.admin.image(name, "v1", b"ours")
    ended(here, path)
    theirs = other.admin.image(name, "v1", b"theirs")
    here.admin.ok("DELETE", f"/v2/{name}/manifests/v1")
    assert "kept" in ended(here, path)[0]["outcomes"]
    assert digest_at(other.admin, name, "v1") == theirs


def test_patterns_and_dry_run(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    path = rule(here, project, repositories="app,lib*", tags="v*")
    for repository in ("app", "library", "other"):
        for tag in ("v1", "latest"):
            here.admin.image(f"{project}/{repository}", tag, repository.encode())
    wanted = [(f"{project}/app", "v1"), (f"{project}/library", "v1")]
    assert run(here, path, dry_run=True) == [(*image, "would copy") for image in wanted]
    assert other.admin("GET", f"/v2/{project}/app/tags/list").status == 404, "nothing was done"
    assert run(here, path) == [(*image, "copied") for image in wanted]
    assert other.admin.ok("GET", f"/v2/{project}/app/tags/list").json()["tags"] == ["v1"]


def test_to_a_registry_without_lists_of_referrers(here: OnggiRegistry, plain: Registry, project: str) -> None:
    """A tag stands in for the list, and pulled back it is a list again."""
    path = rule(here, project, remote="plain")
    name = f"{project}/app"
    digest = here.admin.image(name, "v1", b"signed")
    signed = {signature(here.admin, name, digest, layer=layer) for layer in (b"signed", b"signed by another")}
    more = signature(here.admin, name, min(signed))
    run(here, path)
    with Uploader(plain.host, name) as there:
        status, _, body = there.request(
            "GET", f"/v2/{name}/manifests/{digest.replace(':', '-')}", headers={"Accept": INDEX}
        )
    assert status == 200
    assert {entry["digest"] for entry in json.loads(body)["manifests"]} == signed
    assert {entry["artifactType"] for entry in json.loads(body)["manifests"]} == {SIGNATURE}
    here.admin.ok("POST", "/api/v1/projects", {"name": "back"})
    assert run(here, rule(here, "back", remote="plain", direction="pull", prefix=project)) == [
        ("back/app", "v1", "copied")
    ]
    for one in (*signed, more):
        assert digest_at(here.admin, "back/app", one) == one
    listed = here.admin.ok("GET", f"/v2/back/app/referrers/{digest}").json()["manifests"]
    assert {entry["digest"] for entry in listed} == signed
    assert here.command("fsck").returncode == 0


def test_pull_by_rule(here: OnggiRegistry, plain: Registry, project: str) -> None:
    """Named, or found in the remote's list; what is deleted there goes here, if the rule has brought it."""
    first = push_image(plain.host, "upstream/app", "v1", [b"one"], compression="none")
    push_image(plain.host, "upstream/app", "v2", [b"two"], compression="none")
    push_image(plain.host, "upstream/tool/cli", "v1", [b"cli"], compression="none")
    push_image(plain.host, "elsewhere/app", "v1", [b"no"], compression="none")
    path = rule(here, project, remote="plain", direction="pull", prefix="upstream", deletes=True)
    assert run(here, path, dry_run=True) == [
        (f"{project}/app", "v1", "would copy"), (f"{project}/app", "v2", "would copy"),
        (f"{project}/tool/cli", "v1", "would copy"),
    ]  # fmt: skip
    assert len(run(here, path)) == 3
    assert digest_at(here.admin, f"{project}/app", "v1") == first.digest
    assert here.admin.ok("GET", f"/v2/{project}/app/blobs/{first.layers[0]}").body == b"one"
    here.admin.image(f"{project}/app", "mine", b"pushed by hand")
    with Uploader(plain.host, "upstream/app") as there:
        assert there.request("DELETE", f"/v2/upstream/app/manifests/{first.digest}")[0] == 202
    assert (f"{project}/app", "v1", "would delete") in run(here, path, dry_run=True)
    assert (f"{project}/app", "v1", "deleted") in run(here, path)
    assert here.admin.ok("GET", f"/v2/{project}/app/tags/list").json()["tags"] == ["mine", "v2"]
    history = here.admin.ok("GET", f"/api/v1/repositories/{project}/app/-/tags/v1/history").json()
    assert {move["by"] for move in history} == {f"replication:{project}/rule"}


def test_a_remote_without_a_catalogue(here: OnggiRegistry, plain: Registry, project: str) -> None:
    """Docker Hub, say: the rule must name its repositories."""
    push_image(plain.host, "library/app", "v1", [b"named"], compression="none")
    with Before(plain.host) as hub:
        hub.on("GET", "/_catalog", times=100, status=401)
        here.admin.ok("POST", "/api/v1/remotes", {"name": "hub", "url": hub.url})
        path = rule(here, project, remote="hub", direction="pull", prefix="library")
        here.admin.ok("POST", f"{path}/runs", {})
        until(lambda: runs(here, path)[0]["error"])
        assert "name them in the rule" in runs(here, path)[0]["error"]
        here.admin.ok("DELETE", path)
        path = rule(here, project, remote="hub", direction="pull", prefix="library", repositories="app")
        assert run(here, path) == [(f"{project}/app", "v1", "copied")]


def test_a_remote_that_fails_is_tried_again(here: OnggiRegistry, plain: Registry, project: str) -> None:
    with Before(plain.host) as flaky:
        here.admin.ok("POST", "/api/v1/remotes", {"name": "flaky", "url": flaky.url})
        path = rule(here, project, remote="flaky")
        here.admin.image(f"{project}/app", "v1", b"at last")
        flaky.on("PUT", "/manifests/", status=500)
        flaky.on("PUT", "/manifests/", status=429, headers={"Retry-After": "1"})
        here.admin.ok("POST", f"{path}/runs", {})
        (last,) = ended(here, path)
        assert (last["state"], last["attempts"]) == ("done", 3)
        assert last["outcomes"] == {"failed": 2, "copied": 1}


def test_a_rule_that_is_deleted_while_it_runs_ends(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    """What is on its way arrives, nothing else does, and nothing breaks."""
    other.make_project(project)
    known, going_on = len(here.log.read_text()), threading.Event()
    with Before(other.host) as slow:
        account = {"username": "admin", "password": "a fine password"}
        here.admin.ok("POST", "/api/v1/remotes", {"name": "slow", "url": slow.url, **account})
        path = rule(here, project, remote="slow")
        for tag in ("v1", "v2"):
            here.admin.image(f"{project}/app", tag, tag.encode())
        slow.on("PUT", "/manifests/", hold=going_on)
        number = here.admin.ok("POST", f"{path}/runs", {}).json()["id"]
        assert slow.halfway.wait(60)
        here.admin.ok("DELETE", path)
        going_on.set()
        until(lambda: job_state(here, f"run {number}") == "done", "the run's job ends")
    assert [bool(digest_at(other.admin, f"{project}/app", tag)) for tag in ("v1", "v2")] == [True, False]
    assert "Traceback" not in here.log.read_text()[known:]


def job_state(registry: OnggiRegistry, subject: str) -> str:
    jobs = registry.admin.ok("GET", "/api/v1/jobs?n=500").json()
    return str(next(job["state"] for job in jobs if job["subject"] == subject))


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_kill_9_in_the_midst(tmp_path: Path, plain: Registry, direction: str) -> None:
    """The run goes on when the registry is back (with PostgreSQL: when the lease ends); what was copied is not copied again."""
    with Before(plain.host) as remote, OnggiRegistry(tmp_path / "killed", *LOOPBACK) as registry:
        admin = registry.admin
        admin.ok("POST", "/api/v1/remotes", {"name": "remote", "url": remote.url})
        admin.ok("POST", "/api/v1/projects", {"name": "team"})
        prefix = f"killed-{direction}"
        path = rule(registry, "team", remote="remote", direction=direction, prefix=prefix)
        go_on = threading.Event()
        contents = [f"{direction} {number}".encode() * 1000 for number in range(3)]
        for number, content in enumerate(contents):
            if direction == "push":
                admin.image(f"team/app{number}", "v1", content)
            else:
                push_image(plain.host, f"{prefix}/app{number}", "v1", [content], compression="none")
        if direction == "push":
            remote.on("PUT", f"/v2/{prefix}/app1/blobs/uploads/", hold=go_on)
        else:
            remote.on("GET", f"/blobs/{digest_of(contents[1])}", hold=go_on)
        admin.ok("POST", f"{path}/runs", {})
        assert remote.halfway.wait(30)
        registry.kill()
        go_on.set()
        registry.start()
        ended(registry, path)
        sent = "PUT" if direction == "push" else "GET"
        what = "/v2/killed-push/app0/blobs/uploads/" if direction == "push" else digest_of(contents[0])
        assert remote.count(sent, what) == (2 if direction == "push" else 1), "layer and configuration, once each"
        for number in range(3):
            if direction == "push":
                with Uploader(plain.host, f"{prefix}/app{number}") as there:
                    accept = {"Accept": MANIFEST}
                    assert there.request("GET", f"/v2/{prefix}/app{number}/manifests/v1", headers=accept)[0] == 200
            else:
                assert digest_at(registry.admin, f"team/app{number}", "v1")
        assert registry.command("fsck").returncode == 0


def test_other_bytes_are_refused(here: OnggiRegistry, plain: Registry, project: str) -> None:
    made = push_image(plain.host, "false/app", "v1", [b"the right bytes"], compression="none")
    with Before(plain.host) as liar:
        here.admin.ok("POST", "/api/v1/remotes", {"name": "liar", "url": liar.url})
        path = rule(here, project, remote="liar", direction="pull", prefix="false", repositories="app")
        liar.on("GET", made.layers[0], change=lambda data: data.upper())
        here.admin.ok("POST", f"{path}/runs", {})
        (last,) = ended(here, path)
        assert last["outcomes"] == {"failed": 1, "copied": 1}
    items = here.admin.ok("GET", f"{path}/runs/{last['id']}").json()
    assert "other bytes than" in items[0]["error"]
    assert here.admin.ok("GET", f"/v2/{project}/app/blobs/{made.layers[0]}").body == b"the right bytes"


def test_by_the_clock(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    """The next time is a job, which outlasts a restart; a rule that is switched off has none."""
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    path = rule(here, project, every_s=3600)

    def planned() -> list[Any]:
        jobs = here.admin.ok("GET", "/api/v1/jobs").json()
        return [job for job in jobs if job["kind"] == "replication-schedule" and job["state"] == "waiting"]

    assert len(planned()) == 1
    here.admin.ok("PATCH", path, {"every_s": 7200})
    assert len(planned()) == 1
    here.admin.ok("PATCH", path, {"enabled": False})
    assert planned() == []
    answer = here.admin("PATCH", path, {"every_s": 5})
    assert answer.status == 400
    here.admin.image(f"{project}/app", "v1", b"x")
    here.admin.ok("POST", f"{path}/runs", {})
    until(lambda: runs(here, path)[0]["state"] == "failed")
    assert runs(here, path)[0]["error"] == "the rule is switched off"


def test_it_is_told(here: OnggiRegistry, other: OnggiRegistry, project: str) -> None:
    """Events (and so webhooks), the audit log, metrics; never a secret."""
    other.admin.ok("POST", "/api/v1/projects", {"name": project})
    path = rule(here, project)
    here.admin.image(f"{project}/app", "v1", b"told")
    run(here, path)
    events = here.admin.ok("GET", f"/api/v1/projects/{project}/events").json()
    (found,) = [event for event in events if event["kind"] == "replication"]
    assert (found["repository"], found["reference"]) == (f"{project}/app", "v1")
    assert json.loads(found["details"])["outcome"] == "copied"
    actions = [entry["action"] for entry in here.admin.ok("GET", f"/api/v1/projects/{project}/audit").json()]
    assert {"create replication rule", "run replication rule"} <= set(actions)
    text = here.anonymous.ok("GET", "/metrics").body.decode()
    assert 'onggi_registry_replication_total{direction="push",outcome="copied"}' in text
    for shown in ("/api/v1/audit", "/api/v1/jobs", "/api/v1/remotes", path):
        assert b"a fine password" not in here.admin.ok("GET", shown).body


def test_who_may(here: OnggiRegistry, project: str) -> None:
    """A rule acts with the remote's account: only the registry's administrators make one."""
    owner = here.user(f"owner-{project}")
    here.admin.ok("PUT", f"/api/v1/projects/{project}/members/owner-{project}", {"role": "owner"})
    given = {"name": "rule", "direction": "push", "remote": "other"}
    assert owner("POST", f"/api/v1/projects/{project}/replication", given).status == 403
    assert owner("GET", "/api/v1/remotes").status == 403
    path = rule(here, project)
    assert owner("GET", path).status == 200
    assert owner("PATCH", path, {"enabled": False}).status == 403
    assert owner("POST", f"{path}/runs", {"dry_run": True}).status == 202
    assert here.anonymous("GET", path).status == 401


@pytest.mark.parametrize(
    ("given", "status", "sentence"),
    [
        ({"direction": "pull", "on_event": True}, 400, "by the clock"),
        ({"every_s": 3}, 400, "every 60 seconds"),
        ({"remote": "nothing"}, 404, "there is no remote"),
        ({"prefix": "UPPER"}, 400, "invalid repository name"),
        ({"name": "UPPER"}, 400, "invalid project name"),
        ({"direction": "both"}, 400, "Invalid enum value"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
def test_rules_that_are_refused(
    here: OnggiRegistry, other: OnggiRegistry, given: dict[str, Any], status: int, sentence: str
) -> None:
    answer = here.admin(
        "POST", "/api/v1/projects/library/replication", {"name": "r", "direction": "push", "remote": "other", **given}
    )
    assert (answer.status, sentence in answer.message) == (status, True), answer.message


def test_targets_that_are_not_allowed(tmp_path: Path, plain: Registry) -> None:
    with OnggiRegistry(tmp_path / "closed") as closed:
        closed.admin.ok("POST", "/api/v1/remotes", {"name": "remote", "url": f"http://{plain.host}"})
        closed.admin.ok("POST", "/api/v1/projects", {"name": "team"})
        closed.admin.image("team/app", "v1", b"stays here")
        path = rule(closed, "team", remote="remote")
        closed.admin.ok("POST", f"{path}/runs", {})
        until(lambda: runs(closed, path)[0]["outcomes"].get("failed"))
        number = runs(closed, path)[0]["id"]
        (item, *_) = closed.admin.ok("GET", f"{path}/runs/{number}").json()
        assert "not allowed to connect" in item["error"]
    connection = http.client.HTTPConnection(plain.host)
    connection.request("GET", "/v2/_catalog")
    assert b"team" not in connection.getresponse().read()
    connection.close()


def test_by_commands(here: OnggiRegistry, plain: Registry, project: str) -> None:
    """All of it by whoever is root on the machine; the password never stands on a command line."""

    def command(*words: str, text: str = "") -> str:
        done = here.command(*words, text=text)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    url = f"http://{plain.host}"
    command("remote", "add", "by-hand", url, "--username", "bob", "--password-stdin", text="a secret\n")
    assert f"{url:<40} bob" in command("remote", "list")
    assert "a secret" not in command("remote", "list")
    command("remote", "account", "by-hand")
    here.admin.image(f"{project}/app", "v1", b"by command")
    command("replication", "create", project, "out", "--push", "by-hand", "--tags", "v*", "--every", "1h")
    assert "*:v* -> by-hand/by-commands  every 3600 s" in command("replication", "list", project)
    number = command("replication", "run", project, "out").strip()
    until(lambda: "done" in command("replication", "runs", project, "out"))
    assert "1 copied" in command("replication", "runs", project, "out")
    assert command("replication", "log", project, "out", number).startswith(f"copied       {project}/app:v1 sha256:")
    command("replication", "disable", project, "out")
    assert "switched off" in command("replication", "list", project)
    command("replication", "enable", project, "out")
    command("project", "create", "a-cache")
    command("upstream", "set", "a-cache", "by-hand", "--prefix", project, "--limit", "20G", "--check", "0")
    assert f"{plain.host}/{project}" in command("upstream", "list")
    until(lambda: here.admin("GET", "/v2/a-cache/app/manifests/v1").status == 200, "the registry sees the new cache")
    refused = here.command("remote", "delete", "by-hand")
    assert (refused.returncode, "is used by" in refused.stderr) == (1, True)
    refused = here.command("replication", "create", "a-cache", "r", "--push", "by-hand")
    assert "is a cache" in refused.stderr
    command("replication", "delete", project, "out")
    command("upstream", "delete", "a-cache")
    command("remote", "delete", "by-hand")
