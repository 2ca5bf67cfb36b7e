"""Which mounts of the host can be shared with a container."""

import pytest

from onggi.errors import System
from onggi.volumes import propagation

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:20 / /private rw - tmpfs tmpfs rw
31 22 0:21 / /slave rw master:1 - tmpfs tmpfs rw
32 30 0:22 / /private/with\040space rw shared:9 - tmpfs tmpfs rw
33 22 0:23 / /twice rw shared:3 - tmpfs tmpfs rw
34 33 0:24 / /twice rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("source", "kind"),
    [("/srv", "rshared"), ("/srv", "slave"), ("/slave/x", "rslave"), ("/private/with space/x", "shared"),
     ("/private", "rprivate"), ("/privateer", "shared")],
)  # fmt: skip
def test_those_with_peers(source: str, kind: str) -> None:
    propagation.check(source, kind, TABLE)


@pytest.mark.parametrize(
    ("source", "kind", "sentence"),
    [
        ("/private/x", "rshared", "path /private/x is mounted on /private but it is not a shared mount"),
        ("/slave", "shared", "path /slave is mounted on /slave but it is not a shared mount"),
        ("/private", "rslave", "path /private is mounted on /private but it is not a shared or slave mount"),
        ("/twice", "shared", "path /twice is mounted on /twice but it is not a shared mount"),
    ],
)
def test_those_without(source: str, kind: str, sentence: str) -> None:
    with pytest.raises(System) as refused:
        propagation.check(source, kind, TABLE)
    assert str(refused.value) == sentence
