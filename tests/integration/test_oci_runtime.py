"""`onggi-runtime`, the OCI command line: a container's life as another engine drives it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.linux.cgroup import Cgroup
from tests.runtime import busybox_root

PROGRAM = Path(__file__).parents[2] / "scripts" / "onggi-runtime"
DEADLINE_S = 60
Config = dict[str, Any]


class Runtime:
    """The command line with a root and a bundle of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        busybox_root(self.bundle).rename(self.bundle / "rootfs")
        self.id = f"oci-test-{os.getpid()}-{abs(hash(str(directory))) % 100000}"
        assert self("spec", "--bundle", str(self.bundle)).returncode == 0

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            [str(PROGRAM), "--root", str(self.root), *arguments],
            capture_output=True, text=True, timeout=DEADLINE_S, check=False, **options,
        )  # fmt: skip

    def ok(self, *arguments: str, **options: Any) -> str:
        done = self(*arguments, **options)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def configure(self, *command: str, change: Callable[[Config], None] = lambda config: None) -> None:
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"] |= {"terminal": False, "args": list(command), "env": ["PATH=/bin"]}
        config["process"].pop("rlimits", None)
        config["root"]["readonly"] = False
        change(config)
        path.write_text(json.dumps(config))

    def status(self) -> str:
        return str(json.loads(self.ok("state", self.id))["status"])

    def create(self, *options: str) -> None:
        """With streams that a container may keep: a pipe would never end."""
        subprocess.run(
            [str(PROGRAM), "--root", str(self.root), "create", "--bundle", str(self.bundle), *options, self.id],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DEADLINE_S, check=True,
        )  # fmt: skip

    def pid(self) -> int:
        return int(json.loads(self.ok("state", self.id))["pid"])

    def end(self) -> None:
        """Kill it and wait for its end."""
        with os.fdopen(os.pidfd_open(self.pid())) as pidfd:
            self.ok("kill", self.id, "KILL")
            assert select.select([pidfd], [], [], DEADLINE_S)[0]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(tmp_path)
    yield made
    made("delete", "--force", made.id)
    assert not Cgroup(f"/onggi-runtime/{made.id}").exists()
    assert made.ok("list", "-q") == ""


def test_no_control_group_stays(runtime: Runtime) -> None:
    others = [entry for place in Cgroup("/onggi-runtime").directories() for entry in Path(place).glob("*/")]
    runtime.configure("true")
    runtime.ok("run", "--bundle", str(runtime.bundle), runtime.id)
    runtime.configure("nope")
    assert runtime("run", "--bundle", str(runtime.bundle), runtime.id).returncode == 1
    if not others:  # of another suite on this machine
        assert not Cgroup("/onggi-runtime").exists()


def test_run_ends_with_the_programs_code(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "echo $$; exit 7")
    done = runtime("run", "--bundle", str(runtime.bundle), runtime.id)
    assert (done.returncode, done.stdout, done.stderr) == (7, "1\n", "")
    assert runtime.ok("list", "-q") == ""


def test_create_start_kill_delete(runtime: Runtime, tmp_path: Path) -> None:
    runtime.configure("sleep", "600")
    pid_file = tmp_path / "pid"
    runtime.create("--pid-file", str(pid_file))
    state = json.loads(runtime.ok("state", runtime.id))
    assert (state["status"], state["id"], state["pid"]) == ("created", runtime.id, int(pid_file.read_text()))
    assert Path(f"/proc/{state['pid']}/exe").readlink().name.startswith("memfd:"), "our own sealed copy until start"
    runtime.ok("start", runtime.id)
    assert runtime.status() == "running"
    assert "busybox" in Path(f"/proc/{state['pid']}/exe").readlink().name
    refused = runtime("delete", runtime.id)
    assert (refused.returncode, refused.stderr) == (
        1, f"onggi-runtime: cannot delete container {runtime.id} that is not stopped: running\n",
    )  # fmt: skip
    assert runtime("start", runtime.id).stderr == "onggi-runtime: cannot start an already running container\n"
    runtime.end()
    assert runtime.status() == "stopped"
    assert runtime("kill", runtime.id, "TERM").stderr == "onggi-runtime: container not running\n"
    runtime.ok("delete", runtime.id)
    assert runtime("state", runtime.id).stderr == f"onggi-runtime: container does not exist: {runtime.id}\n"


def test_a_created_container_can_be_deleted_by_force(runtime: Runtime) -> None:
    runtime.configure("sleep", "600")
    runtime.create()
    pid = runtime.pid()
    runtime.ok("delete", "--force", runtime.id)
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z", (
        "a zombie that pid 1 has yet to reap"
    )


def test_a_missing_program_is_told_by_create_and_in_the_log(runtime: Runtime, tmp_path: Path) -> None:
    runtime.configure("nope")
    log = tmp_path / "log"
    done = runtime(
        "--log", str(log), "--log-format", "json", "create", "--bundle", str(runtime.bundle), runtime.id
    )  # fmt: skip
    words = (
        'unable to start container process: error during container init: exec: "nope": '
        "executable file not found in $PATH"
    )
    assert (done.returncode, done.stderr) == (1, f"onggi-runtime: {words}\n")
    entry = json.loads(log.read_text().splitlines()[-1])
    assert (entry["level"], entry["msg"]) == ("error", words)
    assert not runtime.root.joinpath(runtime.id).exists()


def test_exec_pause_update_stats(runtime: Runtime) -> None:
    runtime.configure("sleep", "600")
    runtime.create()
    runtime.ok("start", runtime.id)
    assert runtime.ok("exec", runtime.id, "sh", "-c", "echo $0 $PATH") == "sh /bin\n"
    assert runtime("exec", runtime.id, "sh", "-c", "exit 9").returncode == 9
    assert runtime("exec", runtime.id, "nope").stderr == (
        'onggi-runtime: exec failed: unable to start container process: exec: "nope": '
        "executable file not found in $PATH\n"
    )
    assert json.loads(runtime.ok("ps", "--format", "json", runtime.id)) == [runtime.pid()]
    runtime.ok("pause", runtime.id)
    assert runtime.status() == "paused"
    assert "cannot exec in a paused container" in runtime("exec", runtime.id, "true").stderr
    runtime.ok("resume", runtime.id)
    assert runtime.status() == "running"
    limits = runtime.bundle / "limits.json"
    limits.write_text('{"pids": {"limit": 33}}')
    runtime.ok("update", "--resources", str(limits), runtime.id)
    stats = json.loads(runtime.ok("events", "--stats", runtime.id))
    assert stats["data"]["pids"] == {"current": 1, "limit": 33}
    assert stats["data"]["memory"]["usage"]["usage"] > 0


def test_a_terminal_goes_to_the_console_socket(runtime: Runtime, tmp_path: Path) -> None:
    runtime.configure("sh", "-c", "tty; stty size", change=lambda config: config["process"].update(
        terminal=True, consoleSize={"height": 30, "width": 90}
    ))  # fmt: skip
    path = tmp_path / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(DEADLINE_S)
        runtime.create("--console-socket", str(path))
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 64, 1)
    runtime.ok("start", runtime.id)
    text = b""
    with os.fdopen(descriptors[0], "rb", buffering=0) as master, contextlib.suppress(OSError):  # EIO: no slave is open
        while data := master.read(4096):
            text += data
    assert text == b"/dev/pts/0\r\n30 90\r\n"


def test_hooks_run_in_order_with_the_state(runtime: Runtime, tmp_path: Path) -> None:
    """Each says its kind, its state's, and whose files it sees: createContainer still the host's, startContainer not."""
    log = tmp_path / "hooks"
    log.touch()

    def hook(kind: str) -> list[dict[str, Any]]:
        words = f"echo {kind} $(test -e {log.parent}/bundle && echo host) $(cat) >>{log}"
        return [{"path": "/bin/sh", "args": ["sh", "-c", words], "env": ["PATH=/bin"]}]

    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

    def change(config: Config) -> None:
        config["hooks"] = {kind: hook(kind) for kind in kinds}
        config["mounts"].append({"destination": str(log), "source": str(log), "type": "bind", "options": ["bind"]})

    runtime.configure("true", change=change)
    runtime.ok("run", "--bundle", str(runtime.bundle), runtime.id)
    lines = [line.split() for line in log.read_text().splitlines()]
    # The container's process and the poststart hook run side by side: their order is nobody's.
    assert sorted(line[0] for line in lines) == sorted(kinds)
    assert [line[0] for line in lines][:4] == list(kinds[:4])
    assert {line[0] for line in lines if line[1] != "host"} == {"startContainer"}
    states = {line[0]: json.loads(line[-1]) for line in lines}
    assert {state["id"] for state in states.values()} == {runtime.id}
    assert states["createRuntime"]["status"] == "creating"
    assert states["createContainer"]["pid"] == states["createRuntime"]["pid"]


def test_a_hook_that_fails_ends_the_start(runtime: Runtime) -> None:
    bad = [{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"]}]
    runtime.configure("true", change=lambda config: config.update(hooks={"createRuntime": bad}))
    done = runtime("run", "--bundle", str(runtime.bundle), runtime.id)
    assert done.returncode == 1
    assert "error running createRuntime hook #0: exit status 3, stderr: because" in done.stderr
    assert not Cgroup(f"/onggi-runtime/{runtime.id}").exists()


@pytest.mark.parametrize("id", ["..", "a/b", "/x", "x" * 300, "a\nb", "a b"])
def test_ids_name_nothing_else(runtime: Runtime, id: str) -> None:
    runtime.configure("true")
    done = runtime("run", "--bundle", str(runtime.bundle), id)
    assert done.returncode == 1
    assert "invalid container ID format" in done.stderr


def test_systemd_is_refused_in_words(runtime: Runtime) -> None:
    done = runtime("--systemd-cgroup", "create", "--bundle", str(runtime.bundle), runtime.id)
    assert done.returncode == 1
    assert "--systemd-cgroup is not offered" in done.stderr


@pytest.mark.parametrize("target", ["/proc", "/sys", "/dev"])
def test_proc_and_sys_must_be_directories(runtime: Runtime, target: str) -> None:
    """CVE-2019-19921: a link where procfs shall be mounted."""
    place = runtime.bundle / "rootfs" / target.lstrip("/")
    place.rmdir()
    place.symlink_to("/tmp")
    runtime.configure("true")
    done = runtime("run", "--bundle", str(runtime.bundle), runtime.id)
    assert done.returncode == 1
    assert f"filesystem '{target}' must be mounted on ordinary directory" in done.stderr


def test_links_in_the_root_lead_nowhere_else(runtime: Runtime, tmp_path: Path) -> None:
    """Mount points, working directory and files that are links to places of the host are made inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    rootfs = runtime.bundle / "rootfs"
    (rootfs / "data").symlink_to(outside)
    (rootfs / "etc/hosts").symlink_to(outside / "hosts")
    (rootfs / "work").symlink_to(outside / "work")

    def change(config: Config) -> None:
        bind = {"type": "bind", "options": ["rbind", "ro"]}
        config["mounts"] += [
            {"destination": "/data/deep", "source": "/etc", **bind},
            {"destination": "/etc/hosts", "source": "/etc/hostname", **bind},
        ]
        config["process"]["cwd"] = "/work/here"

    runtime.configure("sh", "-c", "pwd; cat /etc/hosts; ls /data/deep/passwd", change=change)
    done = runtime("run", "--bundle", str(runtime.bundle), runtime.id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("/data/deep/passwd\n")
    assert list(outside.iterdir()) == []


def test_a_stopped_runtime_is_told_by_its_boot(runtime: Runtime) -> None:
    """The recorded pid counts only with its start time and this boot: another process is never signalled."""
    runtime.configure("sleep", "600")
    runtime.create()
    path = runtime.root / runtime.id / "state.json"
    state = json.loads(path.read_text())
    real = state["pid"]
    path.write_text(json.dumps(state | {"pid": os.getpid()}))
    assert runtime.status() == "stopped"
    assert runtime("kill", runtime.id, "KILL").returncode == 1
    path.write_text(json.dumps(state))
    os.kill(real, signal.SIGKILL)


POISONED = (
    "colorsys", "traceback", "linecache", "tokenize", "warnings", "encodings/idna", "encodings/utf_16", "encodings/cp437",
    "pwd", "grp", "json/__init__", "logging/__init__", "contextlib", "enum", "signal", "typing", "sitecustomize",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["process"].update(args=["nope"]), "executable file not found"),
        (lambda config: config["process"].update(args=["/etc"]), "is a directory"),
        (lambda config: config["process"].update(cwd="/bin/sh"), "not a directory"),
        (lambda config: config["process"]["user"].update(username="nobody"), "unable to find user"),
        (lambda config: config["process"].update(env=["BROKEN"]), "invalid environment variable"),
        (lambda config: config["linux"].update(sysctl={"net.ipv4.nope": "1"}), "open sysctl net.ipv4.nope file"),
        (lambda config: config["process"].update(args=["true"]), ""),
    ],
)
def test_nothing_of_the_root_is_loaded_by_us(runtime: Runtime, change: Callable[[Config], None], words: str) -> None:
    """A first import after the change of root would run the container's file as root of the host (measured on 3.11)."""
    rootfs = runtime.bundle / "rootfs"
    poison = "open('/loaded', 'a').write(__name__)\n"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for library in (*(path.lstrip("/") for path in sys.path if path), f"usr/lib/{version}", f"usr/local/lib/{version}"):
        for name in POISONED:
            path = rootfs / library / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(poison)
    for name in ("libnss_files.so.2", "libnss_compat.so.2", "libgcc_s.so.1"):
        (rootfs / "lib/x86_64-linux-gnu").mkdir(parents=True, exist_ok=True)
        (rootfs / "lib/x86_64-linux-gnu" / name).write_bytes(b"not a library")
    runtime.configure("true", change=change)
    done = runtime("run", "--bundle", str(runtime.bundle), runtime.id)
    assert words in done.stderr
    assert done.returncode == (1 if words else 0), done.stderr
    assert not (rootfs / "loaded").exists()
    for library in ("libnss", "libgcc"):
        assert library not in done.stderr
