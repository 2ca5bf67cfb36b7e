"""cp, export and diff: Docker's rules for names and links, and nothing outside the container is reached."""

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine


@pytest.fixture
def running(engine: Engine, name: str) -> Iterator[str]:
    engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "busybox", "sleep", "1000",
                  check=True)  # fmt: skip
    yield name
    engine.docker("rm", "-fv", name)


@pytest.fixture
def created(engine: Engine, name: str) -> Iterator[str]:
    engine.docker(
        "create", "--name", name, "--network", "none", "-v", "/volume", "busybox", "sleep", "1000", check=True
    )
    yield name
    engine.docker("rm", "-fv", name)


def inside(engine: Engine, container: str, script: str) -> str:
    return engine.docker("exec", container, "sh", "-c", script, check=True).stdout


def archive_names(engine: Engine, container: str, path: str) -> list[str]:
    done = engine.docker("cp", f"{container}:{path}", "-", text=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:  # type: ignore[arg-type]
        return archive.getnames()


def raw_names(engine: Engine, container: str, path: str) -> str:
    """As the API gives them: the command line renames."""
    url = f"http://localhost/v1.51/containers/{container}/archive?path={path}"
    command = ["curl", "-sS", "--max-time", "60", "--unix-socket", str(engine.socket), url]
    archive = subprocess.run(command, check=True, capture_output=True, timeout=90).stdout
    listed = subprocess.run(["tar", "-tPf", "-"], input=archive, check=True, capture_output=True, timeout=60)
    return " ".join(listed.stdout.decode().split("\n")).strip()


def test_names_in_archives_are_docker_s(engine: Engine, running: str) -> None:
    inside(
        engine,
        running,
        "mkdir -p /tmp/d/e; echo 1 > /tmp/d/f; ln -s f /tmp/d/l; ln -s /tmp/d /tmp/dl; ln /tmp/d/f /tmp/d/hard",
    )
    whole = "{0}/ {0}/e/ {0}/f {0}/hard {0}/l"
    assert raw_names(engine, running, "/tmp/d") == whole.format("d")
    assert raw_names(engine, running, "/tmp/d/") == whole.format("d")
    assert raw_names(engine, running, "/tmp/d/.") == whole.format(".")
    assert raw_names(engine, running, "/tmp/dl") == "dl"
    assert raw_names(engine, running, "/tmp/dl/") == whole.format("dl")
    assert raw_names(engine, running, "tmp/d/f") == "f"
    assert raw_names(engine, running, "/tmp/d/../d/f") == "f"
    assert raw_names(engine, running, "/tmp/d/l") == "l"


def test_there_and_back(engine: Engine, running: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_bytes(os.urandom(3_000_000))
    (source / "file").chmod(0o640)
    (source / "link").symlink_to("file")
    (source / "sub/other").write_text("other")
    os.chown(source / "sub/other", 1234, 4321)
    engine.docker("cp", str(source), f"{running}:/new", check=True)
    assert inside(engine, running, "ls -n /new/sub; readlink /new/link").split()[4:6] == ["1234", "4321"]
    assert inside(engine, running, "stat -c %a /new/file") == "640\n"
    engine.docker("cp", f"{running}:/new", str(tmp_path / "back"), check=True)
    assert (tmp_path / "back/file").read_bytes() == (source / "file").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("file")
    assert (tmp_path / "back/sub/other").read_text() == "other"
    followed = engine.docker("cp", "-L", f"{running}:/new/link", str(tmp_path / "followed"), check=True)
    assert followed.returncode == 0
    assert (tmp_path / "followed").read_bytes() == (source / "file").read_bytes()


def test_a_container_that_never_ran(engine: Engine, created: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before the start")
    engine.docker("cp", str(tmp_path / "file"), f"{created}:/etc/given", check=True)
    engine.docker("cp", str(tmp_path / "file"), f"{created}:/volume/given", check=True)
    assert archive_names(engine, created, "/volume") == ["volume", "volume/given"]
    engine.docker("start", created, check=True)
    assert inside(engine, created, "cat /etc/given /volume/given") == "before the start" * 2
    engine.docker("kill", created, check=True)
    assert archive_names(engine, created, "/etc/given") == ["given"]
    diff = engine.docker("diff", created, check=True).stdout.splitlines()
    assert diff == ["C /etc", "A /etc/given"]


def test_read_only_file_systems_are_not_written(engine: Engine, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    engine.docker("create", "--name", name, "--read-only", "-v", f"{tmp_path}:/outside:ro", "-v", "/volume", "busybox",
                  "sleep", "1000", check=True)  # fmt: skip
    try:
        for _ in range(2):  # as made, and running
            assert engine.docker("cp", str(tmp_path / "file"), f"{name}:/tmp/").stderr == (
                "Error response from daemon: container rootfs is marked read-only\n"
            )
            assert engine.docker("cp", str(tmp_path / "file"), f"{name}:/outside/other").stderr == (
                "Error response from daemon: mounted volume is marked read-only\n"
            )
            engine.docker("cp", str(tmp_path / "file"), f"{name}:/volume/", check=True)
            engine.docker("start", name, check=True)
    finally:
        engine.docker("rm", "-fv", name)


def test_refusals(engine: Engine, running: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    gone = engine.docker("cp", f"{running}:/no/such", "-")
    assert (gone.returncode, gone.stderr) == (
        1, f"Error response from daemon: Could not find the file /no/such in container {running}\n",
    )  # fmt: skip
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(archive), "file"], check=True)
    for path, body, sentence in (
        ("/etc/passwd", archive.read_bytes(), "extraction point is not a directory"),
        ("/nowhere", archive.read_bytes(), f"Could not find the file /nowhere in container {running}"),
        ("/tmp", b"this is no archive" * 100, None),
        ("/tmp", archive.read_bytes()[:700], None),
    ):
        command = ["curl", "-sS", "--max-time", "60", "--unix-socket", str(engine.socket), "-X", "PUT",
                   "-H", "Content-Type: application/x-tar", "--data-binary", "@-", "-w", "\n%{http_code}",
                   f"http://localhost/v1.51/containers/{running}/archive?path={path}"]  # fmt: skip
        answer = subprocess.run(command, input=body, check=True, capture_output=True, timeout=90).stdout.decode()
        message, _, status = answer.rpartition("\n")
        assert status in ("400", "404"), answer
        if sentence is not None:
            assert sentence in message


def test_links_out_of_the_container_lead_nowhere(engine: Engine, running: str, tmp_path: Path) -> None:
    """What a path says is said inside; the host's files of the same names stay as they are."""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    inside(engine, running, f"mkdir -p {tmp_path.parent}; ln -s {tmp_path} /away; ln -s ../../../../..{secret} /up")
    assert engine.docker("cp", f"{running}:/away/secret", "-").returncode == 1
    assert engine.docker("cp", "-L", f"{running}:/up", "-").returncode == 1
    (tmp_path / "file").write_text("new")
    assert engine.docker("cp", str(tmp_path / "file"), f"{running}:/away/secret").returncode == 1
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        for target in ("link/secret", f"../../../../../..{secret}"):
            member = tarfile.TarInfo(target)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
    engine.docker("cp", "-", f"{running}:/tmp", text=False, input=evil.getvalue())
    assert secret.read_text() == "the host's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "secret"]


def test_swapped_directories_lead_nowhere(engine: Engine, running: str, tmp_path: Path) -> None:
    """A directory and a link to the host's are exchanged all the time while archives come and go."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "canary").write_text("unchanged")
    inside(
        engine, running, f"mkdir -p /race/real {tmp_path}; echo inside > /race/real/canary; ln -s {victim} /race/link"
    )
    swap = "cd /race; while :; do mv real x; mv link real; mv x link; mv real x; mv link real; mv x link; done"
    engine.docker("exec", "-d", running, "sh", "-c", swap, check=True)
    payload = tmp_path / "canary"
    payload.write_text("overwritten")
    for _ in range(15):
        engine.docker("cp", str(payload), f"{running}:/race/real/canary")
        taken = engine.docker("cp", f"{running}:/race/real/canary", "-")
        assert "unchanged" not in taken.stdout
    assert (victim / "canary").read_text() == "unchanged"
    assert [path.name for path in victim.iterdir()] == ["canary"]


def test_programs_of_the_container_are_not_run(engine: Engine, running: str) -> None:
    """An upload is unpacked by our decoders, whatever the container calls tar, gzip or xz."""
    inside(engine, running, "for n in tar gzip unpigz xz ps; do printf '#!/bin/sh\\ntouch /ran-$0\\n' > /bin/$n.new;"
           " chmod +x /bin/$n.new; mv /bin/$n.new /bin/$n; done")  # fmt: skip
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("zipped")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"ok"))
    assert engine.docker("cp", "-", f"{running}:/tmp", text=False, input=packed.getvalue()).returncode == 0
    assert inside(engine, running, "cat /tmp/zipped") == "ok"
    assert engine.docker("top", running).returncode == 0
    assert engine.docker("export", running, text=False).returncode == 0
    assert "ran" not in inside(engine, running, "ls /")


def test_fifos_and_devices_do_not_block(engine: Engine, running: str) -> None:
    """A pipe without a writer and a device are described by their entry; neither is opened."""
    inside(engine, running, "mkdir /odd; mkfifo /odd/fifo; mknod /odd/null c 1 3; echo x > /odd/file")
    begun = time.monotonic()
    assert sorted(archive_names(engine, running, "/odd")) == ["odd", "odd/fifo", "odd/file", "odd/null"]
    assert time.monotonic() - begun < 60


def test_export_is_the_root_without_volumes(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "-v", "/volume", "--network", "none", "busybox", "sh", "-c",
                  "echo v > /volume/v; echo w > /w; exec sleep 1000", check=True)  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while engine.docker("exec", name, "test", "-e", "/w").returncode:
            assert time.monotonic() < deadline
        for _ in range(2):  # running, and ended
            exported = engine.docker("export", name, text=False, check=False)
            with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:  # type: ignore[arg-type]
                names = archive.getnames()
            assert "w" in names
            assert "bin/busybox" in names
            assert "volume" in names
            assert "volume/v" not in names
            assert not any(found.startswith("proc/") for found in names)
            engine.docker("kill", name)
    finally:
        engine.docker("rm", "-fv", name)


def test_an_upload_into_a_container_that_does_not_run_is_whole_or_refused(engine: Engine, created: str) -> None:
    """The client hangs up half-way: nothing of the container is held, and it can be started."""
    command = ["curl", "-sS", "--max-time", "2", "--unix-socket", str(engine.socket), "-X", "PUT",
               "-H", "Content-Type: application/x-tar", "-T", "-",
               f"http://localhost/v1.51/containers/{created}/archive?path=/tmp"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as slow:
        assert slow.stdin is not None
        slow.stdin.write(b"x" * 1000)
        slow.stdin.flush()
        engine.docker("start", created, check=True)
        slow.wait(60)
    assert engine.docker("exec", created, "true").returncode == 0
