"""The collector against pushes: many random interleavings of their transactions, none of which loses anything.

Pushers and collector are cut into the steps between which anything else may happen: each transaction, each change of the
disk, is one. hypothesis draws the order. All ages are nothing, so the collector takes all it may.
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onggi.content.object_directory import ObjectDirectory
from onggi.content.objects import ObjectUnknown
from onggi.oci.digest import Digest
from onggi.registry import blobs, database, garbage, manifests, projects, repositories, tags
from onggi.registry.permissions import ANONYMOUS
from onggi.registry.refusals import BlobNotHere, ManifestUnknown, ReferencesUnknown, UploadUnknown
from tests.registry_database import Memory

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
NONE = timedelta(seconds=-1)
"""An age that everything has."""
CONTENTS = [b"{}", b"first layer", b"second layer"]
Steps = Generator[None, None, None]


class World:
    """A registry's stores, and what it has acknowledged."""

    def __init__(self, root: Path) -> None:
        self.db = Memory()
        self.objects = ObjectDirectory(root)
        self.db.write(lambda connection: projects.create(connection, "team", public=True))
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Tag → (repository, manifest's digest), as the last push of it was answered."""

    def push_blob(self, repository: str, content: bytes) -> Steps:
        """One client's upload. Ends early where a real one would get 404, and begin again."""
        digest = Digest.of(content)
        upload = self.db.write(lambda connection: blobs.begin(connection, repository, ANONYMOUS))
        # One step: bytes are deleted READERS_AGE after their upload was given up, so not before they are begun.
        self.objects.begin(upload.key)
        yield
        try:
            with self.objects.upload(upload.key) as writer:
                writer.write(content)
            yield
            with self.objects.upload(upload.key) as writer:
                writer.commit()
            yield
            self.db.write(lambda connection: blobs.adopt(connection, upload, digest, len(content)))
        except (ObjectUnknown, UploadUnknown):
            pass  # it was given up for its age: the client is told so

    def push_image(self, repository: str, tag: str, layer: bytes) -> Steps:
        for content in (CONTENTS[0], layer):
            yield from self.push_blob(repository, content)
            yield
        document = manifests.read_document(json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(CONTENTS[0]), "size": 2},
            "layers": [{"mediaType": "application/octet-stream", "digest": Digest.of(layer), "size": len(layer)}],
        }).encode(), MANIFEST, None)  # fmt: skip

        def store(connection: database.Connection) -> None:
            repository_id = repositories.find_or_make(connection, repository)
            manifests.store(connection, repository_id, document, "someone")
            tags.point(connection, repository_id, tag, document.digest, "someone")

        try:
            self.db.write(store)
        except ReferencesUnknown:
            return  # refused, and so not acknowledged
        self.acknowledged[tag] = (repository, document.digest)

    def mount(self, source: str, repository: str, content: bytes) -> Steps:
        yield
        self.db.write(lambda connection: blobs.mount(connection, repository, source, Digest.of(content)))

    def delete(self, tag: str) -> Steps:
        yield
        if tag in self.acknowledged:
            repository, digest = self.acknowledged[tag]

            def forget(connection: database.Connection) -> list[str]:
                return manifests.delete(connection, repositories.find(connection, repository)["id"], digest, "someone")

            try:
                gone = self.db.write(forget)
            except ManifestUnknown:
                return
            for name in gone:
                del self.acknowledged[name]

    def collect(self) -> Steps:
        for step in (
            lambda connection: garbage.expire_uploads(connection, NONE),
            lambda connection: garbage.purge_manifests(connection, NONE),
            lambda connection: garbage.unlink(connection, NONE),
            garbage.forget_blobs,
        ):
            self.db.write(step)
            yield
        keys = self.db.write(lambda connection: garbage.old_garbage(connection, NONE))
        yield
        for key in keys:
            self.objects.delete(key)
            yield
        self.db.write(lambda connection: garbage.forget_keys(connection, keys))

    def check(self) -> None:
        """All that was acknowledged can be pulled, byte for byte."""
        for tag, (repository, digest) in self.acknowledged.items():
            found = self.db.write(partial(manifests.find, repository=repository, reference=tag))
            assert found.digest == digest
            document = json.loads(found.content)
            for part in (document["config"], *document["layers"]):
                blob = self.db.write(partial(blobs.find, repository=repository, digest=Digest(part["digest"])))
                with self.objects.open(blob.key) as file:
                    assert hashlib.sha256(file.read()).hexdigest() == blob.digest.hex


ACTORS = st.one_of(
    st.tuples(
        st.just("push"), st.sampled_from(["team/a", "team/b"]), st.sampled_from("xyz"), st.sampled_from(CONTENTS[1:])
    ),
    st.tuples(st.just("mount"), st.just("team/a"), st.just("team/b"), st.sampled_from(CONTENTS)),
    st.tuples(st.just("delete"), st.sampled_from("xyz")),
    st.tuples(st.just("collect")),
)


def actor(world: World, drawn: tuple[object, ...]) -> Steps:
    make: dict[object, Callable[..., Steps]] = {
        "push": world.push_image, "mount": world.mount, "delete": world.delete, "collect": world.collect,
    }  # fmt: skip
    return make[drawn[0]](*drawn[1:])


@settings(
    max_examples=2000 if WHOLE else 100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=st.lists(ACTORS, min_size=2, max_size=7), order=st.lists(st.integers(0, 6), max_size=80))
def test_nothing_acknowledged_is_lost(tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[object, ...]],
                                      order: list[int]) -> None:  # fmt: skip
    world = World(tmp_path_factory.mktemp("objects"))
    # A collector always runs, and every actor comes to its end.
    running = [actor(world, one) for one in [*drawn, ("collect",)]]
    for turn in [*order, *(number for number in range(len(running)) for _ in range(100))]:
        try:
            next(running[turn % len(running)])
        except StopIteration:
            pass
        world.check()
    # At rest two runs leave nothing but what is named.
    for _ in range(2):
        for _step in world.collect():
            pass
    world.check()
    kept = {
        row["key"] for row in world.db.write(lambda connection: connection.execute("SELECT key FROM blobs").fetchall())
    }
    assert set(world.objects.walk()) == kept


def test_what_no_manifest_names_goes_and_what_one_names_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    for steps in (world.push_image("team/a", "x", CONTENTS[1]), world.push_blob("team/a", CONTENTS[2])):
        for _ in steps:
            pass
    assert len([*world.objects.walk()]) == 3
    for _ in world.collect():
        pass
    assert len([*world.objects.walk()]) == 2
    world.check()
    with pytest.raises(BlobNotHere):
        world.db.write(lambda connection: blobs.find(connection, "team/a", Digest.of(CONTENTS[2])))


def test_what_a_client_has_just_asked_for_stays(tmp_path: Path) -> None:
    """A client that learned by HEAD that it need not push a blob has as much time as one that has just pushed it."""
    world = World(tmp_path)
    for _ in world.push_blob("team/a", CONTENTS[1]):
        pass
    digest = Digest.of(CONTENTS[1])
    world.db.write(lambda connection: connection.execute("UPDATE repository_blobs SET linked_at = '2020'"))
    assert world.db.write(lambda connection: blobs.needs_touch(connection, "team/a", digest))
    world.db.write(lambda connection: blobs.touch(connection, "team/a", digest))
    assert world.db.write(lambda connection: garbage.unlink(connection, timedelta(hours=1))) == 0
    assert not world.db.write(lambda connection: blobs.needs_touch(connection, "team/a", digest))
