"""An index with all that it lists goes in and out as it came: every platform, attestations too. Verified by skopeo."""

import json
import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.conformance.test_round_trips import ACCEPTED, Workplace, guarded, place
from tests.http import Api
from tests.peers import peer_run
from tests.registry import INDEX, Uploader, digest_of

__all__ = ["guarded", "place"]


def top(place: Workplace, name: str) -> bytes:
    """The document that a registry has under a name."""
    repository = name.split("/", 1)[1].rpartition(":")[0]
    with Uploader(place.opened, repository) as ask:
        status, _, content = ask.request("GET", f"/v2/{repository}/manifests/1", None, {"Accept": ACCEPTED})
    assert status == 200, content
    return content


def stored(place: Workplace, index: bytes) -> list[bool]:
    """Of each manifest, configuration and layer of an index: is it in the engine's store?"""
    blobs = place.engine.data_root / "content/blobs/sha256"
    return [(blobs / digest.removeprefix("sha256:")).exists() for digest in listed(place, index)]


def listed(place: Workplace, index: bytes) -> Sequence[str]:
    repository = place.name.split("/", 1)[1].rpartition(":")[0]
    digests = [digest_of(index)]
    with Uploader(place.opened, repository) as ask:
        for entry in json.loads(index)["manifests"]:
            path = f"/v2/{repository}/manifests/{entry['digest']}"
            status, _, content = ask.request("GET", path, None, {"Accept": ACCEPTED})
            assert status == 200
            document = json.loads(content)
            digests += [entry["digest"], document["config"]["digest"], *(one["digest"] for one in document["layers"])]
    return digests


def whole_at(place: Workplace, name: str) -> bytes:
    """A registry's index, after skopeo has copied, and so verified, all of it."""
    peer_run("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
             f"docker://{name}", f"dir:{place.inside}/{name.rpartition('/')[2].replace(':', '-')}")  # fmt: skip
    return top(place, name)


def push(place: Workplace) -> str:
    name = place.another(place.opened, "out")
    place.engine.docker("tag", place.name, name, check=True)
    said = place.engine.docker("push", name, check=True).stdout
    assert f"digest: {digest_of(top(place, name))}" in said
    return name


def by_pull(place: Workplace) -> None:
    place.engine.onggi("pull", "--platform", "all", place.name, check=True)


def by_stock_pull(place: Workplace) -> None:
    place.engine.docker("pull", "--platform", "all", place.name, check=True)


def by_layout(place: Workplace) -> None:
    peer_run("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
             f"docker://{place.name}", f"oci:{place.inside}/layout:{place.name}")  # fmt: skip
    subprocess.run(["tar", "-cf", "a.tar", "-C", "layout", "."], cwd=place.directory, check=True)
    assert place.name in place.engine.onggi("load", "-i", str(place.directory / "a.tar"), check=True).stdout


@pytest.mark.parametrize(
    ("bring", "kind"),
    [(by_pull, "index"), (by_stock_pull, "schema 2 list"), (by_layout, "index")],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_an_index_goes_through_whole(place: Workplace, bring: Callable[[Workplace], None], kind: str) -> None:
    place.stock(kind)
    source = top(place, place.name)
    bring(place)
    api = Api(place.engine.socket)
    shown = next(
        entry for entry in api.ok("GET", "/images/json", manifests=1).json() if place.name in entry["RepoTags"]
    )
    assert [(entry["ID"], entry["Available"]) for entry in shown["Manifests"]] == [
        (entry["digest"], True) for entry in json.loads(source)["manifests"]
    ]
    assert place.engine.onggi("run", "--rm", place.name, "true").returncode == 0
    assert whole_at(place, push(place)) == source
    # The second time there is nothing to send, and nothing else comes of it.
    assert whole_at(place, push(place)) == source
    assert all(stored(place, source))
    place.engine.docker("rmi", "-f", *place.names, check=True)
    assert not any(stored(place, source))


def test_the_platform_s_image_alone_is_as_ever(place: Workplace) -> None:
    place.stock("index")
    source = json.loads(top(place, place.name))
    place.engine.onggi("pull", place.name, check=True)
    pushed = json.loads(top(place, push(place)))
    assert "manifests" not in pushed
    # More of it comes when it is asked for, and goes out whole; one platform of it when that is asked for.
    by_pull(place)
    assert json.loads(whole_at(place, push(place))) == source
    name = place.another(place.opened, "one")
    place.engine.docker("tag", place.name, name, check=True)
    place.engine.docker("push", "--platform", "linux/amd64", name, check=True)
    assert json.loads(top(place, name)) == pushed


def test_what_has_gone_of_an_index_is_told_and_mended(place: Workplace) -> None:
    place.stock("index")
    source = top(place, place.name)
    by_pull(place)
    foreign = listed(place, source)[2].removeprefix("sha256:")  # the configuration of another platform's image
    blob = place.engine.data_root / "content/blobs/sha256" / foreign
    blob.unlink()
    name = place.another(place.opened, "part")
    place.engine.docker("tag", place.name, name, check=True)
    said = place.engine.docker("push", name)
    assert said.returncode == 0
    assert "Not all multiplatform-content is present" in said.stdout + said.stderr
    assert "manifests" not in json.loads(top(place, name))
    assert place.engine.onggi("image", "verify", place.name).returncode == 1
    place.engine.onggi("image", "verify", "--repair", place.name, check=True)
    assert whole_at(place, push(place)) == source


def test_an_archive_that_holds_one_platform_of_an_index_gives_that(place: Workplace) -> None:
    place.stock("index")
    source = json.loads(top(place, place.name))
    peer_run("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
             f"docker://{place.name}", f"oci:{place.inside}/layout:{place.name}")  # fmt: skip
    foreign = next(entry for entry in source["manifests"] if entry["platform"]["architecture"] == "s390x")
    (place.directory / "layout/blobs/sha256" / foreign["digest"].removeprefix("sha256:")).unlink()
    subprocess.run(["tar", "-cf", "a.tar", "-C", "layout", "."], cwd=place.directory, check=True)
    place.engine.onggi("load", "-i", str(place.directory / "a.tar"), check=True)
    assert "manifests" not in json.loads(top(place, push(place)))


def test_an_index_of_what_is_no_manifest_is_refused_whole(place: Workplace) -> None:
    place.stock("index")
    repository = place.name.split("/", 1)[1].rpartition(":")[0]
    index = json.loads(top(place, place.name))
    odd = b"odd"
    with Uploader(place.opened, repository) as upload:
        index["manifests"].append({
            "mediaType": "application/vnd.example.odd", "digest": upload.blob(odd), "size": len(odd),
            "platform": {"os": "odd", "architecture": "odd"},
        })  # fmt: skip
        upload.manifest("1", json.dumps(index).encode(), INDEX)
    refused = place.engine.onggi("pull", "--platform", "all", place.name)
    assert refused.returncode == 1
    assert "is no manifest: it can't be kept whole" in refused.stderr
    assert place.engine.onggi("image", "inspect", place.name).returncode == 1
    place.engine.onggi("pull", place.name, check=True)


def test_an_index_that_does_not_say_what_it_is(place: Workplace) -> None:
    """The media type is optional in an OCI index: then the registry's word is all there is."""
    place.stock("index")
    repository = place.name.split("/", 1)[1].rpartition(":")[0]
    index = json.loads(top(place, place.name))
    del index["mediaType"]
    with Uploader(place.opened, repository) as upload:
        upload.manifest("1", json.dumps(index).encode(), INDEX)
    source = top(place, place.name)
    assert b'"mediaType": "application/vnd.oci.image.index' not in source
    by_pull(place)
    assert whole_at(place, push(place)) == source
