"""runc and crun under the engine: the same container, started and steered by another OCI runtime.

What is asked of each is what a user of `--runtime` relies on: streams, terminal, exit status, limits, exec, pause,
namespaces shared with another container, and that nothing is left whoever is killed.
"""

import json
import os
import pty
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine, census, state

RUNTIMES = ("runc", "crun")
LOOP = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"


def crun_for_this_machine(directory: Path) -> str:
    """crun refuses control groups of both versions side by side: there it is given a mount table without the second."""
    script = directory / "crun-of-v1"
    script.write_text(
        "#!/bin/sh\nexec unshare -m sh -c "
        '\'! mountpoint -q /sys/fs/cgroup/unified || umount -l /sys/fs/cgroup/unified; exec crun "$@"\' crun "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Engine]:
    for program in RUNTIMES:
        assert shutil.which(program), f"{program} is not installed: scripts/setup.sh dev installs it"
    directory = tmp_path_factory.mktemp("runtimes")
    options = ("--add-runtime", f"crun={crun_for_this_machine(directory)}")
    with Engine(directory, number=2, options=options) as running:
        running.docker("load", "-i", str(busybox_tar), check=True)
        yield running
        if running._process is not None:
            assert bundles(running) == []
    assert census(running) == []


def bundles(engine: Engine) -> list[str]:
    return sorted(os.listdir(engine.exec_root / "bundles"))


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_streams_user_groups_and_exit_status(engine: Engine, runtime: str) -> None:
    done = engine.docker(
        "run", "--rm", "-i", "--runtime", runtime, "-u", "daemon", "--group-add", "7", "-h", "inside", "busybox", "sh",
        "-c", "id; hostname; cat; echo wrong >&2; exit 3", input="typed\n",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0].startswith("uid=1(daemon) gid=1")
    assert "7" in lines[0]
    assert lines[1:] == ["inside", "typed"]
    assert (done.stderr, done.returncode) == ("wrong\n", 3)


def test_the_sentence_of_a_command_that_is_not_there(engine: Engine, runtime: str, name: str) -> None:
    done = engine.docker("run", "--name", name, "--runtime", runtime, "busybox", "nope")
    ended = state(engine, name)
    engine.docker("rm", name, check=True)
    assert "failed to create shim task: OCI runtime create failed: " in done.stderr
    assert "nope" in done.stderr
    # What docker itself ends with it reads out of the words, and crun's are not those that it knows.
    assert done.returncode == (127 if runtime == "runc" else 125)
    assert ended["ExitCode"] == 127
    until(lambda: not bundles(engine), "the bundle is removed")


def test_a_terminal(engine: Engine, runtime: str) -> None:
    ours, theirs = pty.openpty()
    process = os.fork()
    if process == 0:
        os.setsid()
        os.environ["DOCKER_HOST"] = f"unix://{engine.socket}"
        for number in range(3):
            os.dup2(theirs, number)
        os.execvp(
            "docker",
            ["docker", "run", "--rm", "-it", "--runtime", runtime, "busybox", "sh", "-c", "tty; read x; echo got $x"],
        )
    os.close(theirs)
    said = b""
    typed = False
    while True:
        assert select.select([ours], [], [], 60)[0], said
        try:
            piece = os.read(ours, 4096)
        except OSError:  # EIO: the other side is closed
            break
        said += piece
        if b"/dev/pts/" in said and not typed:
            os.write(ours, b"key\n")
            typed = True
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert b"got key" in said


def test_exec_pause_update_stop(engine: Engine, runtime: str, name: str) -> None:
    engine.docker(
        "run", "-d", "--name", name, "--runtime", runtime, "-m", "64m", "busybox", "sh", "-c", LOOP, check=True
    )
    try:
        assert engine.docker("exec", "-u", "daemon", "-w", "/tmp", "-e", "A=b", name, "sh", "-c", "id -un; pwd; echo $A",
                             check=True).stdout == "daemon\n/tmp\nb\n"  # fmt: skip
        assert engine.docker("exec", name, "sh", "-c", "exit 7").returncode == 7
        missing = engine.docker("exec", name, "nope")
        assert missing.returncode == 127
        assert "OCI runtime exec failed: " in missing.stdout + missing.stderr
        engine.docker("pause", name, check=True)
        assert state(engine, name)["Status"] == "paused"
        engine.docker("unpause", name, check=True)
        engine.docker("update", "-m", "32m", "--memory-swap", "64m", name, check=True)
        usage = json.loads(engine.docker("stats", "--no-stream", "--format", "json", name, check=True).stdout)
        assert usage["MemUsage"].endswith("/ 32MiB")
        assert LOOP in engine.docker("top", name, check=True).stdout
        until(lambda: engine.docker("logs", name).stdout == "up\n")
        engine.docker("stop", name, check=True)
        assert state(engine, name)["ExitCode"] == 5
        engine.docker("start", name, check=True)  # and once more, in a new bundle
        assert state(engine, name)["Running"] is True
    finally:
        engine.docker("rm", "-f", name)
    assert bundles(engine) == []


def test_what_is_shared_with_another_container(engine: Engine, runtime: str, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--runtime", runtime, "--ipc", "shareable", "busybox", "sh", "-c",
                  "echo kept >/dev/shm/file; exec sleep 1000", check=True)  # fmt: skip
    try:
        until(lambda: engine.docker("exec", name, "cat", "/dev/shm/file").stdout == "kept\n")
        shared = f"container:{name}"
        inside = engine.docker(
            "run", "--rm", "--runtime", runtime, "--ipc", shared, "--pid", shared, "--network", shared, "busybox", "sh",
            "-c", "cat /dev/shm/file; ps", check=True,
        ).stdout  # fmt: skip
        assert inside.startswith("kept\n")
        assert "sleep 1000" in inside
    finally:
        engine.docker("rm", "-f", name)


def test_init_is_a_program_of_the_host(engine: Engine, runtime: str) -> None:
    first = engine.docker(
        "run", "--rm", "--runtime", runtime, "--init", "busybox", "cat", "/proc/1/cmdline", check=True
    )
    assert first.stdout.split("\0")[:3] == ["/sbin/docker-init", "--", "cat"]


def test_a_container_is_confined_as_by_our_own_runtime(engine: Engine, runtime: str) -> None:
    look = ("grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status; cat /proc/self/mounts | cut -d' ' -f2 | sort; "
            "ls /dev | grep -vx core | sort; "
            "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true")  # fmt: skip
    words = (
        "--security-opt",
        "no-new-privileges",
        "--pids-limit",
        "50",
        "--cap-drop",
        "CHOWN",
        "busybox",
        "sh",
        "-c",
        look,
    )
    # runc adds /dev/core, a link to the masked /proc/kcore.
    other = engine.docker("run", "--rm", "--runtime", runtime, *words, check=True).stdout
    own = engine.docker("run", "--rm", *words, check=True).stdout
    assert other == own


def test_the_engine_is_killed_and_takes_it_up_again(engine: Engine, runtime: str, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--runtime", runtime, "busybox", "sh", "-c", LOOP, check=True)
    engine.kill()
    engine.start()
    try:
        assert state(engine, name)["Running"] is True
        assert engine.docker("exec", name, "echo", "here", check=True).stdout == "here\n"
        engine.docker("stop", name, check=True)
        assert state(engine, name)["ExitCode"] == 5
    finally:
        engine.docker("rm", "-f", name)
    assert bundles(engine) == []


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def runs(pid: int) -> bool:
    """A process whose parent was killed may stay a zombie: it is then the machine's init that does not reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_shim_is_killed(engine: Engine, runtime: str, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--runtime", runtime, "busybox", "sleep", "1000", check=True)
    try:
        pid: int = state(engine, name)["Pid"]
        shim = parent(pid)
        assert Path(f"/proc/{shim}/comm").read_text() == "onggi-shim\n"
        os.kill(shim, signal.SIGKILL)
        until(lambda: state(engine, name)["Status"] == "exited", "the container ends with its shim")
        assert state(engine, name)["ExitCode"] == 137
        assert not runs(pid)
        until(lambda: not bundles(engine), "the bundle is removed")
    finally:
        engine.docker("rm", "-f", name)


def test_engine_and_shim_are_killed(engine: Engine, runtime: str, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--runtime", runtime, "busybox", "sleep", "1000", check=True)
    pid: int = state(engine, name)["Pid"]
    shim = parent(pid)
    engine.kill()
    os.kill(shim, signal.SIGKILL)
    engine.start()
    try:
        assert state(engine, name)["Status"] == "exited"
        assert not runs(pid)
        assert bundles(engine) == []
    finally:
        engine.docker("rm", "-f", name)


def test_a_bundle_that_was_begun_is_swept_away(engine: Engine) -> None:
    engine.kill()
    stray = engine.exec_root / "bundles" / ("0" * 64)
    (stray / "rootfs").mkdir(parents=True)
    engine.start()
    assert bundles(engine) == []


def test_what_the_engine_says_of_them(engine: Engine) -> None:
    info = json.loads(engine.docker("info", "--format", "json", check=True).stdout)
    assert set(info["Runtimes"]) == {"onggi", "runc", "io.containerd.runc.v2", "crun"}
    assert info["Runtimes"]["runc"]["path"] == os.path.realpath(shutil.which("runc") or "")
    assert info["DefaultRuntime"] == "onggi"
    refused = engine.docker("create", "--runtime", "kata", "busybox")
    assert "unknown or invalid runtime name: kata" in refused.stderr
