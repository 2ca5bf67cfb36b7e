"""Images made in memory, for tests: a busybox with its applets, and archives with any layers and configuration.

busybox_archive(path)                        what `docker load` takes, from Debian's busybox-static
docker_archive(path, names, layers, config)  the same with layers of one's own
layer(entries)                               one layer's tar
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
CREATED = "2025-01-01T00:00:00Z"
MTIME = 1735689600

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"", mode: int = 0o644, **attributes: Any) -> Entry:
    """A regular file."""
    return _entry(name, tarfile.REGTYPE, mode, data, attributes)


def directory(name: str, mode: int = 0o755, **attributes: Any) -> Entry:
    return _entry(name, tarfile.DIRTYPE, mode, b"", attributes)


def symlink(name: str, target: str, **attributes: Any) -> Entry:
    return _entry(name, tarfile.SYMTYPE, 0o777, b"", {"linkname": target} | attributes)


def hardlink(name: str, target: str, **attributes: Any) -> Entry:
    return _entry(name, tarfile.LNKTYPE, 0o644, b"", {"linkname": target} | attributes)


def special(name: str, kind: bytes, device: tuple[int, int] = (0, 0), mode: int = 0o600, **attributes: Any) -> Entry:
    """A device or FIFO: `kind` is tarfile.CHRTYPE, BLKTYPE or FIFOTYPE."""
    return _entry(name, kind, mode, b"", {"devmajor": device[0], "devminor": device[1]} | attributes)


def _entry(name: str, kind: bytes, mode: int, data: bytes, attributes: Mapping[str, Any]) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.mtime = kind, mode, len(data), MTIME
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def layer(entries: Iterable[Entry]) -> bytes:
    """The tar of some entries, in PAX format."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image_config(layers: Sequence[bytes], **config: Any) -> bytes:
    """The image configuration for uncompressed `layers`; `config` holds Env, Cmd and the like."""
    history = [{"created": CREATED, "created_by": f"layer {number}"} for number in range(len(layers))]
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
            "history": history,
        }
    ).encode()


def docker_archive(path: Path, names: Sequence[str], layers: Sequence[bytes], **config: Any) -> str:
    """Write a `docker save` archive to `path`; gives the image's ID."""
    document = image_config(layers, **config)
    members: dict[str, bytes] = {f"{digest(data)[7:]}/layer.tar": data for data in layers}
    identifier = digest(document)
    members[f"{identifier[7:]}.json"] = document
    members["manifest.json"] = json.dumps(
        [
            {
                "Config": f"{identifier[7:]}.json",
                "RepoTags": list(names),
                "Layers": [f"{digest(data)[7:]}/layer.tar" for data in layers],
            }
        ]
    ).encode()
    path.write_bytes(layer(file(name, data) for name, data in members.items()))
    return identifier


def oci_layout(path: Path, names: Sequence[str], layers: Sequence[bytes], **config: Any) -> str:
    """Write an OCI image layout as a tar to `path`; gives the image's ID."""
    document = image_config(layers, **config)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(document),
                "size": len(document),
            },
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(data), "size": len(data)}
                for data in layers
            ],
        }
    ).encode()
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(manifest),
        "size": len(manifest),
    }
    index = {
        "schemaVersion": 2,
        "manifests": [entry | {"annotations": {"io.containerd.image.name": name}} for name in names] or [entry],
    }
    members = {f"blobs/sha256/{digest(data)[7:]}": data for data in (*layers, document, manifest)}
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    members["index.json"] = json.dumps(index).encode()
    path.write_bytes(layer(file(name, data) for name, data in members.items()))
    return digest(document)


def busybox_layer() -> bytes:
    """A small root file system: Debian's static busybox, its applets as links, /etc, /tmp, /root, /home."""
    listed = subprocess.run([str(BUSYBOX), "--list-full"], capture_output=True, text=True, check=True, timeout=20)
    applets = {"bin/" + name.rsplit("/", 1)[-1] for name in listed.stdout.split()} - {"bin/busybox"}
    entries = [
        *(directory(name) for name in ("bin", "dev", "etc", "home", "home/user", "proc", "sys", "usr", "usr/bin")),
        *(directory(name) for name in ("var", "var/www", "usr/sbin", "sbin", "lib")),
        directory("root", 0o700),
        directory("tmp", 0o1777),
        directory("var/spool", 0o755, uid=8, gid=8),
        file("bin/busybox", BUSYBOX.read_bytes(), 0o755),
        *(hardlink(name, "bin/busybox", mode=0o755) for name in sorted(applets)),
        symlink("usr/bin/env", "../../bin/env"),
        file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
            b"mail:x:8:8:mail:/var/spool/mail:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\n"
            b"user:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        ),
        file(
            "etc/group",
            b"root:x:0:\ndaemon:x:1:\nmail:x:8:\nwww-data:x:33:\naudio:x:29:user\nuser:x:1000:\nnobody:x:65534:\n",
        ),
        file("etc/shadow", b"root:*:::::::\n", 0o640),
    ]
    return layer(entries)


def busybox_archive(path: Path, name: str = "busybox:latest") -> str:
    """Write an archive that `docker load` takes, holding one busybox image; gives the image's ID."""
    environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    return docker_archive(path, [name], [busybox_layer()], Env=environment, Cmd=["sh"])


def many_images_archive(path: Path, count: int, *, name: str) -> None:
    """An archive of `count` images `NAME:1`, `NAME:2`, … that share one small layer."""
    tar = layer([file("file", b"content")])
    items, documents = [], {"layer.tar": tar}
    for number in range(1, count + 1):
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Labels": {"number": str(number)}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        }).encode()  # fmt: skip
        documents[f"{number}.json"] = config
        items.append({"Config": f"{number}.json", "RepoTags": [f"{name}:{number}"], "Layers": ["layer.tar"]})
    documents["manifest.json"] = json.dumps(items).encode()
    path.write_bytes(layer([file(name, content) for name, content in documents.items()]))


BASE = layer(
    [
        directory("etc", 0o751, uid=7, gid=8), file("etc/a", b"lower a"), file("etc/b", b"lower b", 0o4755, uid=5),
        directory("root", 0o700), file("root/x", b"x"), directory("gone"), file("gone/f"), directory("tmp", 0o1777),
        symlink("link", "etc/a"), hardlink("hard", "etc/b"), special("null", tarfile.CHRTYPE, (1, 3), 0o666),
        special("pipe", tarfile.FIFOTYPE), directory("var"), directory("var/data"), file("var/data/old"),
    ]
)  # fmt: skip
TOP = layer(
    [
        directory("etc", 0o755), file("etc/a", b"upper a"), file("etc/.wh.b"), file(".wh.gone"), directory("gone"),
        file("gone/new", b"n"), directory("var"), directory("var/data"), file("var/data/.wh..wh..opq"),
        file("var/data/new"),
    ]
)  # fmt: skip


def archive(tmp_path: Path, *layers: bytes, names: tuple[str, ...] = ("img:1",), **config: Any) -> Path:
    path = tmp_path / f"archive-{len(os.listdir(tmp_path))}.tar"
    docker_archive(path, names, layers, **config)
    return path
