#!/usr/bin/env python3
"""Build the registry's container image: Debian's Python, what requirements/run.txt pins, and this checkout.

build.py ARCHIVE [--tag NAME] [--mirror URL]

ARCHIVE is an OCI layout that is also what `docker save` writes: `onggi load`, `docker load`, `podman load` and skopeo take
it. Needs Debian's mmdebstrap, and a pip for the Python of Debian 12, as `.venv/bin/python` has it.

The same commit, mirror and wheels give the same digest: times are the commit's (or SOURCE_DATE_EPOCH), owners and order
are fixed, and nothing of this machine is taken over. With `--mirror http://snapshot.debian.org/archive/debian/STAMP` it can
be built again in years.
"""

import argparse
import gzip
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from onggi.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.image import Healthcheck, History, ImageConfig, ImageContainerConfig, RootFs
from onggi.oci.manifest import Index, Manifest
from onggi.oci.platform import Platform

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SUITE, PYTHON = "bookworm", (3, 11)
PACKAGES = ("python3", "ca-certificates")
ARCHITECTURES = ("amd64", "arm64")
"""Those that Debian and OCI call the same."""
ACCOUNT = 10001
"""User and group: none of Debian's, and of no one on the machine."""
DATA = "/var/lib/onggi-registry"
PORT = 5000
SECOND_NS = 1_000_000_000

# What runs in the tree, "$1", when all packages are in place.
ACCOUNT_MADE = f"""
echo 'onggi:x:{ACCOUNT}:{ACCOUNT}:Onggi registry:{DATA}:/usr/sbin/nologin' >>"$1/etc/passwd"
echo 'onggi:x:{ACCOUNT}:' >>"$1/etc/group"
install -d -m 700 -o {ACCOUNT} -g {ACCOUNT} "$1{DATA}"
"""
# Bytecode by hash, not by time: the account can't write it, and times are not those of the sources.
COMPILED = """
find "$1/usr/lib/python3" "$1/usr/lib/python3.11" "$1/usr/local/lib" -name __pycache__ -prune -exec rm -r {} +
PYTHONHASHSEED=0 chroot "$1" python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash \
    /usr/lib/python3.11 /usr/local/lib/python3.11/dist-packages
"""
# Programs that change the user are of no use to one that must not; the rest is the build's, or of this machine.
TIDIED = """
find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +
rm -rf "$1"/var/log/* "$1"/var/cache/* "$1"/var/lib/apt/* "$1"/tmp/* "$1"/etc/resolv.conf "$1"/etc/hostname \
    "$1"/etc/machine-id "$1"/var/lib/dbus/machine-id "$1"/etc/passwd- "$1"/etc/group- "$1"/etc/shadow- "$1"/etc/gshadow-
"""


class CannotBuild(Exception):
    """Says what is missing."""


def run(*command: str, **environment: str) -> str:
    """Its output. Raises CannotBuild with what it said."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise CannotBuild(f"{shlex.join(command[:4])} … failed:\n{done.stderr[-4000:]}")
    return done.stdout


def install_python(stage: Path, work: Path) -> None:
    """Put wheels, this checkout and its command where Debian's Python looks for what is not Debian's."""
    packages = stage / "usr/local/lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "dist-packages"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    into = ("install", "--no-compile", "--target", str(packages))
    pins = CHECKOUT / "requirements"
    # The driver of PostgreSQL too: several nodes run from this image. Wheels alone: nothing of this machine's compiler.
    run(*pip, *into, "--only-binary=:all:", "-r", str(pins / "run.txt"), "-c", str(pins / "dev.txt"), "psycopg[binary]")
    shutil.rmtree(packages / "bin", ignore_errors=True)
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for name in ("src", "scripts"):
        shutil.copytree(
            CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        )
    run(*pip, "wheel", "--no-deps", "-w", str(work), str(source))
    (wheel,) = work.glob("onggi-*.whl")
    run(*pip, *into, "--no-deps", str(wheel))
    for record in (*packages.glob("onggi-*.dist-info/direct_url.json"), *packages.glob("onggi-*.dist-info/RECORD")):
        record.unlink()  # they name this machine's directory
    programs = stage / "usr/local/bin"
    programs.mkdir(parents=True)
    shutil.copy(packages / "bin/onggi", programs)
    shutil.rmtree(packages / "bin")
    shutil.copy(HERE / "healthy.py", stage / "usr/local/lib/onggi-registry-healthy.py")


def make_layer(layer: Path, stage: Path, epoch: str, mirror: str) -> None:
    """The whole file system as one tar."""
    hooks = (f"sync-in {shlex.quote(str(stage))} /", ACCOUNT_MADE, COMPILED, TIDIED)
    run(
        "mmdebstrap", "--quiet", "--format=tar", "--variant=essential", f"--include={','.join(PACKAGES)}",
        "--skip=output/dev",  # whoever runs it brings /dev
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "info", "locale", "lintian")),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        *(f"--customize-hook={hook}" for hook in hooks),
        SUITE, str(layer), *([mirror] if mirror else []),
        SOURCE_DATE_EPOCH=epoch, LC_ALL="C.UTF-8", TZ="UTC",
    )  # fmt: skip


def configuration(diff_id: Digest, architecture: str, created: str, version: str) -> ImageConfig:
    return ImageConfig(
        architecture=architecture,
        os="linux",
        created=created,
        config=ImageContainerConfig(
            user=f"{ACCOUNT}:{ACCOUNT}",
            exposed_ports={f"{PORT}/tcp": {}},
            env=["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", f"HOME={DATA}"],
            entrypoint=["/usr/local/bin/onggi", "registry"],
            # Whoever publishes the port decides who can reach it: the guide says how to give a certificate.
            cmd=["serve", "--listen", f"0.0.0.0:{PORT}", "--insecure"],
            volumes={DATA: {}},
            working_dir=DATA,
            labels={
                "org.opencontainers.image.title": "Onggi registry",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
            stop_signal="SIGTERM",
            healthcheck=Healthcheck(
                test=["CMD", "/usr/bin/python3", "-I", "/usr/local/lib/onggi-registry-healthy.py"],
                interval=30 * SECOND_NS,
                timeout=15 * SECOND_NS,
                start_period=60 * SECOND_NS,
                start_interval=SECOND_NS,
                retries=3,
            ),
        ),
        rootfs=RootFs(diff_ids=[diff_id]),
        history=[History(created=created, created_by="packaging/registry_image/build.py")],
    )


def compress(layer: Path, packed: Path) -> tuple[Digest, Descriptor]:
    """The digest of the tar, and what `packed` is then."""
    plain, sent = hashlib.sha256(), hashlib.sha256()
    with layer.open("rb") as source, packed.open("wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as target:
            while piece := source.read(1 << 20):
                plain.update(piece)
                target.write(piece)
    with packed.open("rb") as source:
        while piece := source.read(1 << 20):
            sent.update(piece)
    digest = Digest(f"sha256:{sent.hexdigest()}")
    return Digest(f"sha256:{plain.hexdigest()}"), Descriptor(
        media_type=OCI_LAYER_GZIP, digest=digest, size=packed.stat().st_size
    )


def describe(data: bytes, media_type: str, **more: object) -> Descriptor:
    digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    return msgspec.structs.replace(Descriptor(media_type=media_type, digest=digest, size=len(data)), **more)


def write_archive(archive: Path, layer: Path, *, architecture: str, epoch: str, version: str, tag: str) -> Digest:
    """Write `archive`, whole or not at all; gives the manifest's digest."""
    created = datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    packed = layer.with_suffix(".gz")
    diff_id, layer_of = compress(layer, packed)
    config = encode_document(configuration(diff_id, architecture, created, version))
    config_of = describe(config, OCI_CONFIG)
    manifest = encode_document(Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config_of, layers=[layer_of]))
    manifest_of = describe(
        manifest, OCI_MANIFEST, platform=Platform(architecture, "linux"),
        annotations={"io.containerd.image.name": f"docker.io/library/{tag}",
                     "org.opencontainers.image.ref.name": tag.rpartition(":")[2]},
    )  # fmt: skip
    index = encode_document(Index(schema_version=2, media_type=OCI_INDEX, manifests=[manifest_of]))

    def place(descriptor: Descriptor) -> str:
        return f"blobs/{descriptor.digest.replace(':', '/')}"

    docker = msgspec.json.encode([{"Config": place(config_of), "RepoTags": [tag], "Layers": [place(layer_of)]}])
    texts = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, "manifest.json": docker,
             place(config_of): config, place(manifest_of): manifest}  # fmt: skip
    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted([*texts, place(layer_of)]):
            info = tarfile.TarInfo(name)
            info.mtime = int(epoch)
            if name in texts:
                info.size = len(texts[name])
                tar.addfile(info, io.BytesIO(texts[name]))
            else:
                info.size = layer_of.size
                with packed.open("rb") as source:
                    tar.addfile(info, source)
    partial.replace(archive)
    return manifest_of.digest


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Build the registry's container image.")
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="the file to write: for `onggi load -i`")
    parser.add_argument("--tag", default="onggi-registry:latest", help="default onggi-registry:latest")
    parser.add_argument("--mirror", default="", metavar="URL", help="Debian's archive (default: deb.debian.org)")
    given = parser.parse_args(words)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*:[A-Za-z0-9_][A-Za-z0-9._-]*", given.tag):
        parser.error(f"--tag {given.tag!a} is not NAME:TAG")
    try:
        if sys.version_info[:2] != PYTHON:
            raise CannotBuild(f"the image has Python {PYTHON[0]}.{PYTHON[1]}: run this by .venv/bin/python on {SUITE}")
        if shutil.which("mmdebstrap") is None:
            raise CannotBuild("mmdebstrap is not installed: apt install mmdebstrap")
        architecture = run("dpkg", "--print-architecture").strip()
        if architecture not in ARCHITECTURES:
            raise CannotBuild(
                f"the image is made for {' and '.join(ARCHITECTURES)}, and this machine is {architecture}"
            )
        epoch = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct")
        version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
        os.umask(0o022)
        with tempfile.TemporaryDirectory(prefix="onggi-registry-image-") as directory:
            work = Path(directory)
            stage = work / "stage"
            stage.mkdir()
            install_python(stage, work)
            make_layer(work / "layer.tar", stage, epoch.strip(), given.mirror)
            digest = write_archive(
                given.archive, work / "layer.tar", architecture=architecture, epoch=epoch.strip(), version=version,
                tag=given.tag,
            )  # fmt: skip
    except (CannotBuild, OSError) as error:
        print(f"registry image: {error}", file=sys.stderr)
        return 1
    print(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
