"""A PostgreSQL server of Debian's package for tests: in a directory of its own, on a unix socket only.

with Postgres() as server:
    PostgresDatabase(server.address("one"))
"""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql"))
LACKING = "" if (PROGRAMS / "initdb").exists() else "PostgreSQL is not installed (apt-get install postgresql)"


class Postgres:
    """Enter to start; left, it is stopped and its directory gone. Needs root: the server runs as `postgres`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="onggi-postgres-")
        self.path = Path(self._directory.name)

    def _as_postgres(self, program: str, *words: str) -> None:
        account = pwd.getpwnam("postgres")
        subprocess.run([PROGRAMS / program, *words], user=account.pw_uid, group=account.pw_gid, extra_groups=[],
                       cwd=self.path, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, timeout=60)  # fmt: skip

    def start(self) -> None:
        self._as_postgres("pg_ctl", "start", "-w", "-D", f"{self.path}/data", "-l", f"{self.path}/log",
                          "-o", f"-c listen_addresses= -c unix_socket_directories={self.path}")  # fmt: skip

    def stop(self) -> None:
        """Its clients' connections end at once."""
        self._as_postgres("pg_ctl", "stop", "-w", "-m", "fast", "-D", f"{self.path}/data")

    def address(self, database: str) -> str:
        """Make a database; gives its address."""
        self._as_postgres("createdb", "-h", str(self.path), database)
        return f"postgresql://postgres@/{database}?host={self.path}"

    def __enter__(self) -> Self:
        account = pwd.getpwnam("postgres")
        os.chown(self.path, account.pw_uid, account.pw_gid)
        self._as_postgres("initdb", "-D", f"{self.path}/data", "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()
