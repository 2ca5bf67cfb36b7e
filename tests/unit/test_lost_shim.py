"""runtime.runtime: a shim is lost, and its container's group can't be removed."""

import asyncio
import errno
from pathlib import Path

import pytest

from onggi.linux import message
from onggi.linux.cgroup import Cgroup, Hierarchies
from onggi.runtime import exec_root
from onggi.runtime.process import Process
from onggi.runtime.runtime import Runtime


def test_who_waits_for_the_container_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Cgroup) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def run() -> None:
        monkeypatch.setattr(exec_root, "end_cgroup", fail)
        ours, theirs = message.pair()
        with theirs:
            process = Process(ours, describe="container x", exec=False, detached=lambda: None, lost=lambda _: None)
            cgroup = Cgroup("/onggi/x", Hierarchies({}, {}, str(tmp_path)))
            await Runtime(tmp_path)._end_lost("x", cgroup, process)
            async with asyncio.timeout(30):
                assert (await process.ended()).lost
                await process.settled()
            process.close()

    asyncio.run(run())
