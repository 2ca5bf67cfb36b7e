"""What an engine's data root holds of images, held against its database: every byte accounted for, every digest right."""

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onggi.oci.digest import Digest


def read(data_root: Path, query: str, *values: str) -> list[sqlite3.Row]:
    """Rows of the engine's database; it may be running."""
    connection = sqlite3.connect(f"file:{data_root}/state.db?mode=ro", uri=True, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def tree_digest(root: Path) -> str:
    """Of everything in a directory: names, kinds, modes, owners, times, attributes, contents."""
    found = hashlib.sha256()
    todo = [root]
    while todo:
        path = todo.pop()
        status = path.lstat()
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        attributes = sorted((name, os.getxattr(path, name)) for name in os.listxattr(path, follow_symlinks=False)
                            if not stat.S_ISLNK(status.st_mode))  # fmt: skip
        facts = (str(path.relative_to(root)), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
                 status.st_rdev, content, attributes)  # fmt: skip
        found.update(repr(facts).encode())
        if stat.S_ISDIR(status.st_mode):
            todo += sorted(path.iterdir())
    return found.hexdigest()


def damage(data_root: Path, trees: dict[str, str]) -> list[str]:
    """What is wrong with the images that the database knows. `trees`: what each layer's directory is; new ones are added.

    A layer is a function of its tar: whenever it is extracted, its directory is the same.
    """
    wrong: list[str] = []
    blobs = data_root / "content" / "blobs"
    stacked = "SELECT layer_key FROM layer_uses WHERE user_id = ? ORDER BY position"
    needs = "SELECT digest FROM image_blobs WHERE image_id = ?"
    for image in read(data_root, "SELECT id, manifest, config FROM images"):
        manifest: dict[str, Any] = json.loads(image["manifest"])
        diff_ids: list[str] = json.loads(image["config"])["rootfs"]["diff_ids"]
        keys = [row["layer_key"] for row in read(data_root, stacked, image["id"])]
        if not Digest(image["id"]).verifies(image["config"]):
            wrong.append(f"image {image['id']}: its configuration is another")
        if [key for key in keys if not key.startswith("chain:")] != diff_ids:
            wrong.append(f"image {image['id']}: stacked of {keys}, not {diff_ids}")
        needed = {image["id"], *(blob["digest"] for blob in manifest["layers"])}
        needed |= {row["digest"] for row in read(data_root, needs, image["id"])}
        for digest in sorted(needed):
            path = blobs / digest.replace(":", "/")
            if not path.exists():
                wrong.append(f"image {image['id']}: the blob {digest} is missing")
            elif not Digest(digest).verifies(path.read_bytes()):
                wrong.append(f"image {image['id']}: the blob {digest} has other content")
    for layer in read(data_root, "SELECT key, directory FROM layers"):
        path = data_root / layer["directory"]
        found = tree_digest(path) if path.exists() else "nothing"
        if trees.setdefault(layer["key"], found) != found:
            wrong.append(f"layer {layer['key']}: another tree than before")
    return wrong


def orphans(data_root: Path) -> list[str]:
    """Files and rows that belong to nothing."""
    left: list[str] = []

    def compare(what: str, on_disk: Iterable[str], known: Iterable[str]) -> None:
        left.extend(f"{what}: {name}" for name in sorted(set(on_disk) - set(known)))

    content = data_root / "content"
    compare("blob", (f"{path.parent.name}:{path.name}" for path in (content / "blobs").rglob("*") if path.is_file()),
            (row["digest"] for row in read(data_root, "SELECT digest FROM image_blobs")))  # fmt: skip
    compare("ingest", os.listdir(content / "ingest"), ())
    compare("layer", (f"layers/{name}" for name in os.listdir(data_root / "layers")),
            (row["directory"] for row in read(data_root, "SELECT directory FROM layers")))  # fmt: skip
    compare("unused layer", (row["key"] for row in read(data_root, "SELECT key FROM layers")),
            (row["layer_key"] for row in read(data_root, "SELECT layer_key FROM layer_uses")))  # fmt: skip
    snapshots = data_root / "snapshots"
    compare("snapshot", (f"snapshots/{name}" for name in os.listdir(snapshots) if name != "empty"),
            (row["directory"] for row in read(data_root, "SELECT directory FROM snapshots")))  # fmt: skip
    compare("rubbish", (row["directory"] for row in read(data_root, "SELECT directory FROM rubbish")), ())
    compare("lease", (row["resource"] for row in read(data_root, "SELECT resource FROM leases")), ())
    users = {row["id"] for row in read(data_root, "SELECT id FROM images")}
    users |= {f"container:{row['container_id']}" for row in read(data_root, "SELECT container_id FROM snapshots")}
    compare("layer use of nobody", (row["user_id"] for row in read(data_root, "SELECT user_id FROM layer_uses")), users)
    return left
