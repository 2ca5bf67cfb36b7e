"""What lies beneath the engine's exec root: by this a daemon that was restarted finds what runs.

<exec_root>/containers/<id>/shim.sock   the shim listens here; a restarted daemon connects
<exec_root>/containers/<id>/status      how the container ended, as JSON; written once, by the shim
<exec_root>/containers/<id>/config.json the container's spec, which names its cgroup; written before the start
<exec_root>/bundles/<id>/               only if another OCI runtime starts and steers it (see `command`)
<exec_root>/execs/<id>/shim.sock, status   the same of an exec
<exec_root>/execs/<id>/exec.json        what the engine wants to know of it again; written before the start
"""

import _socket
import errno
import os
import time
from pathlib import Path

from onggi import jsontext
from onggi.errors import System
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.runtime.process import exit_status
from onggi.runtime.request import ExitStatus
from onggi.runtime.shim import SOCKET, STATUS

CONFIG = "config.json"
EXEC = "exec.json"
_EMPTY_WAIT_S = 30.0
_EMPTY_STEP_S = 0.01


def make_directory(directory: Path) -> None:
    """An empty one, whatever lay there."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        remove(directory)
        directory.mkdir(mode=0o700)


def connect(directory: Path) -> Fd | None:
    """A connection to the shim that listens in `directory`; None when there is none."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as opened:
            socket.connect(f"/proc/self/fd/{opened.fileno()}/{SOCKET}")
    except FileNotFoundError:
        socket.close()
        return None
    except ConnectionRefusedError:
        # A shim gives the name to a socket that listens already: this one's shim is dead.
        (directory / SOCKET).unlink()
        socket.close()
        return None
    except BaseException:
        socket.close()
        raise
    return Fd(socket.detach())


def written_status(directory: Path) -> ExitStatus | None:
    """None when there is none, or when a power cut has left one that can't be read: that one is removed."""
    try:
        written = jsontext.loads((directory / STATUS).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        (directory / STATUS).unlink()
        return None
    return exit_status(written["code"], written["oom_killed"], written["finished_at_ns"])


def end_cgroup(cgroup: Cgroup) -> None:
    """Kill what is in it, wait until it is gone, remove it. Blocks. One that is gone already is fine."""
    deadline = time.monotonic() + _EMPTY_WAIT_S
    while True:
        cgroup.kill()
        try:
            cgroup.delete()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise System(f"the processes of {cgroup.path} do not end: {error.strerror}") from error
        time.sleep(_EMPTY_STEP_S)


def close_off(directory: Path) -> bool:
    """Remove the directory of a container or exec that no shim listens for, so that none can begin to: an order may still be on
    its way. False when one did begin meanwhile."""
    for name in (CONFIG, EXEC, f"{SOCKET}.new", f"{STATUS}.new"):
        (directory / name).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def undo(directory: Path, cgroup: Cgroup | None) -> None:
    """Back to before an order. An exec has no cgroup of its own."""
    if cgroup is not None:
        end_cgroup(cgroup)
    for name in (SOCKET, f"{SOCKET}.new"):
        (directory / name).unlink(missing_ok=True)


def remove(directory: Path) -> None:
    """Remove the directory of a container or exec, which holds files only."""
    try:
        for name in os.listdir(directory):
            os.unlink(directory / name)
        directory.rmdir()
    except FileNotFoundError:
        return
