"""An Onggi engine under test, driven by the stock docker command line and by our own; and the census after it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.peers import docker_command

ROOT = Path(__file__).parent.parent
READY_S = 60
STOP_S = 60


class Engine:
    """`onggi daemon` on roots and a bridge of its own. Enter to start; leave to remove its containers and stop it."""

    def __init__(
        self, directory: Path, *, number: int = 0, options: tuple[str, ...] = (), enter: tuple[str, ...] = ()
    ) -> None:
        """`enter` is a command that executes the engine elsewhere: in another network namespace."""
        self.enter = enter
        self.directory = directory
        # A socket's path is limited to 108 bytes, and pytest's directories are long.
        self.exec_root = Path(f"/run/onggi-test-{os.getpid()}-{number}")
        self.data_root = directory / "data"
        self.socket = self.exec_root / "onggi.sock"
        self.bridge = f"ogt{os.getpid() % 100000}-{number}"
        # Of this process alone: other suites may run on the machine.
        place = 2 * os.getpid() + number
        self.subnet = f"10.{100 + place // 250 % 100}.{place % 250}"
        self.log = directory / "daemon.log"
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the engine does not run"
        return self._process.pid

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready."""
        reading, writing = os.pipe()
        with self.log.open("ab") as log, os.fdopen(reading, "rb") as answer:
            self._process = subprocess.Popen(
                [*self.enter, sys.executable, "-m", "onggi.daemon", "-H", f"unix://{self.socket}",
                 "--data-root", str(self.data_root), "--exec-root", str(self.exec_root),
                 "--bridge-name", self.bridge, "--bip", f"{self.subnet}.1/24",
                 "--cgroup-parent", f"/{self.bridge}", "--ready-fd", str(writing), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], cwd="/", start_new_session=True,
            )  # fmt: skip
            os.close(writing)
            said = answer.readline().decode().strip()  # ends with the process, ready or not
        if said != "ready":
            self._process.wait()
            raise AssertionError(f"the engine did not start: {said}\n{self.log_tail()}")

    def kill(self) -> None:
        """kill -9 of the daemon alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the engine did not stop within {STOP_S} s\n{self.log_tail()}") from None
        assert status == 0, f"the engine ended with {status}\n{self.log_tail()}"

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _run(self, command: list[str], *, check: bool, **options: object) -> "subprocess.CompletedProcess[str]":
        environment = {key: text for key, text in os.environ.items() if not key.startswith(("DOCKER_", "ONGGI_HOST"))}
        environment |= {"DOCKER_HOST": f"unix://{self.socket}", "ONGGI_HOST": f"unix://{self.socket}"}
        environment["DOCKER_CONFIG"] = str(self.directory / "docker-config")
        given: dict[str, object] = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
        given |= {"capture_output": True, "text": True, "timeout": 100, "env": environment} | options
        done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, **given)  # type: ignore[call-overload]
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}{done.stderr}\n{self.log_tail()}")
        return done

    def docker(self, *words: str, check: bool = False, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run the stock docker command line against this engine."""
        return self._run([docker_command(), *words], check=check, **options)

    def onggi(self, *words: str, check: bool = False, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run our command line against this engine."""
        return self._run([str(ROOT / "scripts" / "onggi"), *words], check=check, **options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            self.start()  # a test killed it: what it left is removed by its successor
        left = self.docker("ps", "-aq").stdout.split()
        if left:
            self.docker("rm", "-fv", *left, check=True)
        self.stop()
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        shutil.rmtree(self.data_root, ignore_errors=True)
        shutil.rmtree(self.exec_root, ignore_errors=True)


def census(engine: Engine) -> list[str]:
    """What is left on the machine of an engine that has stopped: processes, mounts, cgroups, nft tables, links."""
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            if str(engine.exec_root) in words or str(engine.data_root) in words:
                left.append(f"process {entry.name}: {words}")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(engine.exec_root) in line or str(engine.data_root) in line:
            left.append(f"mount {line}")
    for pattern in (f"*/{engine.bridge}", f"{engine.bridge}"):  # v1 and v2
        left.extend(f"cgroup {directory}" for directory in Path("/sys/fs/cgroup").glob(pattern))
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    left.extend(f"nft {line}" for line in tables.splitlines() if engine.bridge in line)
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=False).stdout
    left.extend(f"link {line}" for line in links.splitlines() if engine.bridge in line)
    return left


def inspected(engine: Engine, name: str) -> dict[str, Any]:
    """What `docker inspect` says of a container."""
    found: dict[str, Any] = json.loads(engine.docker("inspect", name, check=True).stdout)[0]
    return found


def state(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = inspected(engine, name)["State"]
    return found
