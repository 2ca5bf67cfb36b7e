"""Volumes and mounts of containers, through the engine and the stock docker command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.peers import Docker


@pytest.fixture
def volume(engine: Engine, name: str) -> Iterator[str]:
    engine.docker("volume", "create", "--label", "a=b", name, check=True)
    yield name
    engine.docker("volume", "rm", name, check=True)


def run(engine: Engine, *words: str, script: str) -> str:
    return engine.docker("run", "--rm", *words, "busybox", "sh", "-c", script, check=True).stdout


def mounts(engine: Engine, name: str) -> dict[str, dict[str, Any]]:
    found = json.loads(engine.docker("inspect", "-f", "{{json .Mounts}}", name, check=True).stdout)
    return {mount["Destination"]: mount for mount in found}


def test_what_is_written_in_a_volume_stays(engine: Engine, volume: str) -> None:
    run(engine, "-v", f"{volume}:/data", script="echo kept > /data/file")
    assert run(engine, "-v", f"{volume}:/other:ro", script="cat /other/file; touch /other/x 2>&1 || true") == (
        "kept\ntouch: /other/x: Read-only file system\n"
    )


def test_an_empty_volume_shows_what_the_image_has_there(engine: Engine, volume: str) -> None:
    inside = run(engine, script="ls /bin")
    assert run(engine, "-v", f"{volume}:/bin", script="ls /bin") == inside
    assert run(engine, "-v", f"{volume}:/copy", script="ls /copy") == inside


def test_binds_and_tmpfs(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    script = "cat /b/file; touch /b/x 2>/dev/null || echo read-only; grep ' /t ' /proc/mounts"
    said = run(
        engine, "-v", f"{tmp_path}:/b:ro", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700", script=script
    ).splitlines()
    assert said[:2] == ["from the host", "read-only"]
    assert "size=1024k" in said[2]
    assert "mode=700" in said[2]
    run(engine, "-v", f"{tmp_path}/made/below:/n", script="touch /n/file")
    assert (tmp_path / "made/below/file").exists()
    refused = engine.docker("run", "--rm", "--mount", f"type=bind,src={tmp_path}/none,dst=/n", "busybox", "true")
    assert refused.returncode == 125
    assert f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/none' in refused.stderr


def test_a_subpath_and_no_way_out_of_it(engine: Engine, volume: str) -> None:
    run(engine, "-v", f"{volume}:/data", script="mkdir /data/sub; echo 1 > /data/sub/one; ln -s /etc /data/out")
    option = f"type=volume,src={volume},dst=/s,volume-subpath="
    assert run(engine, "--mount", option + "sub", script="ls /s") == "one\n"
    refused = engine.docker("run", "--rm", "--mount", option + "out", "busybox", "ls", "/s")
    assert refused.returncode == 125
    assert "cannot access path" in refused.stderr


def test_anonymous_volumes_and_volumes_from(engine: Engine, name: str, volume: str) -> None:
    engine.docker("create", "--name", name, "-v", "/anon", "-v", f"{volume}:/data", "busybox", "true", check=True)
    found = mounts(engine, name)
    anonymous = found["/anon"]["Name"]
    assert found["/data"]["Name"] == volume
    assert found["/data"]["RW"] is True
    in_use = engine.docker("volume", "rm", volume)
    container = engine.docker("inspect", "-f", "{{.Id}}", name, check=True).stdout.strip()
    assert in_use.stderr.strip() == f"Error response from daemon: remove {volume}: volume is in use - [{container}]"
    script = "touch /anon/x 2>/dev/null || echo read-only"
    assert run(engine, "--volumes-from", f"{name}:ro", script=script) == "read-only\n"
    engine.docker("rm", "-v", name, check=True)
    names = engine.docker("volume", "ls", "-q", check=True).stdout.split()
    assert anonymous not in names
    assert volume in names


def test_a_device_is_mounted_for_the_container_alone(engine: Engine, name: str) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=5")
    engine.docker("volume", "create", *options, name, check=True)
    assert "tmpfs" in run(engine, "-v", f"{name}:/v", script="grep ' /v ' /proc/mounts")
    where = engine.docker("volume", "inspect", "-f", "{{.Mountpoint}}", name, check=True).stdout.strip()
    assert where not in Path("/proc/self/mountinfo").read_text()
    engine.docker("volume", "rm", name, check=True)


def test_prune_takes_what_nobody_uses(engine: Engine, name: str, volume: str) -> None:
    engine.docker("create", "--name", name, "-v", f"{volume}:/data", "busybox", "true", check=True)
    spare = engine.docker("volume", "create", check=True).stdout.strip()
    engine.docker("volume", "create", f"{name}-named", check=True)
    pruned = engine.docker("volume", "prune", "-f", check=True).stdout
    assert spare in pruned
    assert f"{name}-named" not in pruned
    pruned = engine.docker("volume", "prune", "-af", check=True).stdout
    assert f"{name}-named" in pruned
    assert volume in engine.docker("volume", "ls", "-q", check=True).stdout.split()
    engine.docker("rm", name, check=True)


def test_answers_are_those_of_docker(engine: Engine, peer: Docker, volume: str) -> None:
    peer("volume", "create", "--label", "a=b", volume, check=True)
    try:
        ours = json.loads(engine.docker("volume", "inspect", volume, check=True).stdout)[0]
        theirs = json.loads(peer("volume", "inspect", volume, check=True).stdout)[0]
        assert list(ours) == list(theirs)
        for member in ("Driver", "Labels", "Name", "Options", "Scope"):
            assert ours[member] == theirs[member]
        for words in (
            ("volume", "create", "a/b"),
            ("volume", "create", "x"),
            ("volume", "create", "--driver", "nope", "never"),
            ("volume", "create", "-o", "type=tmpfs", "never"),
            ("volume", "rm", "no-such-volume"),
            ("volume", "inspect", "no-such-volume"),
            ("volume", "ls", "--filter", "foo=bar"),
            ("create", "-v", "/tmp:rel", "busybox"),
            ("create", "-v", "/tmp:/x:foo", "busybox"),
            ("create", "-v", "a:b:c:d", "busybox"),
            ("create", "-v", "/tmp:/x", "-v", "/var:/x", "busybox"),
            ("create", "-v", "/tmp:/x:nocopy", "busybox"),
            ("create", "--mount", "type=bind,src=/no/such/dir,dst=/x", "busybox"),
            ("create", "--mount", "type=bind,src=/tmp,dst=/x,bind-propagation=foo", "busybox"),
            ("create", "--mount", "type=foo,dst=/x", "busybox"),
            ("create", "--mount", "type=tmpfs,src=/a,dst=/x", "busybox"),
            ("create", "--mount", "type=volume,dst=/x,volume-subpath=a", "busybox"),
            ("create", "--volumes-from", "no-such-container", "busybox"),
        ):
            mine, peers = engine.docker(*words), peer(*words)
            assert (mine.returncode, mine.stderr) == (peers.returncode, peers.stderr), words
    finally:
        peer("volume", "rm", volume, check=True)
