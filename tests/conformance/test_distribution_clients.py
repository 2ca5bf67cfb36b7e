"""The clients that people have, against our registry: each pushes, pulls, copies, attaches, lists, deletes."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.images import busybox_archive
from tests.onggi_registry import MANIFEST, PASSWORD, Client, OnggiRegistry
from tests.peers import PEERS, Docker, peer_run, peer_socket


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("clients")) as running:
        running.admin.ok("POST", "/api/v1/projects", {"name": "team"})  # private
        running.user("carol")
        running.admin.ok("PUT", "/api/v1/projects/team/members/carol", {"role": "maintainer"})
        running.admin.image("library/source", "v1", b"x" * 100_000)
        yield running


@pytest.fixture(scope="module")
def source(registry: OnggiRegistry) -> str:
    """An image that skopeo and its kin can read."""
    return f"docker://{registry.host}/library/source:v1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in the peers' root, for a client's credentials and files."""
    path = PEERS / "tmp" / f"onggi-{uuid.uuid4().hex[:8]}"
    path.mkdir(parents=True)
    yield path
    peer_run("rm", "-rf", f"/tmp/{path.name}")


def tags(ask: Client, repository: str) -> list[str]:
    answer = ask("GET", f"/v2/{repository}/tags/list")
    return list(answer.json()["tags"]) if answer.status == 200 else []


@pytest.fixture(scope="module")
def docker() -> Docker:
    return Docker(peer_socket())


def test_docker(registry: OnggiRegistry, docker: Docker, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    name = f"{registry.host}/team/docker-{uuid.uuid4().hex[:8]}:v1"
    busybox_archive(archive, name=name)
    docker("load", "-i", str(archive), check=True)
    config = ("--config", str(tmp_path / "config"))
    try:
        refused = docker(*config, "push", name)
        assert refused.returncode == 1
        assert (
            "authentication required" in refused.stderr
            or "denied" in refused.stderr
            or "no basic auth" in refused.stderr
        )
        wrong = docker(*config, "login", "-u", "carol", "-p", "wrong", registry.host)
        assert wrong.returncode == 1
        assert "incorrect username or password" in wrong.stderr
        said = docker(*config, "login", "-u", "carol", "--password-stdin", registry.host, input=PASSWORD)
        assert "Login Succeeded" in said.stdout
        docker(*config, "push", name, check=True)
        pushed = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", name, check=True).stdout.strip()
        docker("rmi", name, check=True)
        docker(*config, "pull", name, check=True)
        assert docker("run", "--rm", name, "echo", "it runs", check=True).stdout == "it runs\n"
        repository, _, digest = pushed.partition("/")[2].partition("@")
        assert registry.admin.ok("HEAD", f"/v2/{repository}/manifests/v1").headers["docker-content-digest"] == digest
        looked = json.loads(docker(*config, "manifest", "inspect", "--insecure", name, check=True).stdout)
        assert looked["schemaVersion"] == 2
        found = docker(*config, "search", "--format", "{{.Name}}", f"{registry.host}/source", check=True)
        assert "source" in found.stdout
        docker(*config, "logout", registry.host, check=True)
    finally:
        docker("rmi", "-f", name)


def test_onggi(registry: OnggiRegistry, tmp_path: Path) -> None:
    archive, name = tmp_path / "image.tar", f"{registry.host}/team/onggi:v1"
    busybox_archive(archive, name=name)
    with Engine(tmp_path, number=7) as engine:
        engine.onggi("load", "-i", str(archive), check=True)
        assert engine.onggi("push", name).returncode == 1
        assert (
            "Login Succeeded"
            in engine.onggi(
                "login", "-u", "carol", "--password-stdin", registry.host, input=PASSWORD, check=True
            ).stdout
        )
        engine.onggi("push", name, check=True)
        engine.onggi("rmi", name, check=True)
        engine.onggi("pull", name, check=True)
        assert (
            engine.onggi("run", "--rm", "--network", "none", name, "echo", "it runs", check=True).stdout == "it runs\n"
        )
        found = engine.onggi("search", "--format", "{{.Name}}", f"{registry.host}/source", check=True)
        assert "source" in found.stdout
        engine.onggi("rmi", name, check=True)


def test_skopeo(registry: OnggiRegistry, source: str, folder: Path) -> None:
    auth = f"/tmp/{folder.name}/auth.json"
    peer_run("skopeo", "login", "--tls-verify=false", "--authfile", auth, "-u", "carol", "-p", PASSWORD, registry.host)
    repository = f"docker://{registry.host}/team/skopeo"
    flags = ["--authfile", auth, "--src-tls-verify=false", "--dest-tls-verify=false"]
    peer_run("skopeo", "copy", "--format", "v2s2", *flags, source, f"{repository}:docker")
    peer_run("skopeo", "copy", *flags, source, f"{repository}:oci")
    peer_run("skopeo", "copy", *flags, f"{repository}:oci", f"oci:/tmp/{folder.name}/layout:v1")
    peer_run("skopeo", "copy", *flags, f"oci:/tmp/{folder.name}/layout:v1", f"{repository}:back")
    looking = ["--authfile", auth, "--tls-verify=false"]
    assert json.loads(peer_run("skopeo", "list-tags", *looking, repository))["Tags"] == ["back", "docker", "oci"]
    assert json.loads(peer_run("skopeo", "inspect", *looking, f"{repository}:oci"))["Architecture"] == "amd64"
    raw = json.loads(peer_run("skopeo", "inspect", "--raw", *looking, f"{repository}:docker"))
    assert raw["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    peer_run("skopeo", "delete", *looking, f"{repository}:docker")
    assert tags(registry.admin, "team/skopeo") == ["back", "oci"]


def test_skopeo_signs_and_verifies(registry: OnggiRegistry, folder: Path) -> None:
    """Signatures as attachments (cosign's tag scheme), asked for by policy.json; and a repository copied whole."""
    place, host = f"/tmp/{folder.name}", registry.host
    auth, image = f"{place}/auth.json", f"docker://{registry.host}/team/signed"
    (folder / "registries").mkdir()
    (folder / "registries/here.yaml").write_text(f"docker: {{'{host}': {{use-sigstore-attachments: true}}}}")
    signed = {"type": "sigstoreSigned", "keyPath": f"{place}/key.pub", "signedIdentity": {"type": "matchRepository"}}
    (folder / "policy.json").write_text(json.dumps({
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {f"{host}/team/signed": [signed], f"{host}/team/plain": [signed]}},
    }))  # fmt: skip
    (folder / "passphrase").write_text("pw")
    skopeo = ["skopeo", "--registries.d", f"{place}/registries"]
    flags = ["--authfile", auth, "--src-tls-verify=false", "--dest-tls-verify=false"]
    source = f"docker-archive:{place}/image.tar"
    busybox_archive(folder / "image.tar", name="localhost/onggi-test:v1")
    peer_run("skopeo", "login", "--tls-verify=false", "--authfile", auth, "-u", "carol", "-p", PASSWORD, host)
    peer_run(
        "skopeo", "generate-sigstore-key", "--output-prefix", f"{place}/key", "--passphrase-file", f"{place}/passphrase"
    )
    peer_run(*skopeo, "copy", *flags, "--sign-by-sigstore-private-key", f"{place}/key.private", "--sign-passphrase-file",
             f"{place}/passphrase", source, f"{image}:v1")  # fmt: skip
    peer_run(*skopeo, "copy", *flags, source, f"docker://{host}/team/plain:v1")
    asking = [*skopeo, "--policy", f"{place}/policy.json", "copy", *flags]
    peer_run(*asking, f"{image}:v1", f"dir:{place}/verified")
    with pytest.raises(AssertionError, match="signature was required"):
        peer_run(*asking, f"docker://{host}/team/plain:v1", f"dir:{place}/refused")
    peer_run("skopeo", "sync", *flags, "--src", "docker", "--dest", "dir", f"{host}/team/plain", place)
    assert (folder / "plain:v1/manifest.json").exists()


def test_buildah(registry: OnggiRegistry, folder: Path) -> None:
    """An image pushed and pulled; a manifest list made and pushed with its images."""
    auth = f"/tmp/{folder.name}/auth.json"
    storage = ["--root", f"/tmp/{folder.name}/root", "--runroot", f"/tmp/{folder.name}/run", "--storage-driver", "vfs"]
    peer_run("buildah", "login", "--tls-verify=false", "--authfile", auth, "-u", "carol", "-p", PASSWORD, registry.host)
    digest = registry.admin.ok("HEAD", "/v2/library/source/manifests/v1").headers["docker-content-digest"]
    name = f"onggi-test-{folder.name}"
    peer_run("buildah", *storage, "manifest", "create", name)
    peer_run(
        "buildah", *storage, "manifest", "add", "--tls-verify=false", name, f"{registry.host}/library/source@{digest}"
    )
    target = f"docker://{registry.host}/team/buildah:multi"
    peer_run("buildah", *storage, "manifest", "push", "--all", "--tls-verify=false", "--authfile", auth, name, target)
    index = registry.admin.ok("GET", "/v2/team/buildah/manifests/multi")
    assert [entry["digest"] for entry in index.json()["manifests"]] == [digest]
    assert registry.admin.ok("GET", f"/v2/team/buildah/manifests/{digest}").headers["content-type"] == MANIFEST
    busybox_archive(folder / "image.tar", name="localhost/onggi-test:v1")
    peer_run("buildah", *storage, "pull", "-q", f"docker-archive:/tmp/{folder.name}/image.tar")
    peer_run("buildah", *storage, "push", "--tls-verify=false", "--authfile", auth, "localhost/onggi-test:v1",
             f"docker://{registry.host}/team/buildah:one")  # fmt: skip
    peer_run("buildah", *storage, "rmi", "localhost/onggi-test:v1")
    peer_run(
        "buildah", *storage, "pull", "-q", "--tls-verify=false", "--authfile", auth, f"{registry.host}/team/buildah:one"
    )
    listed = peer_run("buildah", *storage, "images", "--format", "{{.Name}}:{{.Tag}}")
    assert f"{registry.host}/team/buildah:one" in listed.split()


def test_podman(registry: OnggiRegistry, folder: Path) -> None:
    auth = f"/tmp/{folder.name}/auth.json"
    podman = ["podman", "--root", f"/tmp/{folder.name}/root", "--runroot", f"/tmp/{folder.name}/run",
              "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]  # fmt: skip
    busybox_archive(folder / "image.tar", name="localhost/onggi-test:v1")
    peer_run(*podman, "login", "--tls-verify=false", "--authfile", auth, "-u", "carol", "-p", PASSWORD, registry.host)
    peer_run(*podman, "load", "-q", "-i", f"/tmp/{folder.name}/image.tar")
    name = f"{registry.host}/team/podman:v1"
    peer_run(*podman, "push", "-q", "--tls-verify=false", "--authfile", auth, "localhost/onggi-test:v1", name)
    peer_run(*podman, "pull", "-q", "--tls-verify=false", "--authfile", auth, name)
    found = peer_run(*podman, "search", "--tls-verify=false", "--authfile", auth, "--format", "{{.Name}}",
                     f"{registry.host}/podman")  # fmt: skip
    assert f"{registry.host}/team/podman" in found
    found = peer_run(*podman, "search", "--tls-verify=false", "--authfile", auth, "--list-tags", "--format", "{{.Tag}}",
                     f"{registry.host}/team/podman")  # fmt: skip
    assert found.split() == ["v1"]


def test_oras(registry: OnggiRegistry, folder: Path) -> None:
    """Artefacts: push, attach, discover by the referrers API, pull, copy with referrers, tag, delete."""
    (folder / "note.txt").write_text("a note")
    (folder / "bill.json").write_text("{}")
    place = f"/tmp/{folder.name}"
    sign = ["--registry-config", f"{place}/auth.json", "--plain-http"]

    def oras(*words: str) -> str:
        return peer_run("sh", "-c", 'cd "$1"; shift; exec oras "$@"', "sh", place, *words)

    oras("login", *sign, "-u", "carol", "-p", PASSWORD, registry.host)
    name = f"{registry.host}/team/oras"
    oras("push", *sign, f"{name}:v1", "note.txt:text/plain")
    oras("attach", *sign, "--artifact-type", "application/x.bill", "--distribution-spec", "v1.1-referrers-api", f"{name}:v1",
         "bill.json:application/json")  # fmt: skip
    found = json.loads(
        oras("discover", *sign, "--distribution-spec", "v1.1-referrers-api", "--format", "json", f"{name}:v1")
    )
    listed = found.get("referrers") or found.get("manifests")
    assert [entry["artifactType"] for entry in listed] == ["application/x.bill"]
    (folder / "note.txt").unlink()
    oras("pull", *sign, f"{name}:v1")
    assert (folder / "note.txt").read_text() == "a note"
    both = [word for side in ("from", "to") for word in
            (f"--{side}-plain-http", f"--{side}-registry-config", f"{place}/auth.json")]  # fmt: skip
    oras("copy", "-r", *both, f"{name}:v1", f"{registry.host}/team/oras-copy:v1")
    digest = registry.admin.ok("HEAD", "/v2/team/oras-copy/manifests/v1").headers["docker-content-digest"]
    assert len(registry.admin.ok("GET", f"/v2/team/oras-copy/referrers/{digest}").json()["manifests"]) == 1
    oras("tag", *sign, f"{name}:v1", "v2")
    assert oras("repo", "tags", *sign, name).split() == ["v1", "v2"]
    assert "team/oras" in oras("repo", "ls", *sign, registry.host).split()
    oras("manifest", "delete", "-f", *sign, f"{name}:v2")
    assert tags(registry.admin, "team/oras") == []


def test_umoci_through_skopeo(registry: OnggiRegistry, folder: Path) -> None:
    place = f"/tmp/{folder.name}"
    peer_run("umoci", "init", "--layout", f"{place}/layout")
    peer_run("umoci", "new", "--image", f"{place}/layout:v1")
    peer_run("umoci", "config", "--image", f"{place}/layout:v1", "--config.label", "made=by umoci")
    peer_run("skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", f"carol:{PASSWORD}", f"oci:{place}/layout:v1",
             f"docker://{registry.host}/team/umoci:v1")  # fmt: skip
    found = [one["name"] for one in registry.admin.ok("GET", "/api/v1/search?q=label:made").json()]
    assert found == ["team/umoci"]
    peer_run("skopeo", "copy", "--src-tls-verify=false", "--src-creds", f"carol:{PASSWORD}",
             f"docker://{registry.host}/team/umoci:v1", f"oci:{place}/back:v2")  # fmt: skip
    assert peer_run("umoci", "list", "--layout", f"{place}/back").split() == ["v2"]
    peer_run("umoci", "unpack", "--image", f"{place}/back:v2", f"{place}/bundle")
    assert (folder / "bundle/rootfs").is_dir()


def test_a_robot_by_skopeo(registry: OnggiRegistry, source: str) -> None:
    scopes = [{"repository": "team/robots", "actions": ["pull", "push"]}]
    robot = registry.admin.ok("POST", "/api/v1/projects/team/robots", {"name": "ci", "scopes": scopes}).json()
    copy = ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds",
            f"{robot['name']}:{robot['secret']}", source]  # fmt: skip
    peer_run(*copy, f"docker://{registry.host}/team/robots:v1")
    with pytest.raises(AssertionError, match=r"denied|authentication required|insufficient"):
        peer_run(*copy, f"docker://{registry.host}/team/elsewhere:v1")
    assert tags(registry.admin, "team/robots") == ["v1"]
