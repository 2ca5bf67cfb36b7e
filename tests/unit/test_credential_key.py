"""A vault's key is changed: whatever fails, the file is opened by a key that is there, and no key is left over."""

import json
from pathlib import Path

import pytest

from onggi.credential_helper import key as keys
from onggi.credential_helper.main import change_key, get, store
from onggi.credential_helper.vault import Damaged, Keeper, Kept, KeyUnavailable, Vault, WrongKey

ENTRY = {"ServerURL": "r:5000", "Username": "me", "Secret": "se:cret"}


class Memory:
    """A keeper."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def keep(self, key: bytes, /) -> bytes:
        reference = b"number %d" % len(self.kept)
        self.kept[reference] = key
        return reference

    def recall(self, reference: bytes, /) -> bytes:
        if reference not in self.kept:
            raise KeyUnavailable("it is not there")
        return self.kept[reference]

    def forget(self, reference: bytes, /) -> None:
        self.kept.pop(reference, None)


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setitem(keys._KEEPERS, Keeper.TPM, memory)
    return memory


@pytest.fixture
def vault(tmp_path: Path, keeper: Memory) -> Vault:
    vault = Vault(tmp_path / "file.json")
    change_key(vault, Keeper.TPM)
    store(vault, json.dumps(ENTRY))
    return vault


def test_the_old_key_goes_when_the_file_has_the_new_one(
    vault: Vault, keeper: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, forget = dict(keeper.kept), keeper.forget

    def look_first(reference: bytes, /) -> None:
        assert reference in old
        source = vault.source()
        assert isinstance(source, Kept)
        assert source.reference not in old
        forget(reference)

    monkeypatch.setattr(keeper, "forget", look_first)
    change_key(vault, Keeper.TPM)
    assert len(keeper.kept) == 1
    assert keeper.kept != old
    assert get(vault, "r:5000") == ENTRY


def test_a_file_that_can_not_be_written_keeps_its_key(
    vault: Vault, keeper: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = dict(keeper.kept)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("onggi.credential_helper.vault.os.replace", full)
        with pytest.raises(OSError, match="No space"):
            change_key(vault, Keeper.TPM)
    assert keeper.kept == old
    assert get(vault, "r:5000") == ENTRY


def test_a_key_that_is_another(vault: Vault, keeper: Memory) -> None:
    keeper.kept = dict.fromkeys(keeper.kept, bytes(32))
    with pytest.raises(WrongKey, match="the key is not that of the stored credentials"):
        get(vault, "r:5000")
    keeper.kept.clear()
    with pytest.raises(KeyUnavailable):
        change_key(vault, Keeper.TPM)
    assert keeper.kept == {}


@pytest.mark.parametrize(
    "changes",
    [{"keeper": "file"}, {"keeper": ["tpm"]}, {"keeper": None}, {"reference": ""}, {"reference": "A"}, {"reference": 1},
     {"reference": "A" * 8000}, {"version": 3}],
)  # fmt: skip
def test_what_names_no_key(vault: Vault, changes: dict[str, object]) -> None:
    vault.path.write_text(json.dumps({**json.loads(vault.path.read_text()), **changes}))
    content = vault.path.read_bytes()
    with pytest.raises(Damaged):
        store(vault, json.dumps(ENTRY))
    assert vault.path.read_bytes() == content
