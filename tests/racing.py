"""Races against a start: one process swaps names without end while another starts containers on the same files.

A program of its own (`python -m tests.racing`), so that starts come from a single-threaded process as in a shim: it
reads an order as JSON, and writes what each start came to as a line of JSON. With `naive` the code under test is
replaced by what it must not be: paths as strings, looked at first and used later. A race that the naive code survives
proves nothing, so each test runs both.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onggi.linux.fd import Fd

ROOT = Path(__file__).parent.parent
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
SECONDS = 60.0 if WHOLE else 3.0
"""How long the real code is attacked, and longer until it has started containers enough."""
STARTS = 20
PATIENCE_S = 120.0
"""For these starts, and for the naive code to fall."""
_WINDOW_S = 0.001
"""Between the naive code's look and its use: it falls soon, on a busy machine too."""
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LINKS = 40

SWAPPER = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
one, other = (os.fsencode(name) for name in sys.argv[1:])
parent = os.getppid()
swaps = 0
while True:
    for _ in range(1000):
        if libc.renameat2({_AT_FDCWD}, one, {_AT_FDCWD}, other, {_RENAME_EXCHANGE}) == 0:
            swaps += 1
    os.lseek(1, 0, 0)
    os.write(1, b"%d" % swaps)
    if os.getppid() != parent:
        break
"""


@contextmanager
def swapping(one: Path, other: Path, count: Path) -> Iterator[None]:
    """Exchange two names all the time. Fails when that never happened."""
    with count.open("w+") as file:
        racer = subprocess.Popen([sys.executable, "-S", "-c", SWAPPER, str(one), str(other)], stdout=file)
        try:
            yield
        finally:
            racer.kill()
            racer.wait()
    assert int(count.read_text() or 0) > 1000, "nothing was swapped"


def starts(spec: dict[str, Any], *, naive: str = "", enough: Callable[[dict[str, Any]], bool]
           ) -> list[dict[str, Any]]:  # fmt: skip
    """Start containers of `spec` one after the other, until one is `enough`; the real code for `SECONDS` at most.

    Each result is {"failed": sentence} or {"said": output, "mounts": its mount table}.
    """
    order = {"spec": spec, "naive": naive}
    process = subprocess.Popen([sys.executable, "-m", "tests.racing"], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    found: list[dict[str, Any]] = []
    begun = time.monotonic()
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        while time.monotonic() < begun + PATIENCE_S:
            line = process.stdout.readline()
            assert line, "the starting process has died"
            found.append(json.loads(line))
            started = sum("said" in result for result in found)
            if enough(found[-1]) or (not naive and started >= STARTS and time.monotonic() > begun + SECONDS):
                break
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return found


def main() -> None:
    from onggi.oci import spec as oci
    from onggi.oci.root import DirectoryRoot
    from onggi.runtime import host, plan

    order = json.loads(sys.stdin.readline())
    spec = oci.decode(json.dumps(order["spec"]).encode())
    assert spec.root is not None
    steps = json.loads(json.dumps(plan.plan(spec, host.probe(), DirectoryRoot(spec.root.path)).data()))
    if order["naive"]:
        _weaken(order["naive"])
    while True:
        print(json.dumps(_start(steps)), flush=True)


def _start(steps: list[Any]) -> dict[str, Any]:
    from onggi.runtime import init

    reading, writing = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        child = init.spawn(steps, {"stdin": null, "stdout": writing, "stderr": writing})
    except init.StartFailure as failure:
        return {"failed": failure.text}
    finally:
        os.close(writing)
        os.close(null)
        if sys.exc_info()[0] is not None:
            os.close(reading)
    try:
        master = None if child.console is None else os.dup(child.console.fileno())
        mounts = Path(f"/proc/{child.pid}/mountinfo").read_text()
        with os.fdopen(reading if master is None else master, "rb", buffering=0) as output:
            said = _first_line(output.fileno())
    finally:
        child.destroy()
        if child.console is not None:
            os.close(reading)
    return {"said": said, "mounts": mounts}


def _first_line(descriptor: int) -> str:
    said = b""
    while not said.endswith(b"end\n") and not said.endswith(b"end\r\n"):
        try:
            more = os.read(descriptor, 65536)
        except OSError:  # EIO of a terminal that nobody holds any more
            break
        if not more:
            break
        said += more
    return said.decode(errors="replace")


# --- what the code under test must not be -------------------------------------------------------------------------


def _weaken(part: str) -> None:
    from onggi.runtime import mount_steps

    steps = mount_steps
    weaker: dict[str, list[tuple[Any, str, Callable[..., Any]]]] = {
        "targets": [(steps, "make_directory", _by_path)],
        "console": [(steps, "make_file", _file_by_path)],
        "null": [(steps, "_null", lambda setup: Fd(os.open(_path_of(setup.root_fd(), "/dev/null"), os.O_PATH)))],
        "proc": [
            (steps, "_plain_directory", lambda setup, path: _by_path(setup.root_fd(), path)),
            (steps.Mount, "execute", _forgetful(steps.Mount.execute)),
            (steps.WriteSysctls, "execute", _sysctls_by_path),
        ],
    }
    for holder, name, code in weaker[part]:
        setattr(holder, name, code)


def _path_of(root: "Fd | int", path: str) -> str:
    """The path with its links resolved inside the root, as it is at this moment: checked, not held."""
    base = f"/proc/self/fd/{root if isinstance(root, int) else root.fileno()}"
    done: list[str] = []
    rest = [part for part in path.split("/") if part]
    for _ in range(_LINKS):
        if not rest:
            break
        name = rest.pop(0)
        here = "/".join([base, *done, name])
        if os.path.islink(here):
            rest = [part for part in os.readlink(here).split("/") if part] + rest
            done = []
        else:
            done.append(name)
    time.sleep(_WINDOW_S)
    return "/".join([base, *done, *rest])


def _by_path(root: "Fd | int", path: str, *, mode: int = 0o755) -> Fd:
    checked = _path_of(root, path)
    os.makedirs(checked, mode, exist_ok=True)
    return Fd(os.open(checked, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _file_by_path(root: "Fd | int", path: str, *, mode: int = 0o644) -> Fd:
    checked = _path_of(root, path)
    os.close(os.open(checked, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, mode))
    return Fd(os.open(checked, os.O_PATH | os.O_CLOEXEC))


def _forgetful(execute: Callable[..., None]) -> Callable[..., None]:
    def without_handle(step: Any, setup: Any) -> None:
        execute(step, setup)
        setup.proc = None

    return without_handle


def _sysctls_by_path(step: Any, setup: Any) -> None:
    for key, value in step.values.items():
        with open(_path_of(setup.root_fd(), f"/proc/sys/{key}"), "w") as file:
            file.write(value)


if __name__ == "__main__":
    main()
