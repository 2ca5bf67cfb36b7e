"""Containers across the death of the engine: kill -9, start again, and all is as it was said to be."""

import json

from tests.conditions import until
from tests.engine import Engine, inspected, state


def test_running_containers_go_on(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "goes-on", "--stop-signal", "KILL", "busybox", "sh", "-c",
                      "while :; do echo tick; sleep 0.1; done", check=True)  # fmt: skip
    before = state(own_engine, "goes-on")
    own_engine.kill()
    own_engine.start()
    after = state(own_engine, "goes-on")
    assert (after["Status"], after["Pid"], after["StartedAt"]) == ("running", before["Pid"], before["StartedAt"])
    seen = len(own_engine.docker("logs", "goes-on").stdout.split())
    until(lambda: len(own_engine.docker("logs", "goes-on").stdout.split()) > seen, "it goes on logging")
    assert own_engine.docker("exec", "goes-on", "echo", "well").stdout == "well\n"
    own_engine.docker("stop", "goes-on", check=True)
    assert state(own_engine, "goes-on")["ExitCode"] == 137


def test_an_end_that_nobody_saw_is_recorded(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "ends", "--network", "none", "-i", "busybox", "sh", "-c",
                      "while [ ! -f /stop ]; do sleep 0.05; done; exit 9", check=True)  # fmt: skip
    own_engine.docker("run", "-d", "--rm", "--name", "goes", "--network", "none", "busybox", "sh", "-c",
                      "while [ ! -f /stop ]; do sleep 0.05; done", check=True)  # fmt: skip
    pids = [state(own_engine, name)["Pid"] for name in ("ends", "goes")]
    own_engine.kill()
    for pid in pids:
        with open(f"/proc/{pid}/root/stop", "w", encoding="ascii"):
            pass

    def gone(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(lambda: all(gone(pid) for pid in pids), "both have ended")
    own_engine.start()
    ended = state(own_engine, "ends")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 9)
    until(lambda: own_engine.docker("inspect", "goes").returncode == 1, "the --rm container is removed")


def test_policies_at_the_engines_start(own_engine: Engine) -> None:
    for name, policy in (("always", "always"), ("unless", "unless-stopped"), ("plain", "no")):
        own_engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "--restart", policy,
                          "busybox", "sleep", "1000", check=True)  # fmt: skip
        own_engine.docker("stop", name, check=True)
    own_engine.stop()
    own_engine.start()
    until(lambda: state(own_engine, "always")["Running"], "the one that always runs is started")
    assert [state(own_engine, name)["Running"] for name in ("unless", "plain")] == [False, False]
    own_engine.docker("stop", "always", check=True)


def test_state_survives(own_engine: Engine) -> None:
    own_engine.docker("create", "--name", "made", "--label", "a=b", "-e", "X=1", "busybox", "true", check=True)
    before = json.loads(own_engine.docker("inspect", "made", check=True).stdout)
    own_engine.kill()
    own_engine.start()
    assert json.loads(own_engine.docker("inspect", "made", check=True).stdout) == before


def test_a_container_that_can_not_be_taken_up_is_tried_again(own_engine: Engine, name: str) -> None:
    """One that an engine has skipped at its start would run on with nobody to hear of its end."""
    id = own_engine.docker("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True).stdout.strip()
    own_engine.kill()
    file = own_engine.exec_root / "containers" / id / "config.json"
    aside = file.with_suffix(".aside")
    file.rename(aside)
    file.mkdir()
    own_engine.start()
    assert "can't be taken up again yet" in own_engine.log_tail()
    file.rmdir()
    aside.rename(file)
    until(lambda: "is taken up again" in own_engine.log_tail(), "it is taken up")
    own_engine.docker("kill", name, check=True)
    assert own_engine.docker("wait", name).stdout == "137\n"


def test_one_that_was_about_to_come_back_does(own_engine: Engine) -> None:
    """The engine is killed in the pause before a restart."""
    own_engine.docker("run", "-d", "--name", "fails", "--network", "none", "--restart", "always", "busybox", "false",
                      check=True)  # fmt: skip
    until(lambda: inspected(own_engine, "fails")["RestartCount"] >= 4, "its pauses are long")
    until(lambda: state(own_engine, "fails")["Status"] == "restarting", "it is in a pause")
    own_engine.kill()
    own_engine.start()
    until(lambda: 1 <= inspected(own_engine, "fails")["RestartCount"] < 4, "it is started again, as anew")
