"""Signatures of the real cosign and notation, verified by the registry's policy; ours, verified by the real cosign."""

import json
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.oci.digest import Digest
from onggi.signing import cosign as signing
from onggi.signing.keys import PrivateKey
from tests.engine import Engine
from tests.onggi_registry import CONFIG, INDEX, MANIFEST, PASSWORD, Client, OnggiRegistry, digest_of
from tests.peers import PEERS, peer_run

PLAIN = ("--allow-insecure-registry", "--allow-http-registry")
SIGN = ("sign", "--yes", *PLAIN, "--use-signing-config=false", "--tlog-upload=false")
FORMS = ["--new-bundle-format=true", "--new-bundle-format=false"]
VERIFY = ("verify", *PLAIN, "--insecure-ignore-tlog")


class Peer:
    """The programs, in a home of their own in the peers' root."""

    def __init__(self) -> None:
        self.home = PEERS / "tmp" / f"onggi-{uuid.uuid4().hex[:8]}"
        self.home.mkdir(parents=True)

    def __call__(self, *words: str) -> str:
        inside = f"/tmp/{self.home.name}"
        return peer_run(
            "env",
            "-u",
            "DOCKER_CONFIG",
            f"HOME={inside}",
            "COSIGN_PASSWORD=pw",
            "sh",
            "-c",
            f"cd {inside} && {shlex.join(words)}",
        )

    def file(self, name: str) -> str:
        return (self.home / name).read_text()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("signatures")) as running:
        running.user("reader")
        yield running


@pytest.fixture(scope="module")
def peer(registry: OnggiRegistry) -> Iterator[Peer]:
    peer = Peer()
    try:
        peer("cosign", "generate-key-pair")
        peer("cosign", "login", registry.host, "-u", "admin", "-p", PASSWORD)
        peer("notation", "cert", "generate-test", "--default", "release.example")
        yield peer
    finally:
        peer_run("rm", "-rf", f"/tmp/{peer.home.name}")


@pytest.fixture
def project(registry: OnggiRegistry) -> str:
    name = f"p{uuid.uuid4().hex[:8]}"
    registry.admin.ok("POST", "/api/v1/projects", {"name": name})
    registry.admin.ok("PUT", f"/api/v1/projects/{name}/members/reader", {"role": "guest"})
    return name


def _policy(ask: Client, project: str, pem: str) -> None:
    ask.ok("PUT", f"/api/v1/projects/{project}/policy",
           {"keys": [{"name": "release", "pem": pem}], "rules": [{"repositories": "app", "signed_by": ["release"]}]})  # fmt: skip


def _signatures(ask: Client, repository: str, digest: str) -> list[Any]:
    found: list[Any] = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/{digest}/signatures").json()[
        "signatures"
    ]
    return found


def _given(reader: Client, repository: str, reference: str) -> None:
    reader.ok("GET", f"/v2/{repository}/manifests/{reference}")
    reader.token(f"repository:{repository}:pull").ok("GET", f"/v2/{repository}/manifests/{reference}")


def _refused(ask: Client, repository: str, reference: str) -> str:
    answer = ask("GET", f"/v2/{repository}/manifests/{reference}")
    assert (answer.status, answer.code) == (403, "DENIED"), answer.body
    return answer.message


@pytest.mark.parametrize("form", FORMS)
def test_cosign(registry: OnggiRegistry, peer: Peer, project: str, form: str) -> None:
    ask, reader, repository = registry.admin, registry.as_("reader"), f"{project}/app"
    signed, unsigned = ask.image(repository, "v1", b"signed"), ask.image(repository, "v2", b"unsigned")
    _policy(ask, project, peer.file("cosign.pub"))
    assert _refused(reader, repository, "v1") == (
        f"the policy of the project {project} forbids this pull: {signed} is not signed by release"
    )
    peer("cosign", *SIGN, form, "--key", "cosign.key", f"{registry.host}/{repository}@{signed}")
    _given(reader, repository, "v1")
    _refused(reader, repository, "v2")
    (found,) = _signatures(ask, repository, signed)
    assert (found["kind"], found["trusted"]) == ("cosign", ["release"])
    assert _signatures(ask, repository, unsigned) == []
    peer("cosign", *VERIFY, "--key", "cosign.pub", f"{registry.host}/{repository}@{signed}")
    # Another key counts for nothing, and the rule is for one repository only.
    _policy(ask, project, PrivateKey.generate().public_pem.decode())
    _refused(reader, repository, "v1")
    assert _signatures(ask, repository, signed)[0]["reason"] == "no trusted key made it"
    ask.image(f"{project}/other", "v1", b"unsigned")
    _given(reader, f"{project}/other", "v1")


def test_notation(registry: OnggiRegistry, peer: Peer, project: str) -> None:
    ask, reader, repository = registry.admin, registry.as_("reader"), f"{project}/app"
    signed = ask.image(repository, "v1", b"signed")
    ask.image(repository, "v2", b"unsigned")
    certificate = next(peer.home.rglob("release.example.crt")).read_text()
    _policy(ask, project, certificate)
    _refused(reader, repository, "v1")
    peer(
        "notation",
        "sign",
        "--insecure-registry",
        "-u",
        "admin",
        "-p",
        PASSWORD,
        f"{registry.host}/{repository}@{signed}",
    )
    _given(reader, repository, "v1")
    _refused(reader, repository, "v2")
    (found,) = _signatures(ask, repository, signed)
    assert (found["kind"], found["trusted"]) == ("notation", ["release"])
    assert "CN=release.example" in found["signer"]
    events = [
        event for event in ask.ok("GET", f"/api/v1/projects/{project}/events").json() if event["kind"] == "signature"
    ]
    assert [event["digest"] for event in events] == [signed]


def test_notation_lists_verifies_and_inspects(registry: OnggiRegistry, peer: Peer, project: str) -> None:
    ask, name = registry.admin, f"{registry.host}/{project}/app"
    account = ("--insecure-registry", "-u", "admin", "-p", PASSWORD)
    signed, unsigned = (f"{name}@{ask.image(f'{project}/app', tag, tag.encode())}" for tag in ("v1", "v2"))
    peer("notation", "sign", *account, signed)
    (peer.home / "trust.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [{
        "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:release.example"], "trustedIdentities": ["*"]}]}))  # fmt: skip
    peer("notation", "policy", "import", "--force", "trust.json")
    assert "Successfully verified" in peer("notation", "verify", *account, signed)
    with pytest.raises(AssertionError, match="no signature is associated"):
        peer("notation", "verify", *account, unsigned)
    assert peer("notation", "list", *account, signed).count("sha256:") == 2  # the image, and what was signed
    assert "release.example" in peer("notation", "inspect", *account, signed)


@pytest.mark.parametrize("form", FORMS)
def test_cosign_attests_copies_lists_and_cleans(registry: OnggiRegistry, peer: Peer, project: str, form: str) -> None:
    ask, name = registry.admin, f"{registry.host}/{project}/app"
    image = ask.image(f"{project}/app", "v1", b"attested")
    (peer.home / "predicate.json").write_text('{"reviewed": true}')
    attest = ("attest", *SIGN[1:], form, "--key", "cosign.key", "--type", "custom", "--predicate", "predicate.json")
    peer("cosign", *attest, f"{name}@{image}")
    peer("cosign", *SIGN, form, "--key", "cosign.key", f"{name}@{image}")
    verify = ("verify-attestation", *PLAIN, "--insecure-ignore-tlog", "--key", "cosign.pub", "--type", "custom")
    peer("cosign", *verify, f"{name}@{image}")
    shown = peer("cosign", "tree", *PLAIN, f"{name}@{image}")
    kinds = ("Attestations", "Signatures") if form.endswith("false") else ("cosign/sign", "attestation")
    assert [kind for kind in kinds if kind not in shown] == [], shown
    peer("cosign", "copy", *PLAIN, f"{name}:v1", f"{registry.host}/{project}/copy:v1")
    assert ask.ok("HEAD", f"/v2/{project}/copy/manifests/v1").headers["docker-content-digest"] == image
    if form.endswith("false"):  # cosign copies and cleans what stands under tags
        peer("cosign", *verify, f"{registry.host}/{project}/copy@{image}")
        peer("cosign", "clean", "--force", *PLAIN, f"{name}@{image}")
        assert ask.ok("GET", f"/v2/{project}/app/tags/list").json()["tags"] == ["v1"]
        with pytest.raises(AssertionError, match=r"no (matching )?signatures"):
            peer("cosign", *VERIFY, form, "--key", "cosign.pub", f"{name}@{image}")


def test_ours_verify_with_cosign(registry: OnggiRegistry, peer: Peer, project: str) -> None:
    ask, repository, key = registry.admin, f"{project}/app", PrivateKey.generate()
    (peer.home / "ours.pub").write_bytes(key.public_pem)
    bundled, simple = ask.image(repository, "bundled", b"one"), ask.image(repository, "simple", b"two")
    bundle = signing.make_bundle(Digest(bundled), key)
    empty = ask.blob(repository, b"{}")
    size = len(ask.ok("GET", f"/v2/{repository}/manifests/{bundled}").body)
    ask.manifest(repository, "", {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": signing.BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": signing.BUNDLE, "digest": ask.blob(repository, bundle), "size": len(bundle)}],
        "subject": {"mediaType": MANIFEST, "digest": bundled, "size": size},
        "annotations": {"dev.sigstore.bundle.content": "dsse-envelope",
                        "dev.sigstore.bundle.predicateType": signing.PREDICATE},
    })  # fmt: skip
    payload, signature = signing.make_simple(Digest(simple), f"{registry.host}/{repository}", key)
    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [
        digest_of(payload)]}}).encode()  # fmt: skip
    ask.manifest(repository, signing.signature_tag(Digest(simple)), {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": ask.blob(repository, config), "size": len(config)},
        "layers": [{"mediaType": signing.SIMPLE_SIGNING, "digest": ask.blob(repository, payload), "size": len(payload),
                    "annotations": {signing.SIGNATURE: signature}}],
    })  # fmt: skip
    for digest in (bundled, simple):
        peer("cosign", *VERIFY, "--key", "ours.pub", f"{registry.host}/{repository}@{digest}")
    with pytest.raises(AssertionError, match="no matching attestations"):
        peer("cosign", *VERIFY, "--key", "cosign.pub", f"{registry.host}/{repository}@{bundled}")


def test_who_signs_an_index_signs_what_is_in_it(registry: OnggiRegistry, peer: Peer, project: str) -> None:
    ask, reader, repository = registry.admin, registry.as_("reader"), f"{project}/app"
    member = ask.image(repository, "member", b"one")
    size = len(ask.ok("GET", f"/v2/{repository}/manifests/{member}").body)
    index = ask.manifest(repository, "both", {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST, "digest": member, "size": size}]})  # fmt: skip
    _policy(ask, project, peer.file("cosign.pub"))
    _refused(reader, repository, member)
    peer("cosign", *SIGN, "--key", "cosign.key", f"{registry.host}/{repository}@{index}")
    _given(reader, repository, "both")
    _given(reader, repository, member)


def test_policies_that_say_nothing_are_refused(registry: OnggiRegistry, project: str, tmp_path: Path) -> None:
    ask, path = registry.admin, f"/api/v1/projects/{project}/policy"
    pem = PrivateKey.generate().public_pem.decode()
    for policy, reason in (
        ({"rules": [{}]}, "a rule says what is asked for"),
        ({"rules": [{"signed_by": ["x"]}]}, "which the policy does not have"),
        ({"keys": [{"name": "a", "pem": "nonsense"}]}, "this is no public key"),
        ({"keys": [{"name": "a", "pem": pem}] * 2}, "the same name"),
        ({"rules": [], "admin": True}, "unknown field"),
        ({"rules": [{"severity": "dreadful"}]}, "Invalid enum value"),
    ):
        answer = ask("PUT", path, policy)
        assert (answer.status, reason in answer.message) == (400, True), answer.body
    assert ask.ok("GET", path).json() == {}


@pytest.mark.parametrize("form", FORMS)
def test_our_command_signs_with_cosigns_key_and_cosign_with_ours(
    registry: OnggiRegistry,
    peer: Peer,
    project: str,
    form: str,
    tmp_path: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys are the same files, and each verifies what the other has signed."""
    monkeypatch.setenv("COSIGN_PASSWORD", "pw")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    engine.onggi("login", "-u", "admin", "--password-stdin", registry.host, input=PASSWORD, check=True)
    ours, theirs = f"{registry.host}/{project}/ours", f"{registry.host}/{project}/theirs"
    for name in ("ours", "theirs"):
        registry.admin.image(f"{project}/{name}", "v1", name.encode())
    engine.onggi("trust", "generate", "--dir", str(tmp_path), "own", check=True)
    again = engine.onggi("trust", "generate", "--dir", str(tmp_path), "own")
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert (tmp_path / "own.key").stat().st_mode & 0o777 == 0o600
    for name in ("own.key", "own.pub"):
        (peer.home / name).write_bytes((tmp_path / name).read_bytes())
    own, key = str(tmp_path / "own.pub"), tmp_path / "cosign.key"
    key.write_text(peer.file("cosign.key"))
    simple = form.endswith("false")

    assert "nobody has signed it" in engine.onggi("trust", "verify", "--key", own, f"{ours}:v1").stderr
    engine.onggi(
        "trust", "sign", "--form", "simple" if simple else "bundle", "--key", str(key), f"{ours}:v1", check=True
    )
    peer("cosign", *VERIFY, form, "--key", "cosign.pub", f"{ours}:v1")

    peer("cosign", *SIGN, form, "--key", "own.key", f"{theirs}:v1")
    said = engine.onggi("trust", "verify", "--key", own, f"{theirs}:v1", check=True).stdout
    assert f"is signed by {own} (cosign)" in said
    assert engine.onggi("trust", "verify", "--key", own, f"{ours}:v1").returncode == 1
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    wrong = engine.onggi("trust", "sign", "--key", str(key), f"{ours}:v1")
    assert (wrong.returncode, "passphrase does not open" in wrong.stderr) == (1, True)


def test_a_second_signature_stands_beside_the_first(
    registry: OnggiRegistry, project: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_TRUST_PASSPHRASE", "a passphrase")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    engine.onggi("login", "-u", "admin", "--password-stdin", registry.host, input=PASSWORD, check=True)
    image, digest = f"{registry.host}/{project}/app:v1", registry.admin.image(f"{project}/app", "v1", b"layer")
    for name in ("one", "two"):
        engine.onggi("trust", "generate", "--dir", str(tmp_path), name, check=True)
        engine.onggi("trust", "sign", "--key", str(tmp_path / f"{name}.key"), image, check=True)
    for name in ("one", "two"):
        public = str(tmp_path / f"{name}.pub")
        said = engine.onggi("trust", "verify", "--key", public, image, check=True).stdout
        assert said == f"{digest} is signed by {public} (cosign)\n" * 2  # the bundle, and the simple one
    _policy(registry.admin, project, (tmp_path / "two.pub").read_text())
    assert registry.as_("reader")("GET", f"/v2/{project}/app/manifests/v1").status == 200


def test_what_is_no_signature_is_not_written_over_and_hides_none(
    registry: OnggiRegistry, project: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_TRUST_PASSPHRASE", "a passphrase")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    engine.onggi("login", "-u", "admin", "--password-stdin", registry.host, input=PASSWORD, check=True)
    image, digest = f"{registry.host}/{project}/app:v1", registry.admin.image(f"{project}/app", "v1", b"layer")
    engine.onggi("trust", "generate", "--dir", str(tmp_path), "own", check=True)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    registry.admin.manifest(f"{project}/app", digest.replace(":", "-") + ".sig", index)
    key, public = str(tmp_path / "own.key"), str(tmp_path / "own.pub")
    refused = engine.onggi("trust", "sign", "--form", "simple", "--key", key, image)
    assert (refused.returncode, "names something else" in refused.stderr) == (1, True)
    engine.onggi("trust", "sign", "--form", "bundle", "--key", key, image, check=True)
    assert "is signed by" in engine.onggi("trust", "verify", "--key", public, image, check=True).stdout
