"""Images that lie, as a registry hands them out: one row each, and for each the sentence that refuses it.

Every row is pulled by a host that has an honest image already, through the confined workers that do it for everybody.
Whatever comes of it: within seconds, without memory, and the store is as it was. Registries that lie stand in
`test_hostile_registry`, archives for `load` in `test_image_archives`.
"""

import asyncio
import gzip
import json
import os
import resource
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import zstandard
from aiohttp import web

from onggi.errors import OnggiError
from onggi.images.confined_process import ConfinedProcess
from onggi.oci.digest import Digest
from tests.archives import pax, raw
from tests.hostile_registry import HostileRegistry
from tests.image_census import damage, orphans
from tests.images import directory, file, hardlink, layer, special, symlink
from tests.registry import CONFIG, INDEX, LAYER, MANIFEST, digest_of, layer_of
from tests.transfer import Host

MOST_S = 60
"""Seconds for one row, on a busy machine: most take less than one."""
MOST_BYTES = 64 << 20
"""What a row may add to the memory of the daemon's half, the registry's own included."""
WORKER_BYTES = 256 << 20
"""What a worker may have in all, the interpreter and its decoders included."""
T = TypeVar("T")
END = bytes(1024)
HONEST = layer_of({"etc/passwd": b"root", "bin/sh": b"#!"})

# Layers: the blob, and the end of the sentence that begins with "failed to extract the layer: "


def tar(*entries: Any) -> bytes:
    return layer(entries)


def negative(kind: bytes) -> bytes:
    return raw(b"a", kind=kind, size=b"\xff" * 12)


def sparse(*pieces: tuple[int, int], realsize: int, content: int) -> bytes:
    return raw(b"a", kind=b"S", sparse=pieces, realsize=realsize, content=b"x" * content)


def xattrs(names: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {b"SCHILY.xattr." + name: value for name, value in names.items()}


LAYERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "name above the root": (lambda: tar(file("../x", b"x")), "the path leads out of the layer: '../x'"),
    "name above the root, later": (lambda: tar(file("a/../../x")), "the path leads out of the layer: 'a/../../x'"),
    "name with NUL": (lambda: pax(b"a", {b"path": b"a\0b"}) + raw(b"a"), "a name in a PAX header holds a NUL"),
    "name that is empty": (lambda: raw(b""), "the root of the layer is not a directory"),
    "name of 256 bytes": (lambda: tar(file("n" * 256)), f"File name too long: '{'n' * 256}'"),
    "name of 64 KiB": (lambda: tar(file("d/" * 32000 + "f")), "the path is too long: 'd/d/d/"),
    "directories 100,000 deep": (lambda: tar(directory("d/" * 100_000)), "the path is too long: 'd/d/"),
    "names that chain for ever": (
        lambda: raw(b"x", kind=b"L", content=b"n\0") * 100 + raw(b"a"),
         "too many extended headers before one entry of the archive"),
    "name of 2 MiB": (lambda: raw(b"x", kind=b"L", content=b"n" * (2 << 20)), "an extended header of the archive is too large"),
    "PAX header of 1 GiB": (
        lambda: raw(b"x", kind=b"x", size=b"10000000000\0"), "an extended header of the archive is too large"),
    "PAX length that lies": (lambda: raw(b"x", kind=b"x", content=b"99 path=x\n"), "a PAX header is malformed"),
    "PAX header for nothing": (
        lambda: raw(b"x", kind=b"x", content=b"7 a=bc\n") + END, "the archive ends after a header that announces an entry"),
    "PAX size beyond 63 bits": (
        lambda: pax(b"a", {b"size": b"9" * 19}) + raw(b"a"), "a number in a PAX header is malformed or out of range"),
    "PAX time of the far future": (lambda: pax(b"a", {b"mtime": b"9" * 5000}) + raw(b"a"), "a time in a PAX header is malformed"),
    "symlinks in a circle": (
        lambda: tar(symlink("a", "b"), symlink("b", "a"), file("a/x")), "too many levels of symbolic links: 'a/x'"),
    "symlinks, a chain of 60": (
        lambda: tar(*(symlink(f"l{n}", f"l{n + 1}") for n in range(60)), file("l0/x")),
         "too many levels of symbolic links: 'l0/x'"),
    "symlink to nowhere": (lambda: raw(b"l", kind=b"2"), "a symbolic link has no target: 'l'"),
    "symlink instead of the root": (lambda: raw(b"./", kind=b"2", target=b"/"), "the root of the layer is not a directory: './'"),
    "hard link above the root": (lambda: tar(hardlink("h", "../../etc/shadow")), "the path leads out of the layer: "),
    "hard link to the host": (lambda: tar(hardlink("h", "/etc/passwd")), "a hard link's target is not in the layer: 'h'"),
    "hard link through a symlink": (
        lambda: tar(symlink("l", "/"), hardlink("h", "l/etc/passwd")), "a hard link's target is not in the layer: 'h'"),
    "hard link to a directory": (
        lambda: tar(directory("d"), hardlink("h", "d")), "a hard link's target is not a file of the layer: 'h'"),
    "hard link to what comes later": (
        lambda: tar(hardlink("h", "later"), file("later")), "a hard link's target is not in the layer: 'h'"),
    "device number out of range": (
        lambda: raw(b"d", kind=b"3", device=(1 << 13, 0)), "a device number is out of range: 'd'"),
    "entry of no type": (lambda: raw(b"a", kind=b"Z"), "the archive has an entry of unknown type 90"),
    "whiteout of the parent": (lambda: tar(file(".wh..")), "a whiteout names nothing that can be deleted: '.wh..'"),
    "whiteout of nothing": (lambda: tar(file("a/.wh.")), "a whiteout names nothing that can be deleted: 'a/.wh.'"),
    "whiteout as a directory": (lambda: tar(file(".wh.a/b")), "a directory's name is that of a whiteout: '.wh.a/b'"),
    "file used as a directory": (lambda: tar(file("a"), file("a/b")), "a file of the layer is used as a directory: 'a/b'"),
    "negative size": (lambda: negative(b"0"), "a size or mode in the archive is out of range"),
    "negative size of a PAX header": (lambda: negative(b"x"), "an extended header of the archive is too large"),
    "size of 2^95": (lambda: raw(b"a", size=b"\x80" + b"\xff" * 11), "a number in a tar header is out of range"),
    "size that is no number": (lambda: raw(b"a", size=b"00000000009\0"), "a number in a tar header is not octal"),
    "checksum that is wrong": (lambda: raw(b"a", checksum=b"0000000\0"), "a tar header's checksum is wrong"),
    "owner that is nobody": (lambda: raw(b"a", uid=b"\xff" * 8), "an owner in the archive is out of range"),
    "end within a file": (lambda: raw(b"a", size=b"00000100000\0"), "unexpected end of the archive"),
    "end within a header": (lambda: raw(b"a")[:300], "unexpected end of the archive"),
    "no archive at all": (lambda: b"junk" * 1000, "a number in a tar header is not octal"),
    "sparse map past the end": (
        lambda: sparse((0, 512), (1024, 512), realsize=1024, content=1024), "a sparse map in the archive contradicts itself"),
    "sparse map that overlaps": (
        lambda: sparse((0, 512), (256, 512), realsize=4096, content=1024), "a sparse map in the archive contradicts itself"),
    "sparse map without end": (
        lambda: raw(b"a", kind=b"S", sparse=[(0, 0)] * 4, realsize=4096, extended=True)
        + (b"00000000000\0" * 42 + b"\1" + bytes(7)) * 4000, "a sparse map in the archive is too large"),
    "sparse map of 10^13 pieces": (
        lambda: pax(b"a", {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"})
        + raw(b"a", content=b"9999999999999\n".ljust(512, b"\0")), "a sparse map in the archive is malformed or too large"),
    "sparse file of 4 EiB": (
        lambda: pax(b"a", {b"GNU.sparse.size": b"4611686018427387904", b"GNU.sparse.map": b"0,1"}) + raw(b"a", content=b"x"),
        "File too large: 'a'"),
    "file capabilities of no form": (
        lambda: pax(b"f", xattrs({b"security.capability": b"junk"})) + raw(b"f"), "Invalid argument: 'f'"),
    "file capabilities of no form, of a directory": (
        lambda: pax(b"d", xattrs({b"security.capability": b"junk"})) + raw(b"d/", kind=b"5"), "Invalid argument: 'd'"),
    "attributes in a flood": (
        lambda: pax(b"f", xattrs({b"user.%d" % n: b"x" * 900 for n in range(900)})) + raw(b"f"),
        "an entry has more extended attributes than a file can hold: 'f'"),
    "attribute of 512 KiB": (
        lambda: pax(b"f", xattrs({b"user.x": b"x" * (512 << 10)})) + raw(b"f"),
        "an entry has more extended attributes than a file can hold: 'f'"),
    "attribute with an endless name": (
        lambda: pax(b"f", xattrs({b"user." + b"n" * 300: b"x"})) + raw(b"f"),
        "an entry has more extended attributes than a file can hold: 'f'"),
}  # fmt: skip

# Compressed streams: the blob as it travels.


def window(size_log: int) -> bytes:
    """A zstd frame that wants a window of 2^size_log bytes, and holds one raw block. (RFC 8878, 3.1.1)"""
    return b"\x28\xb5\x2f\xfd" + bytes([0, (size_log - 10) << 3]) + b"\x09\x00\x00x"


GZIPPED, ZSTD = gzip.compress(HONEST, mtime=0), zstandard.ZstdCompressor(write_checksum=True).compress(HONEST)
STREAMS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip cut short": (lambda: GZIPPED[:-9], "the compressed stream ends too early"),
    "zstd cut short": (lambda: ZSTD[: len(ZSTD) // 2], "the compressed stream ends too early"),
    "gzip with another checksum": (lambda: GZIPPED[:-8] + bytes(8), "the compressed stream is damaged"),
    "zstd with another checksum": (
        lambda: ZSTD[:-4] + bytes(4), "the compressed stream is damaged or needs too large a window"),
    "gzip with junk behind": (lambda: GZIPPED + b"junk" * 9, "the compressed stream is damaged"),
    "zstd window of 2 GiB": (lambda: window(31), "the compressed stream is damaged or needs too large a window"),
    "zeros without end": (
        lambda: gzip.compress(HONEST + bytes(100 << 20), 1), "too much data after the end of the archive"),
    "bomb within a bomb": (
        lambda: gzip.compress(gzip.compress(HONEST)), "unexpected end of the archive"),
}  # fmt: skip

# Documents


def described(content: bytes, media_type: str = CONFIG, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def config_of(**more: Any) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(HONEST)]},
        **more,
    }


def nested(depth: int) -> bytes:
    return b'{"config":' + b"[" * depth + b"]" * depth + b"}"


NO_CONFIG = "invalid image configuration: "
ELSEWHERE = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
CONFIGS: dict[str, tuple[Any, str]] = {
    "environment that is a number": (
        config_of(config={"Env": 1}), f"{NO_CONFIG}Expected `array | null`, got `int` - at `$.config.Env`"),
    "command that is an object": (
        config_of(config={"Cmd": {}}), f"{NO_CONFIG}Expected `str | array | null`, got `object` - at `$.config.Cmd`"),
    "labels that are a list": (
        config_of(config={"Labels": []}), f"{NO_CONFIG}Expected `object | null`, got `array` - at `$.config.Labels`"),
    "user that is a list": (config_of(config={"User": []}), f"{NO_CONFIG}Expected `str`, got `array` - at `$.config.User`"),
    "layers that are no digests": (
        config_of(rootfs={"type": "layers", "diff_ids": ["sha256:../../x"]}), "invalid checksum digest format: 'sha256:../../x'"),
    "layers of an unknown hash": (
        config_of(rootfs={"type": "layers", "diff_ids": ["md5:" + "0" * 32]}), "unsupported digest algorithm: md5"),
    "root file system of another system": (
        config_of(rootfs={"type": "windows", "diff_ids": []}), "unsupported rootfs type 'windows' in the image configuration"),
    "brackets 100,000 deep": (nested(100_000), NO_CONFIG),
    "number of 100,000 digits": (b'{"config":{"Healthcheck":{"Interval":' + b"9" * 100_000 + b"}}}", NO_CONFIG),
    "not UTF-8": (b'{"architecture":"\xff"}', NO_CONFIG),
    "no JSON": (b"{", NO_CONFIG),
    "fewer layers than the manifest": (
        config_of(rootfs={"type": "layers", "diff_ids": []}), "layers from manifest don't match image configuration"),
    "another's layer for these bytes": (
        config_of(rootfs={"type": "layers", "diff_ids": [digest_of(HONEST + b"other")]}),
        f"the layer's content is {digest_of(HONEST)}, not {digest_of(HONEST + b'other')} as its image says"),
}  # fmt: skip

EMPTY: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described(b"{}"), "layers": []}
SCHEMA_1 = ("Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Push the image "
            "again with a current version of Docker or another tool, to use the OCI format")  # fmt: skip
MANIFESTS: dict[str, tuple[Any, str, str]] = {
    "manifest and index in one": (EMPTY | {"manifests": []}, MANIFEST, "ambiguous manifest: it has both layers and manifests"),
    "manifest announced as an index": (EMPTY, INDEX, f"the manifest calls itself {MANIFEST} but was announced as {INDEX}"),
    "twenty thousand layers": (
        EMPTY | {"layers": [described(b"x", LAYER)] * 20_000}, MANIFEST, "the manifest has 20000 layers; at most 1000 are taken"),
    "twenty thousand machines": (
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(b"x", MANIFEST)] * 20_000}, INDEX,
        "the index has 20000 entries; at most 1000 are taken"),
    "size of 2^63": (EMPTY | {"config": described(b"{}") | {"size": 2**63}}, MANIFEST, "invalid manifest: "),
    "size below zero": (
        EMPTY | {"layers": [described(b"x", LAYER) | {"size": -1}]}, MANIFEST,
        "invalid manifest: Expected `int` >= 0 - at `$.layers[0].size`"),
    "digest that is a path": (
        EMPTY | {"config": described(b"{}") | {"digest": "sha256:../../../etc/passwd"}}, MANIFEST,
        "invalid checksum digest format: 'sha256:../../../etc/passwd'"),
    "digest of an unknown hash": (
        EMPTY | {"config": described(b"{}") | {"digest": "md5:" + "0" * 32}}, MANIFEST, "unsupported digest algorithm: md5"),
    "index of itself for nobody": (
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, INDEX,
        "no matching manifest for linux/amd64 in the manifest list entries"),
    "schema 1": ({"schemaVersion": 1, "fsLayers": [], "history": []}, MANIFEST, SCHEMA_1),
    "layers that are an object": (
        EMPTY | {"layers": {}}, MANIFEST, "invalid manifest: Expected `array`, got `object` - at `$.layers`"),
    "layer of an unknown type": (
        EMPTY | {"layers": [described(b"x", "text/x\x1b[2J")]}, MANIFEST, "unsupported media type text/x\\x1b[2J"),
    "layer from elsewhere": (
        EMPTY | {"layers": [described(b"x", ELSEWHERE, urls=["http://169.254.169.254/"])]},
        MANIFEST, f"refused: layer {digest_of(b'x')} is to be fetched from another place than the registry"),
    "brackets 100,000 deep": (b"[" * 100_000, MANIFEST, "invalid manifest: "),
}  # fmt: skip

# What is no lie: taken as it is, and nothing of it leads out.

HARMLESS: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "absolute name": (lambda: tar(file("/etc/shadow", b"in")), {"etc/shadow": b"in"}),
    "file through an absolute symlink": (
        lambda: tar(symlink("out", "/tmp"), file("out/x", b"in")), {"tmp/x": b"in", "out": "/tmp"}),
    "file through a symlink above the root": (
        lambda: tar(symlink("up", "../../../.."), file("up/x", b"in")), {"x": b"in"}),
    "symlink replaced between two files": (
        lambda: tar(directory("one"), symlink("l", "one"), file("l/a"), symlink("l", "/etc"), file("l/b", b"in")),
        {"one/a": b"", "etc/b": b"in"}),
    "opaque through a symlink": (lambda: tar(symlink("l", "/"), file("l/.wh..wh..opq"), file("x")), {"x": b""}),
    "whiteout through a symlink": (lambda: tar(symlink("l", "/etc"), file("l/.wh.passwd")), {"l": "/etc"}),
    "name that is no text": (
        lambda: pax(b"a", {b"path": b"\xff\xfe/\x1b[2J\n"}) + raw(b"a", content=b"in"), {"\udcff\udcfe/\x1b[2J\n": b"in"}),
    "attributes of overlayfs": (
        lambda: pax(b"d/", xattrs({b"trusted.overlay.opaque": b"y", b"trusted.overlay.redirect": b"/etc",
                                   b"user.overlay.metacopy": b"", b"user.kept": b"1"})) + raw(b"d/", kind=b"5", mode=0o755),
        {"d": {"user.kept": "1"}}),
    "ten thousand times the same name": (
        lambda: tar(*[file("a", b"1"), directory("a"), symlink("a", "b")] * 3333, file("a", b"last")), {"a": b"last"}),
    "device of the host's disk": (lambda: tar(special("d", b"4", (8, 0))), {"d": "device"}),
    "file of a tebibyte with nothing in it": (
        lambda: pax(b"a", {b"GNU.sparse.size": b"1099511627776", b"GNU.sparse.map": b"1099511627775,1"}) + raw(b"a",
         content=b"x"),
        {"a": "sparse"}),
}  # fmt: skip


class Victim:
    """A host with an honest image, and the registry that lies to it, on a loop in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = HostileRegistry()
        self.host = Host(directory)
        self.trees: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(MOST_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self.registry.__aenter__())
        self.run(self.host.__aenter__())
        self.registry.add_image("honest/app", "1", [HONEST])
        self.run(self.host.pull(f"{self.registry.host}/honest/app:1"))
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.host.__aexit__(None, None, None))
        self.run(self.registry.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(MOST_S)

    def store(self) -> list[str]:
        """All there is; nothing of it damaged, nothing of it forgotten."""
        self.run(self.host.images.sweep())
        self.run(self.host.images.quiet())
        assert damage(self.directory, self.trees) == []
        assert orphans(self.directory) == []
        return [*self.host.files(), *sorted(os.listdir(self.directory / "layers")), *map(str, self.host.images.all())]

    def pull(self, name: str) -> str:
        """The sentence that refuses it, "" for none, within the limits of time and memory."""
        before, begun = _memory_bytes("VmRSS"), time.monotonic()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        try:
            self.run(self.host.pull(f"{self.registry.host}/{name}"))
            said = ""
        except OnggiError as error:
            said = str(error)
        assert time.monotonic() - begun < MOST_S
        assert _memory_bytes("VmHWM") - before < MOST_BYTES
        return said


def _memory_bytes(kind: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    start = ConfinedProcess._start

    def start_with_little_memory(worker: ConfinedProcess, control: int) -> "subprocess.Popen[bytes]":
        process = start(worker, control)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (WORKER_BYTES, WORKER_BYTES))
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfinedProcess, "_start", start_with_little_memory)
        with Victim(tmp_path_factory.mktemp("victim")) as made:
            yield made


def refused(victim: Victim, name: str, sentence: str) -> None:
    before = victim.store()
    said = victim.pull(name)
    assert said.startswith(sentence)
    assert victim.store() == before


@pytest.mark.parametrize("row", LAYERS)
def test_layer_that_lies(victim: Victim, row: str) -> None:
    make, sentence = LAYERS[row]
    victim.registry.add_image("lies/layer", "1", [make()])
    refused(victim, "lies/layer:1", f"failed to extract the layer: {sentence}")


@pytest.mark.parametrize("row", STREAMS)
def test_stream_that_lies(victim: Victim, row: str) -> None:
    make, sentence = STREAMS[row]
    blob = make()
    victim.registry.add_image("lies/stream", "1", [blob], compression="none", config={
        "rootfs": {"type": "layers", "diff_ids": [digest_of(HONEST + b"x")]}})  # fmt: skip
    refused(victim, "lies/stream:1", f"failed to extract the layer: {sentence}")


@pytest.mark.parametrize("row", CONFIGS)
def test_configuration_that_lies(victim: Victim, row: str) -> None:
    document, sentence = CONFIGS[row]
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    victim.registry.add_document(f"/v2/lies/config/blobs/{digest_of(content)}", content)
    victim.registry.add_image("lies/config", "1", [HONEST], manifest={"config": described(content)})
    refused(victim, "lies/config:1", sentence)


@pytest.mark.parametrize("row", MANIFESTS)
def test_manifest_that_lies(victim: Victim, row: str) -> None:
    document, media_type, sentence = MANIFESTS[row]
    victim.registry.add_manifest("lies/manifest", "1", document, media_type)
    refused(victim, "lies/manifest:1", sentence)


def test_a_million_layers(victim: Victim) -> None:
    begin, _, end = json.dumps(EMPTY | {"layers": [0]}).encode().rpartition(b"0")
    one = json.dumps(described(b"x", LAYER)).encode() + b","

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MANIFEST})
        await response.prepare(request)
        await response.write(begin)
        for _ in range(1000):
            await response.write(one * 1000)
        await response.write(one[:-1] + end)
        return response

    victim.registry.replies["GET", "/v2/lies/million/manifests/1"] = reply
    refused(victim, "lies/million:1", "the manifest is larger than 4194304 bytes")


def test_another_s_layer_that_is_here_for_other_bytes(victim: Victim) -> None:
    """The honest image's layer is claimed for bytes that are another: by a new blob, and by one that is here."""
    claimed = {"rootfs": {"type": "layers", "diff_ids": [digest_of(HONEST)]}}
    other = layer_of({"other": b"bytes"})
    sentence = f"the layer's content is {digest_of(other)}, not {digest_of(HONEST)} as its image says"
    victim.registry.add_image("lies/claim", "1", [other], config=claimed)
    refused(victim, "lies/claim:1", sentence)
    victim.registry.add_image("honest/other", "1", [other])
    assert victim.pull("honest/other:1") == ""
    refused(victim, "lies/claim:1", sentence)


@pytest.mark.parametrize("row", HARMLESS)
def test_layer_that_only_looks_dangerous(victim: Victim, row: str) -> None:
    make, expected = HARMLESS[row]
    before = victim.store()
    image = victim.registry.add_image("odd/layer", "1", [make()])
    assert victim.pull("odd/layer:1") == ""
    directory = victim.host.images.layer_directory(Digest(image.diff_ids[0]))
    assert directory is not None
    for path, what in expected.items():
        found = os.lstat(f"{directory}/{path}")
        if isinstance(what, bytes):
            assert Path(f"{directory}/{path}").read_bytes() == what
        elif isinstance(what, dict):
            names = os.listxattr(f"{directory}/{path}")
            assert {name: os.getxattr(f"{directory}/{path}", name).decode() for name in names} == what
        elif what == "device":
            assert (stat.S_ISBLK(found.st_mode), found.st_rdev) == (True, os.makedev(8, 0))
        elif what == "sparse":
            assert (found.st_size, found.st_blocks * 512 < 1 << 20) == (1 << 40, True)
        else:
            assert os.readlink(f"{directory}/{path}") == what
    # The device, and all else, lies where nobody but root comes.
    assert stat.S_IMODE((victim.directory / "layers").stat().st_mode) == 0o700
    victim.run(victim.host.images.remove(image.image_id))
    assert victim.store() == before
