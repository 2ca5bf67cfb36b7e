"""A daemon to be killed: starts one container, says so, waits. Run by the tests of survival.

Usage: runtime_daemon.py EXEC_ROOT ROOT LOG ID CLIENT_FD ARGUMENT…
"""

import asyncio
import json
import sys
from pathlib import Path

from onggi.linux.fd import Fd
from onggi.oci.root import DirectoryRoot
from onggi.runtime.runtime import Attachment, Log, LogFile, Runtime, Start
from tests.runtime import spec


async def main(exec_root: Path, root: Path, log: Path, id: str, client: int, *args: str) -> None:
    async with Runtime(exec_root, spool_root=log.parent) as runtime:
        attachment = Attachment(Fd(client), stdin=True, stdout=True, stderr=True, framed=False)
        order = Start(
            id=id,
            spec=spec(root, id, args),
            root=DirectoryRoot(str(root)),
            log=Log(LogFile(log)),
            open_stdin=True,
            attachments=[attachment],
        )
        started = await runtime.start(order)
        facts = {"pid": started.pid, "start_time": started.start_time, "launcher": runtime.launcher_pid}
        print(json.dumps(facts), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    exec_root, root, log, id, client, *args = sys.argv[1:]
    asyncio.run(main(Path(exec_root), Path(root), Path(log), id, int(client), *args))
