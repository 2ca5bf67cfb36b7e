"""Exec into a container whose root may trace: whatever becomes visible there is confined already (CVE-2016-9962).

An undumpable process keeps out those without CAP_SYS_PTRACE; who has it reads `root`, `cwd` and `fd` of every process
that it sees, and can make it execute anything. So there must be nothing to gain, from the first moment on.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine

pytestmark = pytest.mark.timeout(400)  # a busy machine
EXECS = 40
WATCH = """
echo >/watching-$1
while :; do
  for p in /proc/[0-9]*; do
    case $1 in
    root) for way in root cwd fd/3 fd/4 fd/5 fd/6 fd/7 fd/8; do [ -e $p/$way{canary} ] && echo $way >>/found; done ;;
    status) grep -E '^(CapPrm|Seccomp):' $p/status >>/seen ;;
    esac
  done
done 2>/dev/null
"""
ALLOWED = 0xA80425FB | 1 << 19
"""Docker's fourteen, and sys_ptrace."""


@pytest.fixture
def watched(engine: Engine, busybox: str, name: str, tmp_path: Path) -> Iterator[str]:
    """A container that looks at all of its processes without end: how they are confined, and where they lead."""
    canary = tmp_path / "canary"
    canary.write_text("host")
    script = WATCH.replace("{canary}", str(canary))
    engine.docker(
        "run", "-d", "--name", name, "--cap-add", "SYS_PTRACE", busybox,
        "sh", "-c", 'sh -c "$0" x root & sh -c "$0" x status', script, check=True,
    )  # fmt: skip
    try:
        until(
            lambda: engine.docker("exec", name, "ls", "/watching-root", "/watching-status").returncode == 0,
            "it watches",
        )
        yield name
    finally:
        engine.docker("rm", "-f", name)


def text_of(engine: Engine, name: str, path: str) -> str:
    return engine.docker("exec", name, "sh", "-c", f"cat {path} 2>/dev/null; true", check=True).stdout


def test_nothing_of_the_host_is_reached_through_it(engine: Engine, watched: str) -> None:
    for _ in range(EXECS):
        engine.docker("exec", watched, "true", check=True)
    assert text_of(engine, watched, "/found") == ""
    rows = re.findall(r"CapPrm:\s*([0-9a-f]+)\nSeccomp:\s*(\d)", text_of(engine, watched, "/seen"))
    assert len(rows) > EXECS, "it has looked"
    assert {int(capabilities, 16) & ~ALLOWED for capabilities, _ in rows} == {0}
    assert {seccomp for _, seccomp in rows} == {"2"}


def test_such_an_exec_is_like_any_other(engine: Engine, watched: str) -> None:
    assert engine.docker("exec", watched, "sh", "-c", "exit 7").returncode == 7
    assert engine.docker("exec", "-u", "33:44", watched, "id", "-g").stdout == "44\n"
    missing = engine.docker("exec", watched, "nope")
    assert missing.returncode == 127
    assert 'exec: "nope": executable file not found in $PATH' in missing.stdout + missing.stderr
    own = engine.docker("exec", watched, "cut", "-d", " ", "-f1,5,6", "/proc/self/stat").stdout.split()
    assert own[0] == own[1] == own[2], "leader of its group and of its session"
    assert engine.docker("exec", watched, "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]
    groups = engine.docker("exec", watched, "cat", "/proc/self/cgroup").stdout
    container = engine.docker("exec", watched, "cat", "/proc/1/cgroup").stdout
    assert groups == container


def test_it_has_a_terminal(engine: Engine, watched: str) -> None:
    script = "tty; stty size; cut -d ' ' -f6,7 /proc/self/stat; sh -c 'echo controlling >/dev/tty'"
    seen = engine.docker("exec", "-t", watched, "sh", "-c", script, check=True).stdout.split()
    assert seen[0].startswith("/dev/pts/")
    assert seen[-1] == "controlling"
