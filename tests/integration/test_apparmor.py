"""AppArmor: Docker's default profile is applied, another is only if it is loaded. On the machine of scripts/vm.sh."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.engine import Engine, inspected

KERNEL = Path("/sys/kernel/security/apparmor")
PARSER = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
needs_apparmor = pytest.mark.skipif(
    not KERNEL.is_dir() or PARSER is None,
    reason="no AppArmor here: tests/integration/test_pure_v2.py runs it elsewhere",
)
LABEL = "cat /proc/self/attr/apparmor/current"


def label(engine: Engine, image: str, *options: str) -> str:
    return engine.docker("run", "--rm", *options, image, "sh", "-c", LABEL, check=True).stdout.strip()


@needs_apparmor
def test_the_default_profile(engine: Engine, busybox: str, name: str) -> None:
    assert label(engine, busybox) == "docker-default (enforce)"
    assert label(engine, busybox, "--privileged") == "unconfined"
    assert label(engine, busybox, "--security-opt", "apparmor=unconfined") == "unconfined"
    assert (
        label(engine, busybox, "--privileged", "--security-opt", "apparmor=docker-default")
        == "docker-default (enforce)"
    )
    assert "name=apparmor" in engine.docker("info", "--format", "{{.SecurityOptions}}").stdout
    engine.docker("run", "-d", "--name", name, "--cap-add", "SYS_ADMIN", busybox, "sleep", "1000", check=True)
    try:
        assert inspected(engine, name)["AppArmorProfile"] == "docker-default"
        assert engine.docker("exec", name, "sh", "-c", LABEL).stdout.strip() == "docker-default (enforce)"
        mounting = engine.docker("exec", name, "mount", "-t", "tmpfs", "x", "/tmp")
        assert "Permission denied" in mounting.stderr, "CAP_SYS_ADMIN and seccomp would let it"
        engine.docker("kill", name, check=True)
    finally:
        engine.docker("rm", "-f", name)


@needs_apparmor
def test_a_profile_that_is_not_loaded(engine: Engine, busybox: str) -> None:
    done = engine.docker("run", "--rm", "--security-opt", "apparmor=nope", busybox, "true")
    assert done.returncode == 127, "as with Docker: its client goes by the words"
    assert 'unable to apply apparmor profile "nope"' in done.stderr


@needs_apparmor
def test_a_profile_of_ones_own(engine: Engine, busybox: str) -> None:
    text = "profile onggi-test flags=(attach_disconnected) { file, capability, network, signal, deny /etc/passwd r, }"
    assert PARSER is not None
    subprocess.run([PARSER, "--replace", "--skip-cache"], input=text, text=True, check=True)
    done = engine.docker("run", "--rm", "--security-opt", "apparmor=onggi-test", busybox, "cat", "/etc/passwd")
    assert "Permission denied" in done.stderr


@pytest.mark.skipif(KERNEL.is_dir(), reason="this kernel has AppArmor")
def test_without_apparmor_a_profile_is_refused(engine: Engine, busybox: str) -> None:
    done = engine.docker("run", "--rm", "--security-opt", "apparmor=strict", busybox, "true")
    assert done.returncode == 125
    assert "AppArmor profile 'strict' is asked for, but this kernel has no AppArmor" in done.stderr
    for word in ("apparmor=unconfined", "apparmor:unconfined"):
        engine.docker("run", "--rm", "--security-opt", word, busybox, "true", check=True)
    assert inspected_profile(engine, busybox) == ""


def inspected_profile(engine: Engine, image: str) -> str:
    id = engine.docker("create", image, "true", check=True).stdout.strip()
    try:
        return str(inspected(engine, id)["AppArmorProfile"])
    finally:
        engine.docker("rm", id, check=True)
