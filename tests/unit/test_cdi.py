"""Vendors' device descriptions (CDI): which file counts, and what becomes of a configuration."""

import json
from pathlib import Path

import pytest

from onggi.errors import InvalidParameter, System
from onggi.oci import spec as oci
from onggi.runtime import cdi

SPEC = oci.Spec(
    oci_version="1.2.0",
    process=oci.Process(cwd="/", args=("sh",), env=("PATH=/bin", "A=old")),
    mounts=(oci.Mount("/proc", "proc"), oci.Mount("/a/b", "tmpfs")),
    linux=oci.Linux(devices=(oci.Device("c", "/dev/x", 1, 3),)),
)


def described(directory: Path, file: str, *devices: str, kind: str = "v.org/c", mark: str = "") -> None:
    directory.mkdir(exist_ok=True)
    edits = {"env": [f"MARK={mark or directory.name}"]}
    document = {
        "cdiVersion": "0.6.0",
        "kind": kind,
        "devices": [{"name": name, "containerEdits": edits} for name in devices],
    }
    (directory / file).write_text(json.dumps(document))


def test_the_later_directory_goes_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    described(first, "a.json", "one", "two")
    described(second, "a.json", "one")
    registry = cdi.read([str(first), str(second), str(tmp_path / "none")])
    assert registry.names() == ["v.org/c=one", "v.org/c=two"]
    assert [edit.env for edit in registry.edits(["v.org/c=one"])][-1] == ("MARK=second",)


def test_two_files_of_one_directory_cancel_each_other_out(tmp_path: Path) -> None:
    described(tmp_path / "d", "a.json", "one", "two")
    described(tmp_path / "d", "b.json", "one")
    registry = cdi.read([str(tmp_path / "d")])
    assert registry.names() == ["v.org/c=two"]
    assert len(registry.errors) == 1
    with pytest.raises(System, match=r"^CDI device injection failed: unresolvable CDI devices v.org/c=one, x=y$"):
        registry.edits(["v.org/c=one", "v.org/c=two", "x=y"])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cdiVersion":"1","kind":"nokind","devices":[]}',
             '{"cdiVersion":"1","kind":"v/c","devices":[{"name":"../x"}]}'],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    (tmp_path / "bad.yaml").write_text("a: [")
    registry = cdi.read([str(tmp_path)])
    assert registry.names() == []
    assert len(registry.errors) == 2


def test_what_the_edits_do() -> None:
    edits = cdi.Edits(
        env=("A=new", "B=1"),
        device_nodes=(
            cdi.DeviceNode("/dev/x", host_path="/dev/zero"),
            cdi.DeviceNode("/dev/y", type="b", major=9, minor=8),
        ),
        mounts=(cdi.CdiMount("/host", "/a"),),
        hooks=(cdi.CdiHook("createContainer", "/bin/hook", ("hook",)),),
        additional_gids=(0, 5),
    )
    found = cdi.apply(SPEC, [edits])
    assert found.process is not None
    assert found.process.env == ("PATH=/bin", "A=new", "B=1")
    assert found.process.user.additional_groups == ("5",)
    assert found.linux is not None
    assert [(node.path, node.type, node.major, node.minor) for node in found.linux.devices] == [
        ("/dev/x", "c", 1, 5), ("/dev/y", "b", 9, 8),
    ]  # fmt: skip
    assert found.linux.resources is not None
    assert [rule.access for rule in found.linux.resources.devices] == ["rwm", "rwm"]
    assert [mount.destination for mount in found.mounts] == ["/proc", "/a", "/a/b"], "what lies deeper comes later"
    assert found.mounts[1].options == ("bind",)
    assert found.hooks == oci.Hooks(create_container=(oci.Hook("/bin/hook", ("hook",)),))


def test_edits_that_are_not_offered() -> None:
    for edits in (cdi.Edits(intel_rdt={"closID": "x"}), cdi.Edits(hooks=(cdi.CdiHook("never", "/x"),))):
        with pytest.raises(InvalidParameter):
            cdi.apply(SPEC, [edits])
