"""Where the time of a start goes, without engine, image and network: `python -m bench.phases [STARTS]`, as root.

order     the daemon has compiled the plan; an idle shim has been woken
prepare   its pipes are made and the starter is asked
execute   cgroup, namespaces, mounts, the program's execve; log and socket are opened meanwhile
report    the daemon knows
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.runtime import busybox_root, remove_cgroups, start

from onggi.runtime.process import PHASES
from onggi.runtime.runtime import Log, LogFile, Runtime

WARM_UP = 5
IDLE = 50


async def main(starts: int, directory: Path, exec_root: Path) -> None:
    root = busybox_root(directory)
    took: dict[str, list[float]] = {name: [] for name in ("start", *PHASES, "end", "forget")}
    async with Runtime(exec_root, spool_root=directory) as runtime:
        for number in range(WARM_UP + starts):
            order = start(root, "true", log=Log(LogFile(directory / "log")), trace=True)
            moments = [time.perf_counter()]
            started = await runtime.start(order)
            moments.append(time.perf_counter())
            await runtime.wait(order.id)
            moments.append(time.perf_counter())
            await runtime.forget(order.id)
            moments.append(time.perf_counter())
            if number >= WARM_UP:
                for name, before, after in zip(("start", "end", "forget"), moments, moments[1:], strict=False):
                    took[name].append((after - before) * 1000)
                for name, nanoseconds in started.trace:
                    took[name].append(nanoseconds / 1e6)
        for name, values in took.items():
            indent = "  " if name in PHASES else ""
            print(f"{indent + name:<12} {statistics.median(values):7.2f} ms   ({min(values):.2f}–{max(values):.2f})")

        idle = [start(root, "sleep", "1000", log=Log(LogFile(directory / f"log-{number}"))) for number in range(IDLE)]
        begun = time.perf_counter()
        await asyncio.gather(*(runtime.start(order) for order in idle))
        print(f"{IDLE} at once  {(time.perf_counter() - begun) * 1000:7.2f} ms")
        print(f"each idle    {proportional_kib(exec_root) / IDLE:7.0f} KiB of launcher, shims and starters (PSS)")
        await asyncio.gather(*(runtime.signal(order.id, 9) for order in idle))
        await asyncio.gather(*(runtime.wait(order.id) for order in idle))
        await asyncio.gather(*(runtime.forget(order.id) for order in idle))


def proportional_kib(exec_root: Path) -> int:
    """The memory of all processes that serve an exec root, shared pages divided by their users."""
    total = 0
    for pid in subprocess.run(
        ["pgrep", "-f", str(exec_root)], capture_output=True, text=True, check=True
    ).stdout.split():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="onggi-phases-") as directory,
        tempfile.TemporaryDirectory(prefix="onggi-phases-", dir="/run") as exec_root,
    ):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, Path(directory), Path(exec_root)))
    remove_cgroups()
