"""Layers that are made to fill a disk: refused where they begin to pay, and nothing of them stays."""

import asyncio
import gzip
import os
import tarfile
from pathlib import Path

import pytest

from onggi.errors import OnggiError
from tests.hostile_registry import HostileRegistry
from tests.transfer import Host

MEMBER = bytes(64 << 20)
TIMES = 20
"""1.25 GiB in all: the first GiB of a layer is never refused."""


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("zeros")
    header.size = len(MEMBER) * TIMES
    bomb = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT)) + gzip.compress(MEMBER) * TIMES

    async def script() -> None:
        async with HostileRegistry() as registry, Host(tmp_path / "host") as host:
            registry.add_image("bomb/app", "1", [bomb], compression="none")
            with pytest.raises(OnggiError) as refusal:
                async with asyncio.timeout(60):
                    await host.pull(f"{registry.host}/bomb/app:1")
            assert str(refusal.value) == (
                "failed to extract the layer: the compressed stream grows to more than 500 times its size"
            )
            await host.images.quiet()
            assert host.images.all() == []
            assert os.listdir(tmp_path / "host/layers") == []

    asyncio.run(script())
