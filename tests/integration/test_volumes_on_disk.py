"""Volumes on a real file system, without an engine: directories, devices, subpaths, copy-up, kill -9."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onggi.errors import InvalidParameter, NotFound, System
from onggi.linux import mount
from onggi.linux.fd import Fd
from onggi.oci.root import OverlayRoot
from onggi.state.database import Database
from onggi.volumes import store
from onggi.volumes.mount_point import DriverConfig, MountPoint, MountRequest, VolumeOptions
from onggi.volumes.volume import CreateVolume, VolumeInUse
from onggi.volumes.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for mounts and owners")


class Events(list[tuple[str, str]]):
    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        self.append((action, actor))


@asynccontextmanager
async def opened(root: Path, events: Events | None = None) -> AsyncIterator[Volumes]:
    publish = (events if events is not None else Events()).publish
    async with Database(root / "state.db") as database:
        async with Volumes(root / "volumes", database, publish) as volumes:
            yield volumes


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


def image_root(root: Path) -> OverlayRoot:
    """Two layers with a directory /data of a certain look, and a link /link that wants to lead out."""
    (root / "low/data/sub").mkdir(parents=True)
    (root / "low/data/one").write_text("one")
    (root / "low/data/sub/gone").write_text("hidden by the upper layer")
    (root / "high/data").mkdir(parents=True)
    (root / "high/data/two").write_text("two")
    os.chown(root / "high/data/two", 1000, 1001)
    (root / "high/data").chmod(0o1770)
    os.chown(root / "high/data", 33, 33)
    (root / "high/data/sub").mkdir()
    os.mknod(root / "high/data/sub/gone", stat.S_IFCHR, 0)
    (root / "high/link").symlink_to("../../../../../.." + str(root / "secret"))
    (root / "secret").mkdir()
    (root / "secret/token").write_text("token")
    for name in ("upper", "work"):
        (root / name).mkdir()
    return OverlayRoot((str(root / "high"), str(root / "low")), str(root / "upper"), str(root / "work"))


def data(root: Path, name: str) -> Path:
    return root / "volumes" / name / "_data"


def test_a_volume_is_made_used_and_removed(tmp_path: Path) -> None:
    async def body() -> None:
        events = Events()
        async with opened(tmp_path, events) as volumes:
            made = await volumes.create(CreateVolume("db", labels={"a": "b"}))
            assert (await volumes.create(CreateVolume("db"))).created_at == made.created_at
            assert volumes.summary(made) == {
                "CreatedAt": made.created_at,
                "Driver": "local",
                "Labels": {"a": "b"},
                "Mountpoint": str(data(tmp_path, "db")),
                "Name": "db",
                "Options": None,
                "Scope": "local",
            }
            (point, bind) = await volumes.resolve("c1", binds=["db:/x:ro", f"{tmp_path}/made:/y"])
            assert (point.source, point.rw, point.mode) == (str(data(tmp_path, "db")), False, "ro")
            with pytest.raises(VolumeInUse) as refused:
                await volumes.remove("db")
            assert str(refused.value) == "remove db: volume is in use - [c1]"
            ready = await volumes.mount("c1", [point, bind])
            assert list(ready) == [point, bind]
            assert (tmp_path / "made").is_dir()
            await volumes.unmount("c1")
            await volumes.forget("c1", remove_anonymous=True)
            (data(tmp_path, "db") / "file").write_text("x")
            await volumes.remove("db")
            with pytest.raises(NotFound, match=r"^get db: no such volume$"):
                await volumes.remove("db")
            await volumes.remove("db", force=True)
        assert os.listdir(tmp_path / "volumes") == []
        assert events == [("create", "db"), ("mount", "db"), ("unmount", "db"), ("destroy", "db")]

    run(body())


def test_anonymous_volumes_go_though_the_engine_dies_between(tmp_path: Path) -> None:
    """`rm -v` that is killed after it was decided, and before it is done."""

    async def body() -> None:
        async with Database(tmp_path / "state.db") as database:
            async with Volumes(tmp_path / "volumes", database, Events().publish) as volumes:
                (ours,) = await volumes.resolve("c1", declared=["/data"])
                (shared,) = await volumes.resolve("c2", declared=["/data"])
                await volumes.resolve("c3", inherited=[([shared], "")])
                (again,) = await volumes.resolve("c4", declared=["/data"])
                for container in ("c1", "c2", "c4"):
                    await database.write(lambda connection, container=container: volumes.doom(connection, container))  # type: ignore[misc]
                await volumes.resolve("c5", binds=[f"{again.name}:/x"])  # somebody wants it after all
            async with Volumes(tmp_path / "volumes", database, Events().publish) as volumes:
                await volumes.reconcile({})
                for container in ("c1", "c2", "c4"):
                    await volumes.forget(container, remove_anonymous=False)  # what reconciling knows of a removal
                assert {volume.name for volume in volumes.list()} == {shared.name, again.name}
                assert ours.name not in os.listdir(tmp_path / "volumes")

    run(body())


def test_a_volume_that_was_being_removed_leaves_nothing_to_the_next_of_its_name(tmp_path: Path) -> None:
    """An engine that is killed once the removal is decided; and a container that is made while it goes on."""

    async def body() -> None:
        async with Database(tmp_path / "state.db") as database:
            async with Volumes(tmp_path / "volumes", database, Events().publish) as volumes:
                for name in ("killed", "stuck", "wanted"):
                    await volumes.create(CreateVolume(name=name))
                    (data(tmp_path, name) / "secret").write_text("of the old one")
                removing = asyncio.ensure_future(volumes.remove("wanted"))
                while "wanted" in os.listdir(tmp_path / "volumes"):  # noqa: ASYNC110  # a directory tells nobody
                    await asyncio.sleep(0)
                await volumes.resolve("c1", binds=["wanted:/x"])
                await removing
                assert os.listdir(data(tmp_path, "wanted")) == []
                await database.write(lambda connection: store.doom_one(connection, "killed"))
                await database.write(lambda connection: store.doom_one(connection, "stuck"))
            with mount.new("tmpfs", []) as made, Fd(os.open(tmp_path / "volumes/stuck", os.O_PATH)) as onto:
                mount.move_mount(made, onto)  # a directory that can't be moved out of the way
            try:
                async with Volumes(tmp_path / "volumes", database, Events().publish) as volumes:
                    await volumes.reconcile({})
                    assert {volume.name for volume in volumes.list()} == {"stuck", "wanted"}
                    await volumes.create(CreateVolume(name="killed"))
                    assert os.listdir(data(tmp_path, "killed")) == []
            finally:
                mount.unmount(str(tmp_path / "volumes/stuck"))

    run(body())


def test_anonymous_volumes_go_with_their_container_only(tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(tmp_path) as volumes:
            (first,) = await volumes.resolve("c1", declared=["/data/"])
            assert first.anonymous
            assert len(first.name) == 64
            (inherited,) = await volumes.resolve("c2", inherited=[((first,), "ro")])
            assert (inherited.name, inherited.rw, inherited.anonymous) == (first.name, False, False)
            await volumes.forget("c1", remove_anonymous=True)
            assert [volume.name for volume in volumes.list()] == [first.name]
            await volumes.forget("c2", remove_anonymous=False)
            gone, freed = await volumes.prune(lambda volume: volume.anonymous)
            assert gone == [first.name]
            assert freed >= 0
            with pytest.raises(InvalidParameter, match=r"^invalid mode: zz$"):
                await volumes.resolve("c3", inherited=[((first,), "zz")])

    run(body())


def test_what_is_mounted_twice_or_nowhere_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(tmp_path) as volumes:
            with pytest.raises(InvalidParameter, match=r"^Duplicate mount point: /x$"):
                await volumes.resolve("c1", binds=["/tmp:/x"], tmpfs={"/x": ""})
            with pytest.raises(InvalidParameter, match=r"bind source path does not exist: /nope/x$"):
                await volumes.resolve("c1", mounts=[MountRequest("bind", "/nope/x", "/x")])
            with pytest.raises(InvalidParameter, match="destination can't be '/'"):
                await volumes.resolve("c1", declared=["/data/.."])
            assert volumes.list() == []
            # What a user mounts stands in place of what the image declares.
            (point,) = await volumes.resolve("c1", binds=["/tmp:/data"], declared=["/data"])
            assert point.type == "bind"

    run(body())


def test_an_empty_volume_is_filled_from_the_image(tmp_path: Path) -> None:
    async def body() -> None:
        root = image_root(tmp_path)
        async with opened(tmp_path) as volumes:
            points = await volumes.resolve("c1", binds=["filled:/data", "kept:/data2", "none:/x:nocopy"])
            await volumes.populate("c1", points, root)
            filled = data(tmp_path, "filled")
            assert sorted(os.listdir(filled)) == ["one", "sub", "two"]
            assert os.listdir(filled / "sub") == []
            assert (filled / "one").read_text() == "one"
            assert ((filled / "two").stat().st_uid, (filled / "two").stat().st_gid) == (1000, 1001)
            assert (filled.stat().st_uid, stat.S_IMODE(filled.stat().st_mode)) == (33, 0o1770)
            # A second time nothing is touched.
            (filled / "one").write_text("changed")
            await volumes.populate("c1", points, root)
            assert (filled / "one").read_text() == "changed"

    run(body())


def test_copy_up_never_reads_outside_the_image(tmp_path: Path) -> None:
    async def body() -> None:
        root = image_root(tmp_path)
        async with opened(tmp_path) as volumes:
            points = await volumes.resolve("c1", binds=["out:/link"])
            await volumes.populate("c1", points, root)
            assert os.listdir(data(tmp_path, "out")) == []

    run(body())


def test_a_volume_half_filled_by_a_killed_engine_is_filled_anew(tmp_path: Path) -> None:
    async def body() -> None:
        root = image_root(tmp_path)
        async with opened(tmp_path) as volumes:
            points = await volumes.resolve("c1", binds=["filled:/data"])
            half = data(tmp_path, "filled").with_name("_filling")
            half.mkdir()
            (half / "rest").write_text("of another time")
            await volumes.populate("c1", points, root)
            assert sorted(os.listdir(data(tmp_path, "filled"))) == ["one", "sub", "two"]
            assert not half.exists()

    run(body())


def mounted_at(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def test_a_device_is_mounted_while_a_container_runs(tmp_path: Path) -> None:
    async def body() -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,noexec"}
        async with opened(tmp_path) as volumes:
            await volumes.create(CreateVolume("fast", driver_opts=options))
            points = await volumes.resolve("c1", binds=["fast:/x"])
            await volumes.resolve("c2", binds=["fast:/x"])
            await volumes.mount("c1", points)
            await volumes.mount("c2", points)
            where = data(tmp_path, "fast")
            assert mounted_at(where)
            assert where.stat().st_uid == 1000
            assert os.statvfs(where).f_flag & os.ST_NOEXEC
            await volumes.unmount("c1")
            assert mounted_at(where)
        # An engine that comes back knows who still runs.
        async with opened(tmp_path) as volumes:
            await volumes.reconcile({"c2": points})
            assert mounted_at(where)
            await volumes.unmount("c2")
            assert not mounted_at(where)
            await volumes.create(CreateVolume("nofs", driver_opts={"type": "nosuchfs", "device": "x"}))
            broken = await volumes.resolve("c3", binds=["nofs:/x"])
            with pytest.raises(System, match=r"failed to mount local volume: mount x:.*No such device"):
                await volumes.mount("c3", broken)

    run(body())


def test_a_part_of_a_volume_is_mounted_and_no_link_leads_out(tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(tmp_path) as volumes:
            request = MountRequest("volume", "db", "/x", volume_options=VolumeOptions(subpath="a/b"))
            points = await volumes.resolve("c1", mounts=[request])
            with pytest.raises(InvalidParameter, match="cannot access path"):
                await volumes.mount("c1", points)
            (data(tmp_path, "db") / "a/b").mkdir(parents=True)
            (data(tmp_path, "db") / "a/b/file").write_text("x")
            (point,) = await volumes.mount("c1", points)
            assert os.listdir(point.source) == ["file"]
            assert mounted_at(Path(point.source))
            await volumes.unmount("c1")
            assert not mounted_at(Path(point.source))
            assert not Path(point.source).parent.exists()

            (data(tmp_path, "db") / "a/b/file").unlink()
            (data(tmp_path, "db") / "a/b").rmdir()
            (data(tmp_path, "db") / "a/b").symlink_to("/etc")
            with pytest.raises(InvalidParameter, match="cannot access path"):
                await volumes.mount("c1", points)
            await volumes.unmount("c1")

    run(body())


def test_subpaths_of_a_killed_engine_are_cleared(tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(tmp_path) as volumes:
            request = MountRequest("volume", "db", "/x", volume_options=VolumeOptions(subpath="a"))
            points = await volumes.resolve("c1", mounts=[request])
            (data(tmp_path, "db") / "a").mkdir()
            (point,) = await volumes.mount("c1", points)
        async with opened(tmp_path) as volumes:
            await volumes.reconcile({})
            assert not mounted_at(Path(point.source))
            assert not Path(point.source).parent.exists()

    run(body())


def test_a_mount_inside_a_removed_volume_survives(tmp_path: Path) -> None:
    async def body() -> None:
        canary = tmp_path / "canary"
        canary.mkdir()
        (canary / "alive").write_text("alive")
        async with opened(tmp_path) as volumes:
            await volumes.create(CreateVolume("db"))
            inner = data(tmp_path, "db") / "inner"
            inner.mkdir()
            with Fd(os.open(canary, os.O_PATH)) as source, Fd(os.open(inner, os.O_PATH)) as onto:
                with mount.open_tree(source) as tree:
                    mount.move_mount(tree, onto)
            await volumes.remove("db")
            assert volumes.list() == []
        (aside,) = (tmp_path / "volumes").iterdir()
        assert (canary / "alive").exists()
        mount.unmount(str(aside / "_data/inner"))
        async with opened(tmp_path):
            pass
        assert os.listdir(tmp_path / "volumes") == []
        assert (canary / "alive").exists()

    run(body())


@pytest.mark.parametrize(
    ("request_", "kind", "sentence"),
    [
        (
            CreateVolume("a/b"),
            InvalidParameter,
            'create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path",
        ),
        (
            CreateVolume("q"),
            InvalidParameter,
            "create q: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            CreateVolume("qq", driver="nope"),
            NotFound,
            'create qq: error looking up volume plugin nope: plugin "nope" not found',
        ),
        (CreateVolume("qq", driver_opts={"foo": "bar"}), InvalidParameter, 'create qq: invalid option: "foo"'),
        (
            CreateVolume("qq", driver_opts={"type": "tmpfs"}),
            InvalidParameter,
            'create qq: missing required option: "device"',
        ),
    ],
)
def test_refusals_of_volumes(tmp_path: Path, request_: CreateVolume, kind: type[Exception], sentence: str) -> None:
    async def body() -> None:
        async with opened(tmp_path) as volumes:
            with pytest.raises(kind) as refused:
                await volumes.create(request_)
            assert str(refused.value) == sentence
            assert volumes.list() == []

    run(body())


def test_volume_options_of_a_mount_make_the_volume(tmp_path: Path) -> None:
    async def body() -> None:
        options = VolumeOptions(
            labels={"a": "b"}, driver_config=DriverConfig("local", {"type": "tmpfs", "device": "tmpfs"})
        )
        async with opened(tmp_path) as volumes:
            points: tuple[MountPoint, ...] = await volumes.resolve(
                "c1", mounts=[MountRequest("volume", "made", "/x", volume_options=options)]
            )
            assert points[0].name == "made"
            assert volumes.get("made").options == {"type": "tmpfs", "device": "tmpfs"}
            assert volumes.get("made").labels == {"a": "b"}

    run(body())
