"""The file of registry credentials: what it shows, and who can open it."""

import json
import stat
from pathlib import Path

import pytest

from onggi.credential_helper.vault import Credentials, Damaged, Parameters, Vault, WrongKey

QUICK = Parameters(b"salt-of-16-bytes", time=1, memory_kib=64, lanes=1)
ENTRIES: Credentials = {"https://index.docker.io/v1/": ("me", "se:cret"), "r:5000": ("<token>", "ñ\n")}


def test_what_is_written_is_read_by_its_key_alone(tmp_path: Path) -> None:
    vault, key = Vault(tmp_path / "file.json"), QUICK.key("right")
    vault.write(QUICK, key, ENTRIES)
    assert vault.source() == QUICK
    assert vault.read(key) == ENTRIES
    assert stat.S_IMODE(vault.path.stat().st_mode) == 0o600
    for secret in (b"se:cret", b"r:5000", b"index.docker", b"<token>"):
        assert secret not in vault.path.read_bytes()
    with pytest.raises(WrongKey):
        vault.read(QUICK.key("wrong"))


def test_each_write_has_a_nonce_of_its_own(tmp_path: Path) -> None:
    vault, key = Vault(tmp_path / "file.json"), QUICK.key("right")
    written = set()
    for _ in range(3):
        vault.write(QUICK, key, ENTRIES)
        document = json.loads(vault.path.read_text())
        written |= {document["nonce"], document["data"]}
    assert len(written) == 6


@pytest.mark.parametrize("field", ["nonce", "data", "salt", "time", "memory_kib", "lanes"])
def test_a_changed_file_opens_nothing(tmp_path: Path, field: str) -> None:
    vault, key = Vault(tmp_path / "file.json"), QUICK.key("right")
    vault.write(QUICK, key, ENTRIES)
    document = json.loads(vault.path.read_text())
    value = document[field]
    document[field] = value + 1 if isinstance(value, int) else ("B" if value[0] == "A" else "A") + value[1:]
    vault.path.write_text(json.dumps(document))
    with pytest.raises(WrongKey):
        vault.read(key)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"version": 2}', '{"version": 1}',
     '{"version": 1, "salt": "c2FsdC1vZi0xNi1ieXRlcw==", "time": 3, "memory_kib": 4000000000, "lanes": 4}',
     '{"version": 1, "salt": "c2FsdC1vZi0xNi1ieXRlcw==", "time": "3", "memory_kib": 64, "lanes": 4}'],
)  # fmt: skip
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: str) -> None:
    vault = Vault(tmp_path / "file.json")
    vault.path.write_text(content)
    with pytest.raises(Damaged):
        vault.source()
    assert vault.path.read_text() == content
