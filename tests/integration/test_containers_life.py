"""A container's life, driven by the stock docker command line: create, start, stop, kill, pause, rename, remove."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import until
from tests.engine import Engine, inspected, state
from tests.http import Api


@pytest.fixture
def sleeper(engine: Engine, name: str) -> Any:
    """A running container that ends at once when it is told to."""
    engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "busybox", "sleep", "1000",
                  check=True)  # fmt: skip
    yield name
    engine.docker("rm", "-f", name)


def test_create_start_wait_logs_remove(engine: Engine, name: str) -> None:
    created = engine.docker(
        "create", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=True
    )
    assert state(engine, name)["Status"] == "created"
    assert engine.docker("start", name, check=True).stdout == f"{name}\n"
    assert engine.docker("wait", name, check=True).stdout == "7\n"
    logs = engine.docker("logs", name, check=True)
    assert (logs.stdout, logs.stderr) == ("out\n", "err\n")
    ended = state(engine, name)
    assert (ended["Status"], ended["ExitCode"], ended["Pid"]) == ("exited", 7, 0)
    assert engine.docker("rm", created.stdout.strip(), check=True).stdout == created.stdout
    assert engine.docker("inspect", name).returncode == 1


def test_run_gives_output_and_exit_code(engine: Engine) -> None:
    done = engine.docker("run", "--rm", "busybox", "sh", "-c", "echo hello; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello\n", "")
    assert engine.docker("ps", "-aq").stdout == ""


def test_stdin(engine: Engine) -> None:
    done = engine.docker("run", "--rm", "-i", "busybox", "cat", input="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n")


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/etc", 126, 'exec: "/etc": is a directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
    ],
)
def test_program_that_does_not_run(engine: Engine, command: str, status: int, words: str) -> None:
    done = engine.docker("run", "--rm", "busybox", command)
    assert done.returncode == status
    assert done.stderr.startswith("docker: Error response from daemon: failed to create task for container: ")
    assert words in done.stderr
    assert engine.docker("ps", "-aq").stdout == ""


def test_failed_start_is_noted(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "nope", check=True)
    assert engine.docker("start", name).returncode == 1
    noted = state(engine, name)
    assert (noted["Status"], noted["ExitCode"]) == ("created", 127)
    assert "executable file not found" in noted["Error"]
    engine.docker("rm", name, check=True)


def test_name_in_use(engine: Engine, sleeper: str) -> None:
    identity = inspected(engine, sleeper)["Id"]
    refused = engine.docker("create", "--name", sleeper, "busybox")
    assert refused.stderr.strip().splitlines()[0] == (
        f'Error response from daemon: Conflict. The container name "/{sleeper}" is already in use by container '
        f'"{identity}". You have to remove (or rename) that container to be able to reuse that name.'
    )


def test_stop_obeys_the_stop_signal(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--stop-signal", "USR1", "busybox", "sh", "-c",
                  "trap 'echo told; exit 5' USR1; echo ready; while :; do sleep 0.1; done", check=True)  # fmt: skip
    until(lambda: "ready" in engine.docker("logs", name).stdout, "the trap is set")
    engine.docker("stop", "-t", "60", name, check=True)
    assert state(engine, name)["ExitCode"] == 5
    assert engine.docker("logs", name).stdout == "ready\ntold\n"
    assert engine.docker("stop", name).returncode == 0
    engine.docker("rm", name, check=True)


def test_stop_kills_what_does_not_obey(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000", check=True)
    engine.docker("stop", "-t", "1", name, check=True)
    assert state(engine, name)["ExitCode"] == 137
    engine.docker("rm", name, check=True)


def test_kill_and_start_again(engine: Engine, sleeper: str) -> None:
    engine.docker("kill", sleeper, check=True)
    assert (state(engine, sleeper)["Status"], state(engine, sleeper)["ExitCode"]) == ("exited", 137)
    refused = engine.docker("kill", sleeper)
    assert "is not running" in refused.stderr
    engine.docker("start", sleeper, check=True)
    assert state(engine, sleeper)["Running"] is True


def test_pause(engine: Engine, sleeper: str) -> None:
    engine.docker("pause", sleeper, check=True)
    assert state(engine, sleeper)["Status"] == "paused"
    assert "(Paused)" in engine.docker("ps", "--filter", f"name={sleeper}", "--format", "{{.Status}}").stdout
    assert engine.docker("exec", sleeper, "true").returncode != 0
    engine.docker("unpause", sleeper, check=True)
    assert state(engine, sleeper)["Status"] == "running"


def test_a_paused_container_can_be_removed(engine: Engine, sleeper: str) -> None:
    engine.docker("pause", sleeper, check=True)
    assert "must be unpaused first" in engine.docker("rm", sleeper).stderr
    engine.docker("rm", "-f", sleeper, check=True)
    assert engine.docker("inspect", sleeper).returncode == 1


def test_a_paused_container_can_be_stopped(engine: Engine, sleeper: str) -> None:
    engine.docker("pause", sleeper, check=True)
    engine.docker("stop", sleeper, check=True)
    assert state(engine, sleeper)["Status"] == "exited"


def test_rename(engine: Engine, sleeper: str) -> None:
    new = f"{sleeper}-new"
    engine.docker("rename", sleeper, new, check=True)
    assert inspected(engine, new)["Name"] == f"/{new}"
    assert engine.docker("inspect", sleeper).returncode == 1
    engine.docker("rename", new, sleeper, check=True)


def test_restart_gives_a_new_process(engine: Engine, sleeper: str) -> None:
    before = state(engine, sleeper)["Pid"]
    engine.docker("restart", sleeper, check=True)
    after = state(engine, sleeper)
    assert after["Running"] is True
    assert after["Pid"] not in (0, before)


def test_remove_of_a_running_container_needs_force(engine: Engine, sleeper: str) -> None:
    refused = engine.docker("rm", sleeper)
    assert refused.returncode == 1
    assert "container is running: stop the container before removing or force remove" in refused.stderr


def test_ps_filters(engine: Engine, sleeper: str) -> None:
    def names(*words: str) -> list[str]:
        return engine.docker("ps", "--format", "{{.Names}}", *words, check=True).stdout.split()

    assert sleeper in names()
    assert names("--filter", f"name=^/{sleeper}$") == [sleeper]
    assert sleeper in names("--filter", "ancestor=busybox")
    assert sleeper not in names("--filter", "status=paused")
    assert sleeper in names("--filter", "network=none")
    assert names("-a", "--filter", "label=no-such-label") == []
    refused = engine.docker("ps", "--filter", "status=foo")
    assert "invalid filter 'status=foo'" in refused.stderr


def test_update_of_limits(engine: Engine, sleeper: str) -> None:
    engine.docker("update", "--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "50", sleeper,
                  check=True)  # fmt: skip
    host = inspected(engine, sleeper)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 500_000_000, 50)


def test_limits_are_set(engine: Engine) -> None:
    script = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
        " || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
    )
    done = engine.docker("run", "--rm", "-m", "32m", "--pids-limit", "77", "--cpus", "0.25", "busybox", "sh", "-c",
                         f"{{ {script}; }} 2>/dev/null", check=True)  # fmt: skip
    assert done.stdout.split()[:3] in (["33554432", "77", "25000"], ["33554432", "77", "25000", "100000"][:3])


def test_out_of_memory_is_told(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "--network", "none", "-m", "16m", "--memory-swap", "16m", "busybox",
                  "sh", "-c", "x=a; while :; do x=$x$x; done")  # fmt: skip
    ended = state(engine, name)
    assert (ended["OOMKilled"], ended["ExitCode"]) == (True, 137)
    engine.docker("rm", name, check=True)


def test_on_failure_restarts_so_often(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--network", "none", "--restart", "on-failure:2", "busybox", "false",
                  check=True)  # fmt: skip
    assert engine.docker("wait", name, check=True).stdout == "1\n"
    found = inspected(engine, name)
    assert (found["RestartCount"], found["State"]["Status"]) == (2, "exited")
    engine.docker("rm", name, check=True)


def test_always_comes_back_until_it_is_stopped(engine: Engine, name: str) -> None:
    engine.docker(
        "run", "-d", "--name", name, "--network", "none", "--restart", "always", "busybox", "true", check=True
    )
    until(lambda: inspected(engine, name)["RestartCount"] >= 2, "it comes back twice")
    engine.docker("stop", name, check=True)
    assert state(engine, name)["Status"] == "exited"
    engine.docker("rm", name, check=True)


def test_prune(engine: Engine, name: str, sleeper: str) -> None:
    engine.docker("create", "--name", f"{name}-1", "--label", f"mark={name}", "busybox", check=True)
    engine.docker("create", "--name", f"{name}-2", "busybox", check=True)
    engine.docker("container", "prune", "-f", "--filter", f"label=mark={name}", check=True)
    left = engine.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert f"{name}-1" not in left
    assert {f"{name}-2", sleeper} <= set(left)
    engine.docker("rm", f"{name}-2", check=True)


def test_health(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "--health-cmd",
                  "test -f /tmp/well && echo fine", "--health-interval", "100ms", "--health-retries", "1", "busybox",
                  "sleep", "1000", check=True)  # fmt: skip
    until(lambda: state(engine, name)["Health"]["Status"] == "unhealthy", "it is unhealthy")
    engine.docker("exec", name, "touch", "/tmp/well", check=True)
    until(lambda: state(engine, name)["Health"]["Status"] == "healthy", "it is healthy")
    assert state(engine, name)["Health"]["Log"][-1]["Output"] == "fine\n"
    engine.docker("rm", "-f", name, check=True)


def test_init_files_of_the_container(engine: Engine) -> None:
    done = engine.docker("run", "--rm", "--hostname", "pot", "--add-host", "kiln:10.9.8.7", "--dns", "10.1.2.3", "busybox",
                         "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf", check=True)  # fmt: skip
    assert done.stdout.splitlines()[0] == "pot"
    assert "10.9.8.7\tkiln" in done.stdout
    assert "nameserver 10.1.2.3" in done.stdout


def test_shared_network(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--stop-signal", "KILL", "busybox", "sleep", "1000", check=True)
    own = engine.docker("exec", name, "ip", "-o", "addr", check=True).stdout
    other = engine.docker("run", "--rm", "--network", f"container:{name}", "busybox", "ip", "-o", "addr", check=True)
    assert other.stdout == own
    engine.docker("rm", "-f", name, check=True)


def test_shared_pid_namespace(engine: Engine, sleeper: str) -> None:
    seen = engine.docker("run", "--rm", "--pid", f"container:{sleeper}", "busybox", "ps", check=True)
    assert "sleep 1000" in seen.stdout


def test_posture(engine: Engine) -> None:
    """What the first instruction of a plain container sees: capabilities, filter, a control group of its own."""
    done = engine.docker("run", "--rm", "busybox", "sh", "-c",
                         "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; cat /proc/self/cgroup", check=True)  # fmt: skip
    words = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert words["CapEff"] == words["CapBnd"] == words["CapPrm"] == "00000000a80425fb"
    assert words["CapInh"] == words["CapAmb"] == "0000000000000000"
    assert words["Seccomp"] == "2"
    groups = [line for line in done.stdout.splitlines() if line.count(":") >= 2 and ":\t" not in line]
    assert groups
    assert all(line.endswith(":/") for line in groups if not line.startswith("0::"))


def test_privileged(engine: Engine) -> None:
    script = "grep Seccomp: /proc/self/status; mkdir /m && mount -t tmpfs none /m && echo mounted"
    done = engine.docker("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True)
    assert done.stdout == "Seccomp:\t0\nmounted\n"


def test_events_of_a_life(engine: Engine, name: str) -> None:
    since = str(int(time.time()))
    engine.docker("run", "--rm", "--name", name, "--network", "none", "busybox", "true", check=True)
    period = ("--since", since, "--until", str(int(time.time()) + 1))
    chosen = ("--filter", f"container={name}", "--filter", "type=container", "--format", "{{.Action}}")
    told = engine.docker("events", *period, *chosen, check=True)
    assert told.stdout.split() == ["create", "attach", "start", "die", "destroy"]


def _is_gone(path: Path) -> bool:
    return not path.exists()


def test_nothing_is_left_on_the_disk(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "true", check=True)
    identity = inspected(engine, name)["Id"]
    engine.docker("rm", name, check=True)
    assert not (engine.exec_root / "containers" / identity).exists()
    for place in ("containers", "snapshots"):
        path = engine.data_root / place / identity
        until(partial(_is_gone, path), f"{place} has nothing of it")


def test_init_reaps_and_passes_signals_on(engine: Engine, name: str) -> None:
    script = "(sleep 0 & exec sleep 0) ; trap 'echo told; exit 4' TERM; echo ready; while :; do sleep 0.1; done"
    engine.docker("run", "-d", "--init", "--name", name, "--network", "none", "busybox", "sh", "-c", script, check=True)
    until(lambda: "ready" in engine.docker("logs", name).stdout, "the trap is set")
    shown = engine.docker("exec", name, "ps", "-o", "pid,stat,comm", check=True).stdout
    assert shown.splitlines()[1].split() == ["1", "S", "docker-init"]
    # An orphan of an exec is reaped too.
    engine.docker("exec", name, "sh", "-c", "sleep 0.1 & exit 0", check=True)
    until(lambda: " Z" not in engine.docker("exec", name, "ps", "-o", "stat,comm").stdout, "no zombie is left")
    engine.docker("stop", "-t", "60", name, check=True)
    assert (state(engine, name)["ExitCode"], engine.docker("logs", name).stdout) == (4, "ready\ntold\n")
    engine.docker("rm", name, check=True)


def test_init_ends_as_the_program_does(engine: Engine) -> None:
    for script, code in (("exit 7", 7), ("kill -9 $$", 137)):
        assert engine.docker("run", "--rm", "--init", "busybox", "sh", "-c", script).returncode == code
    assert engine.docker("run", "--rm", "--init", "busybox", "nope").returncode == 127


def test_update_of_one_that_is_just_ending_counts(engine: Engine, name: str) -> None:
    """Each update falls at another moment of a life of some milliseconds: it always succeeds, and is there afterwards."""
    api = Api(engine.socket)
    made = api.ok(
        "POST",
        "/containers/create",
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}},
        name=name,
    )
    container_id = made.json()["Id"]
    for number in range(40):
        api.ok("POST", f"/containers/{container_id}/start")
        memory = (64 << 20) + number * 4096
        api.ok("POST", f"/containers/{container_id}/update", {"Memory": memory, "MemorySwap": 2 * memory})
        assert inspected(engine, name)["HostConfig"]["Memory"] == memory
        api.ok("POST", f"/containers/{container_id}/wait")
    api.ok("DELETE", f"/containers/{container_id}")
