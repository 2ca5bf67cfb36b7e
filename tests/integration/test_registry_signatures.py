"""What somebody who may push can do to the signatures of others: they count all the same."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from onggi.oci.digest import Digest
from onggi.signing.cosign import BUNDLE, make_bundle
from onggi.signing.gathering import MOST_SIGNATURES
from onggi.signing.keys import PrivateKey
from tests.onggi_registry import MANIFEST, Client, OnggiRegistry, digest_of

EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("signatures")) as running:
        yield running


def _sign(ask: Client, repository: str, image: str, bundle: bytes, *, early: bool, note: int = 0) -> None:
    """Push a signature whose manifest's digest sorts before those of others, or after: whoever makes it may choose."""
    document: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
        "config": {"mediaType": EMPTY, "digest": ask.blob(repository, b"{}"), "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": ask.blob(repository, bundle), "size": len(bundle)}],
        "subject": {"mediaType": MANIFEST, "digest": image, "size": 100},
    }  # fmt: skip
    for nonce in count():
        document["annotations"] = {"note": f"{note} {nonce}"}
        if (digest_of(json.dumps(document).encode()) < "sha256:8") == early:
            break
    ask.manifest(repository, "", document)


@pytest.mark.parametrize("first", ["the true one", "the false ones"])
def test_false_signatures_do_not_hide_the_true_one(registry: OnggiRegistry, first: str) -> None:
    project = registry.make_project(first.replace(" ", "-"))
    signer, other, reader = (registry.user(f"{who}-{project}") for who in ("signer", "other", "reader"))
    for role, name in (("developer", "signer"), ("developer", "other"), ("guest", "reader")):
        registry.admin.ok("PUT", f"/api/v1/projects/{project}/members/{name}-{project}", {"role": role})
    key, repository = PrivateKey.generate(), f"{project}/app"
    signer, other = (each.token(f"repository:{repository}:pull,push") for each in (signer, other))
    image = signer.image(repository, "v1", b"signed")
    policy = {"keys": [{"name": "release", "pem": key.public_pem.decode()}], "rules": [{"signed_by": ["release"]}]}
    registry.admin.ok("PUT", f"/api/v1/projects/{project}/policy", policy)

    def sign() -> None:
        _sign(signer, repository, image, make_bundle(Digest(image), key), early=False)

    if first == "the true one":
        sign()
    false = make_bundle(Digest(image), PrivateKey.generate())
    for number in range(MOST_SIGNATURES + 1):
        _sign(other, repository, image, false, early=True, note=number)
    answer = reader("GET", f"/v2/{repository}/manifests/v1")
    assert answer.status == (200 if first == "the true one" else 403)
    if first == "the false ones":
        assert "is not signed by release" in answer.message
        sign()
    reader.ok("GET", f"/v2/{repository}/manifests/v1")
    shown = reader.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/{image}/signatures").json()["signatures"]
    assert len(shown) == MOST_SIGNATURES
    assert [each["trusted"] for each in shown if each.get("trusted")] == [["release"]]
