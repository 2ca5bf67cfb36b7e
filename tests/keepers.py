"""What keeps keys on people's machines, for tests: a session bus with GNOME's keyring, and TPMs in software (swtpm).

with SessionBus(path) as bus:
    bus.keyring("password")            # the Secret Service API, its collection unlocked
    bus.tpm("one")                     # the value of TPM2TOOLS_TCTI

All of them are real programs of Debian's packages; none needs a desktop or a chip.
"""

import os
import select
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

_PROGRAMS = {
    "dbus-daemon": "dbus-daemon", "gdbus": "libglib2.0-bin", "gnome-keyring-daemon": "gnome-keyring",
    "swtpm": "swtpm", "tpm2-abrmd": "tpm2-abrmd", "tpm2_unseal": "tpm2-tools",
}  # fmt: skip
_LACKING = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
LACKING = f"not installed: apt-get install {' '.join(_LACKING)}" if _LACKING else ""


class SessionBus:
    """Enter to start it in `path`; left, it is gone with all that was started on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._tpm_programs = ExitStack()

    def __enter__(self) -> Self:
        bus = self._start(self._stack, "dbus-daemon", "--session", "--nofork", "--print-address=1",
                          f"--address=unix:dir={self._path}", stdout=subprocess.PIPE)  # fmt: skip
        assert bus.stdout is not None
        self.address = bus.stdout.readline().decode().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tpm_programs.close()
        self._stack.close()

    def keyring(self, password: str) -> None:
        """GNOME's, with a `login` collection that has this password."""
        daemon = self._start(self._stack, "gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets",
                             stdin=subprocess.PIPE)  # fmt: skip
        assert daemon.stdin is not None
        daemon.stdin.write(password.encode())
        daemon.stdin.close()
        self._wait("org.freedesktop.secrets")

    def tpm(self, name: str) -> str:
        """The TPM of that name, with a resource manager in front; any other is switched off."""
        self._tpm_programs.close()
        state = self._path / name
        state.mkdir(exist_ok=True)
        socket = self._path / f"{name}.socket"
        socket.unlink(missing_ok=True)
        # In the background once it listens; the name of the control socket is what clients make of the other.
        subprocess.run(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear",
                        "--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl",
                        "--pid", f"file={state}/pid", "--daemon"], check=True, timeout=30)  # fmt: skip
        number = int((state / "pid").read_text())
        self._tpm_programs.callback(_end, number)
        self._start(self._tpm_programs, "tpm2-abrmd", "--allow-root", "--session", f"--tcti=swtpm:path={socket}")
        self._wait("com.intel.tss2.Tabrmd")
        return "tabrmd:bus_type=session"

    def _wait(self, name: str) -> None:
        subprocess.run(["gdbus", "wait", "--session", "--timeout", "30", name], env=self._environment, check=True,
                       timeout=40)  # fmt: skip

    @property
    def _environment(self) -> dict[str, str]:
        home = str(self._path)
        address = {"DBUS_SESSION_BUS_ADDRESS": self.address} if hasattr(self, "address") else {}
        return {"PATH": os.environ["PATH"], "HOME": home, "XDG_RUNTIME_DIR": home, "XDG_DATA_HOME": home, **address}

    def _start(
        self, stack: ExitStack, *words: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        with (self._path / "log").open("ab") as log:
            process = subprocess.Popen(words, env=self._environment, stdin=stdin, stdout=stdout, stderr=log)

        def stop() -> None:
            process.terminate()
            process.wait(30)

        stack.enter_context(process)
        stack.callback(stop)
        return process


def _end(number: int) -> None:
    """A process in the background, which is no child of ours, and its end."""
    descriptor = os.pidfd_open(number)
    try:
        os.kill(number, signal.SIGTERM)

        assert select.select([descriptor], [], [], 30)[0], f"swtpm {number} goes on"
    finally:
        os.close(descriptor)
