"""Control groups of v1, of v2, and of both: each kind on its own, on this machine's hybrid.

A single-threaded process of its own plays the shim: it starts `sleep`, and does to the group what a line tells it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.linux import cgroup
from onggi.oci.spec import encode
from tests.runtime import busybox_root, spec

SHIM = r"""
import json, os, sys
sys.path.insert(0, sys.argv[1])
from onggi.linux import cgroup, counters
from onggi.oci import spec as oci
from onggi.oci.root import DirectoryRoot
from onggi.runtime import host, init, plan, resources
import msgspec
order = json.loads(sys.argv[2])
cgroup._hierarchies = cgroup.Hierarchies(*order["hierarchies"])
here = host.probe()
container = oci.decode(json.dumps(order["spec"]).encode())
group = cgroup.Cgroup(container.linux.cgroups_path)
steps = plan.plan(container, here, DirectoryRoot(container.root.path)).data()
reading, writing = os.pipe2(os.O_CLOEXEC)
null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
child = init.spawn(json.loads(json.dumps(steps)), {"stdin": null, "stdout": writing, "stderr": writing})
os.close(writing)
said = ""
while not said.endswith("end\n"):
    said += os.read(reading, 65536).decode()
print(json.dumps({"said": said, "pids": group.pids(), "pid": child.pid, "version": here.cgroup_version}), flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "freeze":
        group.freeze(); answer = group.frozen
    elif word == "thaw":
        group.thaw(); answer = group.frozen
    elif word == "kill":
        group.kill(); _, status = os.waitpid(child.pid, 0); answer = os.waitstatus_to_exitcode(status)
    elif word == "delete":
        group.delete(); answer = group.exists()
    elif word == "counters":
        found = counters.read(group); answer = [found.pids, found.memory_usage, found.cpu_total_ns]
    elif word == "state":
        with open(f"/proc/{child.pid}/stat") as file: answer = file.read().rpartition(")")[2].split()[0]
    print(json.dumps(answer), flush=True)
"""
HYBRID = cgroup.of_host()
KINDS = {
    "hybrid": (HYBRID.v1, HYBRID.named, HYBRID.unified),
    "v1": (HYBRID.v1, HYBRID.named, None),
    "v2": ({}, {}, HYBRID.unified),
}
NODES = "for n in 'null c 1 3' 'zero c 1 5' 'mem c 1 1' 'disk b 254 0' 'fuse c 10 229'; do set -- $n; " \
        "mknod /tmp/$1 $2 $3 $4; head -c0 /tmp/$1 2>/dev/null && echo $1; done; echo end; sleep 600"  # fmt: skip


def available(kind: str) -> bool:
    v1, _, unified = KINDS[kind]
    return bool(v1) if kind == "v1" else unified is not None if kind == "v2" else bool(v1) and unified is not None


class Shim:
    def __init__(self, directory: Path, kind: str) -> None:
        root = busybox_root(directory)
        for name in ("mknod", "head", "sleep", "cat", "ls"):
            link = root / "bin" / name
            if not link.is_symlink():
                link.symlink_to("busybox")
        container = json.loads(encode(spec(root, f"cg-{os.getpid()}", ["sh", "-c", NODES])))
        container["process"]["capabilities"] = {
            name: [*container["process"]["capabilities"][name], "CAP_MKNOD"]
            for name in ("bounding", "effective", "permitted")
        }
        container["linux"]["cgroupsPath"] = f"/onggi-test-cg-{os.getpid()}/{kind}"
        container["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        order = {"hierarchies": KINDS[kind], "spec": container}
        source = str(Path(__file__).parents[2] / "src")
        self.group = cgroup.Cgroup(container["linux"]["cgroupsPath"])
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHIM, source, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._answer()

    def __call__(self, word: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.group.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.group.delete()
        cgroup.Cgroup(self.group.path.rpartition("/")[0]).delete()


@pytest.fixture(params=sorted(KINDS))
def shim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shim]:
    if not available(request.param):
        pytest.skip(f"this machine has no {request.param} control groups")
    made = Shim(tmp_path, request.param)
    yield made
    made.end()


def test_a_life_in_a_group(shim: Shim) -> None:
    assert shim.first["pid"] in shim.first["pids"]
    assert shim("freeze") is True
    assert shim("state") in {"D", "S", "T"}
    assert shim("thaw") is False
    pids, memory, cpu = shim("counters")
    if shim.first["version"] == 1:
        assert pids >= 1
        assert memory > 0
        assert cpu > 0
    assert shim("freeze") is True
    assert shim("kill") == -9, "a frozen group can be killed"
    assert shim("delete") is False


def test_only_dockers_devices_open(shim: Shim) -> None:
    said = shim.first["said"].split()
    assert said == ["null", "zero", "end"]
