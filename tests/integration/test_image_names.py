"""Images without an engine: names and removal."""

import os
from pathlib import Path

import pytest

from onggi.errors import Conflict
from onggi.images.image import NoSuchImage
from onggi.images.removal import ContainerUse, Removed
from onggi.oci.reference import Reference
from tests.image_store import Store, shown, with_store
from tests.images import BASE, TOP, archive


def test_images_are_found_by_name_and_by_the_start_of_their_id(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE, names=("img:latest",)))
        image = store.images.get("img")
        for name in ("img:latest", "docker.io/library/img", image.id, image.id.hex, image.id.short, f"sha256:{image.id.hex[:5]}",
                     f"img@{image.id}"):  # fmt: skip
            assert store.images.get(name).id == image.id
        for name, sentence in {"other": "other:latest", "img:2": "img:2", "sha256:" + "0" * 64: "sha256:" + "0" * 64,
                               "0123": "0123:latest"}.items():  # fmt: skip
            with pytest.raises(NoSuchImage) as refused:
                store.images.get(name)
            assert str(refused.value) == f"No such image: {sentence}"

    with_store(tmp_path / "data", work)


def test_removal_by_name_and_id_answers_as_docker(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE, names=("one:1", "two:1")))
        await store.load(archive(tmp_path, BASE, TOP, names=("top:1",)))
        one, top = store.images.get("one:1"), store.images.get("top:1")
        assert (await store.images.remove("one:1")).records == [Removed(untagged="one:1")]
        await store.images.tag("two:1", Reference.parse("again:1"))
        with pytest.raises(Conflict) as refused:
            await store.images.remove(one.id.short)
        assert str(refused.value) == (
            f"conflict: unable to delete {one.id.short} (must be forced) - image is referenced in multiple repositories"
        )
        removal = await store.images.remove(one.id.short, force=True)
        # Its layer stays: another image has it.
        assert removal.records == [Removed(untagged="again:1"), Removed(untagged="two:1"), Removed(deleted=one.id)]
        assert len(await store.settled()) == 2
        records = (await store.images.remove("top:1")).records
        assert records[:2] == [Removed(untagged="top:1"), Removed(deleted=top.id)]
        assert len(records) == 4
        assert await store.settled() == set()
        assert store.blobs() == set()

    with_store(tmp_path / "data", work)


@pytest.mark.parametrize(
    ("running", "force", "by_name", "sentence"),
    [
        (True, False, True, 'conflict: unable to remove repository reference "img:1" (must force) - container cccccccccccc is '
                            "using its referenced image {id}"),
        (True, True, False, "conflict: unable to delete {id} (cannot be forced) - image is being used by running container "
                            "cccccccccccc"),
        (False, False, False, "conflict: unable to delete {id} (must be forced) - image is being used by stopped container "
                              "cccccccccccc"),
        (False, True, False, ""),
        (True, True, True, ""),
    ],
)  # fmt: skip
def test_an_image_with_containers_is_kept(
    running: bool, force: bool, by_name: bool, sentence: str, tmp_path: Path
) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        image = store.images.get("img:1")
        store.uses[image.id] = [ContainerUse("c" * 64, running)]
        root = await store.images.snapshots.prepare("c" * 64, image)
        work = store.images.remove("img:1" if by_name else image.id, force=force)
        if sentence:
            with pytest.raises(Conflict) as refused:
                await work
            assert str(refused.value) == sentence.format(id=image.id.short)
        else:
            records = (await work).records
            # A running container's image only loses its name.
            assert records[0] == Removed(untagged="img:1")
            assert (store.images.by_id(image.id) is not None) == running
        await store.settled()
        with shown(root) as top:
            assert (top / "etc/a").read_text() == "lower a"
        await store.images.snapshots.remove("c" * 64)

    with_store(tmp_path / "data", work)


def test_a_container_of_an_image_that_has_just_gone_is_refused(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        image = store.images.get("img:1")
        await store.images.remove("img:1")
        with pytest.raises(NoSuchImage):
            await store.images.snapshots.prepare("aa" * 32, image)
        assert os.listdir(store.root / "snapshots") == []

    with_store(tmp_path / "data", work)
