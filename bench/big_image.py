"""An image of real files for the transfer rows: ten layers, about 760 MB, made of this machine's own /usr."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.registry import PushedImage, push_image

LAYERS = 10
LAYER_BYTES = 76 << 20
SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/usr/local/lib", "/opt", "/root/.pyenv/versions", "/root/.rustup")


def _files() -> Iterator[Path]:
    """Regular files and links, in a fixed order; one filesystem, nothing of /proc."""
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                yield Path(directory, name)


def layers(directory: Path) -> list[Path]:
    """Write the layers' tars into `directory`, once; their paths, lowest first."""
    paths = [directory / f"layer-{number}.tar" for number in range(LAYERS)]
    if all(path.exists() for path in paths):
        return paths
    directory.mkdir(parents=True, exist_ok=True)
    files = _files()
    for number, path in enumerate(paths):
        unfinished = path.with_suffix(".part")
        size = 0
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
            for file in files:
                if not (file.is_symlink() or file.is_file()):
                    continue
                tar.add(file, arcname=f"layer-{number}{file}", recursive=False)
                size += file.lstat().st_size
                if size >= LAYER_BYTES:
                    break
        unfinished.rename(path)
    return paths


def push(directory: Path, host: str, repository: str, *, changed: bool = False) -> PushedImage:
    """Upload the image; `changed`: with another topmost layer, so that nine of ten are shared with the first."""
    contents = [path.read_bytes() for path in layers(directory)]
    if changed:
        contents[-1] = contents[0]
    return push_image(host, repository, "1", contents)
