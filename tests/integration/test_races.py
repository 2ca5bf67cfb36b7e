"""Somebody swaps what a start is about to use: mount points, /proc, /dev/null, /dev/console (see tests/racing.py)."""

from pathlib import Path
from typing import Any

import pytest

from tests.racing import starts, swapping
from tests.runtime import busybox_root

pytestmark = pytest.mark.timeout(400)  # a busy machine
NAMESPACES = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT"]
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEVPTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return busybox_root(tmp_path)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A volume that the attacker's container has as well."""
    volume = tmp_path / "volume"
    volume.mkdir()
    return volume


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A place of the host that nothing must reach."""
    place = tmp_path / "outside"
    place.mkdir()
    return place


def config(root: Path, script: str, mounts: list[dict[str, Any]], *, terminal: bool = False, **linux: Any) -> Any:
    process = {
        "args": ["sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
    }
    return {
        "ociVersion": "1.2.0",
        "process": process,
        "root": {"path": str(root)},
        "mounts": mounts,
        "linux": {"namespaces": NAMESPACES} | linux,
    }


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "type": "bind", "options": ["rbind"]}


def test_a_mount_point_swapped_for_a_link(root: Path, shared: Path, outside: Path, tmp_path: Path) -> None:
    """CVE-2021-30465: a destination within a shared volume. What is missing of it is made inside, and mounted there."""
    (shared / "a").mkdir()
    (shared / "link").symlink_to(outside)
    data = tmp_path / "data"
    data.mkdir()
    (data / "marked").write_text("data")
    order = config(root, "echo end; sleep 100", [PROC, bind(shared, "/vol"), bind(data, "/vol/a/b")])

    def escaped(result: dict[str, Any]) -> bool:
        return bool(list(outside.iterdir())) or ("mounts" in result and str(data) not in result["mounts"])

    with swapping(shared / "a", shared / "link", tmp_path / "swaps"):
        found = starts(order, enough=escaped)
        assert not escaped(found[-1])
        places = {
            line.split()[4] for result in found for line in result.get("mounts", "").splitlines() if str(data) in line
        }
        assert any(str(outside) in place for place in places), f"the link was met, and led nowhere but inside: {places}"
        assert "/vol/a/b" in places
        assert escaped(starts(order, naive="targets", enough=escaped)[-1]), "paths as strings must lose"


def test_proc_swapped_for_a_link(root: Path, shared: Path, tmp_path: Path) -> None:
    """CVE-2019-19921, CVE-2025-52881: sysctls and masks land in a procfs of ours, or the start is refused."""
    trap = shared / "proc/sys/net/ipv4"
    trap.mkdir(parents=True)
    (trap / "ip_unprivileged_port_start").write_text("trap")
    (root / "link").symlink_to("/vol/proc")
    # Where the name of the mount point is moved away later, the mount goes with it: it is looked at there as well.
    script = (
        "for p in /proc /link; do cat $p/sys/net/ipv4/ip_unprivileged_port_start $p/version; done; echo end; sleep 9"
    )
    order = config(root, script, [bind(shared, "/vol"), PROC], maskedPaths=["/proc/version"],
                   sysctl={"net.ipv4.ip_unprivileged_port_start": "99"})  # fmt: skip

    def trapped(result: dict[str, Any]) -> bool:
        written = (trap / "ip_unprivileged_port_start").read_text()
        return written != "trap" or "Linux" in result.get("said", "")

    with swapping(root / "proc", root / "link", tmp_path / "swaps"):
        found = starts(order, enough=trapped)
        assert not trapped(found[-1]), found[-1]
        refused = {result["failed"] for result in found if "failed" in result}
        assert all("'/proc' must be mounted on ordinary directory" in words for words in refused), refused
        assert refused
        assert any("99" in result.get("said", "") for result in found)
        assert trapped(starts(order, naive="proc", enough=trapped)[-1]), "paths as strings must lose"


def test_the_null_device_swapped_for_a_link(root: Path, shared: Path, tmp_path: Path) -> None:
    """CVE-2025-31133: what masks a file is a null device that was looked at, wherever the root's own /dev/null leads."""
    (shared / "pts").mkdir()
    (shared / "null").write_text("")
    (shared / "link").symlink_to("/etc/passwd")
    (root / "etc/passwd").write_text("leaked\n")
    order = config(
        root, "cat /proc/version; echo end; sleep 100", [PROC, bind(shared, "/dev")], maskedPaths=["/proc/version"]
    )

    def leaked(result: dict[str, Any]) -> bool:
        return "leaked" in result.get("said", "")

    with swapping(shared / "null", shared / "link", tmp_path / "swaps"):
        found = starts(order, enough=leaked)
        assert {result.get("said") for result in found} == {"end\n"}, found[-1]
        assert leaked(starts(order, naive="null", enough=leaked)[-1]), "a source by its path must lose"


def test_the_console_swapped_for_a_link(root: Path, shared: Path, outside: Path, tmp_path: Path) -> None:
    """CVE-2025-52565: the console is the pty that was made, and lands inside."""
    (shared / "pts").mkdir()
    (shared / "console").write_text("")
    (shared / "link").symlink_to(outside / "console")
    order = config(root, "tty; echo end; sleep 100", [PROC, bind(shared, "/dev"), DEVPTS], terminal=True)

    def escaped(result: dict[str, Any]) -> bool:
        return bool(list(outside.iterdir()))

    with swapping(shared / "console", shared / "link", tmp_path / "swaps"):
        found = starts(order, enough=escaped)
        assert not escaped(found[-1])
        started = [result for result in found if "said" in result]
        assert {result["said"] for result in started} == {"/dev/pts/0\r\nend\r\n"}
        for result in started:
            terminals = [line.split()[4] for line in result["mounts"].splitlines() if " - devpts " in line]
            assert len(terminals) == 2, "its devpts, and one console, wherever its name has gone meanwhile"
        assert escaped(starts(order, naive="console", enough=escaped)[-1]), "paths as strings must lose"
