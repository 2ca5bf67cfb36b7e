"""Other OCI runtimes: what they are given to read, and what is made of what they say."""

import stat
from pathlib import Path

import pytest

from onggi.daemon.options import read
from onggi.engine.settings import AddedRuntime
from onggi.errors import InvalidParameter
from onggi.oci import spec as oci
from onggi.runtime import delegate, foreign
from onggi.runtime.command import Command, CommandFailed, discard, of_bundle
from onggi.runtime.failure import DELEGATE, failure
from onggi.runtime.process import NotRunning
from onggi.runtime.request import OciProgram
from onggi.runtime.steps import StartFailure

SPEC = oci.Spec(
    oci_version=oci.VERSION,
    process=oci.Process(cwd="/", args=("sh",), reaper=True),
    root=oci.Root("rootfs", readonly=True),
    mounts=(oci.Mount("/data", "bind", "/data", ("rbind", "rshared")),),
    linux=oci.Linux(
        resources=oci.LinuxResources(
            devices=(oci.LinuxDeviceCgroup(allow=False), oci.LinuxDeviceCgroup(True, "c", 136, -1))
        )
    ),
)


def program(directory: Path, script: str) -> str:
    """A runtime of a few lines: what is tested is how we speak to one."""
    path = directory / "runtime"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_bundle_is_written_as_every_runtime_reads_it(tmp_path: Path) -> None:
    bundle = tmp_path / "bundles" / "one"
    command = foreign.prepare(bundle, "one", OciProgram("/usr/bin/crun", ("--debug",)), SPEC)
    config = oci.decode((bundle / "config.json").read_bytes())
    assert config.oci_version == "1.0.2"
    assert config.root == oci.Root("rootfs", readonly=True)
    assert config.linux is not None
    assert config.linux.rootfs_propagation == "shared"
    text = (bundle / "config.json").read_text()
    assert '{"allow":false,"type":"a","access":"rwm"}' in text
    assert '{"allow":true,"type":"c","major":136,"access":"rwm"}' in text
    assert "reaper" not in text
    assert stat.S_IMODE((bundle / "config.json").stat().st_mode) == 0o600
    again = of_bundle(str(bundle), "one")
    assert again is not None
    assert again.data() == command.data() == ["/usr/bin/crun", ["--debug"], str(bundle), "one"]


def test_a_refusal_is_the_last_error_of_the_log(tmp_path: Path) -> None:
    log = """eval "$(echo "$*" | sed 's/.*--log \\([^ ]*\\).*/log=\\1/')"
echo '{"level":"warning","msg":"first"}' >>"$log"; echo '{"level":"error","msg":"no such thing"}' >>"$log"; exit 1"""
    command = Command(program(tmp_path, log), ["--own"], str(tmp_path), "id")
    with pytest.raises(CommandFailed, match=r"^no such thing$"):
        command.run("state", "id")


def test_a_silent_refusal_tells_the_status(tmp_path: Path) -> None:
    command = Command(program(tmp_path, "exit 9"), [], str(tmp_path), "id")
    with pytest.raises(CommandFailed, match=r"runtime state: exit status 9$"):
        command.run("state")


def test_a_container_that_has_ended_is_not_running(tmp_path: Path) -> None:
    said = """for word; do [ -z "$next" ] || { echo '{"level":"error","msg":"container not running"}' >>"$word"; exit 1; }
[ "$word" = --log ] && next=1; done"""
    with pytest.raises(NotRunning):
        foreign.steer(Command(program(tmp_path, said), [], str(tmp_path), "id"), "pause", "id")


def test_discarding_asks_the_runtime_and_takes_the_bundle_away(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    bundle = tmp_path / "bundles" / "id"
    foreign.prepare(bundle, "id", OciProgram(program(tmp_path, f'echo "$*" >>{asked}')), SPEC)
    discard(str(bundle), "id")
    discard(str(bundle), "id")
    assert not bundle.exists()
    assert asked.read_text().splitlines()[0].endswith("--log-format json delete --force id")
    assert len(asked.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ('runc create failed: exec: "x": executable file not found in $PATH', 127),
        ("open executable: Permission denied", 126),
        ("cgroups in hybrid mode not supported", 128),
    ],
)
def test_the_exit_status_is_read_out_of_its_words(words: str, status: int) -> None:
    found = delegate._failure(words)
    assert (found.step, found.exit_status) == (DELEGATE, status)
    told = failure(found, exec=False)
    assert str(told).endswith(f"OCI runtime create failed: {words}")
    assert told.exit_status == status
    assert (
        str(failure(StartFailure(DELEGATE, 2, "exec failed", 127), exec=True)) == "OCI runtime exec failed: exec failed"
    )


def test_runtimes_are_options_of_the_daemon(tmp_path: Path) -> None:
    settings = read(["--add-runtime", "crun=/usr/bin/crun", "--default-runtime", "crun"]).settings
    assert settings.runtimes == {"crun": AddedRuntime("/usr/bin/crun")}
    assert settings.default_runtime == "crun"
    file = tmp_path / "daemon.json"
    file.write_text('{"runtimes": {"youki": {"path": "youki", "runtimeArgs": ["--debug"]}}}')
    assert read(["--config-file", str(file)]).settings.runtimes == {"youki": AddedRuntime("youki", ("--debug",))}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--add-runtime", "runc=/x"], "runtime name 'runc' is reserved"),
        (["--default-runtime", "kata"], "specified default runtime 'kata' does not exist"),
        (
            ["--userns-remap", "default"],
            "userns-remap is not supported by Onggi: containers run with the host's user IDs; leave the option away",
        ),
        (["--add-runtime", "kata"], 'invalid value "kata" for runtimes: NAME=VALUE is expected'),
    ],
)
def test_what_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        read(arguments)
    assert str(raised.value) == sentence


def test_a_shim_of_containerd_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}')
    with pytest.raises(InvalidParameter, match="give the path of a program with runc's commands"):
        read(["--config-file", str(file)])
