"""A container's log without a container: what writes it in the shim, with times of the test's choice."""

import os
from pathlib import Path

from onggi.runtime.logs.compression import compress
from onggi.runtime.logs.container_log import ContainerLog
from onggi.runtime.logs.json_file import JsonFile
from onggi.runtime.logs.local_file import LocalFile
from onggi.runtime.logs.rotation import RotatingFile
from onggi.runtime.poll import Poll


def open_log(
    path: Path, size: int | None, files: int, *, compress: bool = False, format: str = "json", attributes: str = ""
) -> ContainerLog:
    """The log as the shim opens it."""
    file = {"format": format, "path": str(path), "max_size_bytes": size, "max_files": files, "compress": compress,
            "attributes": attributes}  # fmt: skip
    return ContainerLog({"file": file, "remote": None, "buffer_bytes": None}, Poll())


class Writer:
    """Writes records with given times; `rotate` puts the file aside, `compress` what was put aside."""

    def __init__(self, path: Path, format: str = "json", files: int = 5) -> None:
        self.path = path
        self.file = RotatingFile(str(path), 1 << 30, files)
        self._records = JsonFile(self.file) if format == "json" else LocalFile(self.file)

    def write(self, data: bytes, time_ns: int, stream: str = "stdout") -> None:
        """Whole lines, or a piece of one. The file's own time follows, as it does when the clock is the machine's."""
        self._records.record(stream, [data], time_ns)
        os.utime(self.path, ns=(time_ns, time_ns))

    def rotate(self) -> None:
        assert self.file._rotate()

    def compress(self) -> None:
        """Every file that was put aside, as the shim's child does it: none gets its name before it is whole."""
        made = self.path.with_name("compressing")
        for plain in self.path.parent.glob(f"{self.path.name}.*"):
            if plain.suffix != ".gz":
                with plain.open("rb") as source, made.open("wb") as target:
                    compress(source.fileno(), target.fileno())
                made.rename(f"{plain}.gz")
                plain.unlink()
