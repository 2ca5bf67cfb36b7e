"""Devices by their vendor's description (CDI): `--device vendor.com/class=name`, `--gpus`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine, census

SPEC = """
cdiVersion: "0.6.0"
kind: pottery.example/kiln
containerEdits:
  env: [KILN=warm]
devices:
  - name: small
    containerEdits:
      env: [SIZE=small]
      additionalGids: [77]
      deviceNodes:
        - {path: /dev/kiln, hostPath: /dev/zero}
        - {path: /dev/chimney, type: c, major: 1, minor: 11, fileMode: 0666, permissions: w}
      mounts:
        - {hostPath: HERE, containerPath: /glaze, options: [ro, nosuid]}
  - name: missing
    containerEdits:
      deviceNodes: [{path: /dev/no-such-node}]
"""
GPUS = {
    "cdiVersion": "0.6.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": name, "containerEdits": {"env": [f"GPU={name}"], "deviceNodes": [{"path": f"/dev/nvidia{name}",
         "hostPath": "/dev/null"}]}} for name in ("0", "1", "all")
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("cdi")
    specs, glaze = directory / "specs", directory / "glaze"
    specs.mkdir()
    glaze.mkdir()
    (glaze / "blue").write_text("cobalt\n")
    (specs / "kiln.yaml").write_text(SPEC.replace("HERE", str(glaze)))
    (specs / "gpu.json").write_text(json.dumps(GPUS))
    (specs / "broken.json").write_text("{")  # one that cannot be read takes none of the others away
    hook = {
        "hookName": "createContainer",
        "path": "/bin/sh",
        "args": ["sh", "-c", "cat >/dev/null; echo fired >/glazed"],
    }
    hooked = {"cdiVersion": "0.6.0", "kind": "pottery.example/hook",
              "devices": [{"name": "one", "containerEdits": {"hooks": [hook]}}]}  # fmt: skip
    (specs / "hook.json").write_text(json.dumps(hooked))
    with Engine(directory, number=3, options=("--cdi-spec-dir", str(specs))) as running:
        running.docker("load", "-i", str(busybox_tar), check=True)
        yield running
    assert census(running) == []


@pytest.mark.parametrize("runtime", ["onggi", "runc"])
def test_a_device_with_all_that_belongs_to_it(engine: Engine, runtime: str) -> None:
    look = (
        "echo $KILN $SIZE; id -G; head -c4 /dev/kiln | od -An -tx1; cat /glaze/blue; touch /glaze/red; "
        ": >/dev/chimney; : </dev/chimney"
    )
    done = engine.docker("run", "--rm", "--runtime", runtime, "--device", "pottery.example/kiln=small", "busybox", "sh",
                         "-c", look)  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "warm small"
    assert "77" in lines[1].split()
    assert lines[2:] == [" 00 00 00 00", "cobalt"]
    assert "/glaze/red: Read-only file system" in done.stderr
    assert "can't create /dev/chimney" not in done.stderr, "it may be written"
    assert "can't open /dev/chimney: Operation not permitted" in done.stderr, "and not read"


def test_what_is_not_described_is_refused_at_the_start(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--device", "pottery.example/kiln=large", "busybox", check=True)
    try:
        refused = engine.docker("start", name).stderr
        assert "CDI device injection failed: unresolvable CDI devices pottery.example/kiln=large" in refused
    finally:
        engine.docker("rm", name)
    missing = engine.docker("run", "--rm", "--device", "pottery.example/kiln=missing", "busybox", "true").stderr
    assert "failed to get device information of /dev/no-such-node: no such file or directory" in missing


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("all", "all"), ("1", "0"), ("device=1", "1"), ('"device=0,1"', "1"), ("driver=nvidia", "0")],
)
def test_gpus_are_those_that_the_vendor_describes(engine: Engine, asked: str, expected: str) -> None:
    done = engine.docker(
        "run", "--rm", "--gpus", asked, "busybox", "sh", "-c", "echo $GPU; ls /dev/nvidia*", check=True
    )
    assert done.stdout.splitlines()[0] == expected
    assert f"/dev/nvidia{expected}" in done.stdout


def test_more_gpus_than_there_are(engine: Engine) -> None:
    refused = engine.docker("run", "--rm", "--gpus", "3", "busybox", "true")
    assert "3 GPUs are requested and 2 of nvidia.com/gpu are there" in refused.stderr


def test_hooks_are_runcs(engine: Engine) -> None:
    refused = engine.docker("run", "--rm", "--device", "pottery.example/hook=one", "busybox", "true")
    assert "start it with --runtime runc" in refused.stderr
    done = engine.docker("run", "--rm", "--runtime", "runc", "--device", "pottery.example/hook=one", "busybox", "true")
    assert done.returncode == 0, done.stderr


def test_info_lists_what_was_found(engine: Engine) -> None:
    info = json.loads(engine.docker("info", "--format", "json", check=True).stdout)
    assert {"Source": "cdi", "ID": "pottery.example/kiln=small"} in info["DiscoveredDevices"]
    assert info["CDISpecDirs"] == [str(engine.directory / "specs")]
