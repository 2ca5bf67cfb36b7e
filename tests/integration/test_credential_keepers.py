"""`docker-credential-onggi key`: vaults whose key the secret service or a TPM has, real ones of Debian's packages."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import secretstorage

from tests.cli import ROOT
from tests.keepers import LACKING, SessionBus

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

PROGRAM = str(ROOT / "scripts/docker-credential-onggi")
ENTRY = {"ServerURL": "r:5000", "Username": "me", "Secret": "se:cret"}
OTHER = {"ServerURL": "other.example", "Username": "you", "Secret": "hidden"}


class Helper:
    """The program with a folder, a bus and a TPM of its own."""

    def __init__(self, folder: Path, bus: SessionBus) -> None:
        self.folder, self.bus = folder, bus
        self.file = folder / "onggi-credentials.json"
        self.environment = {"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(folder),
                            "DBUS_SESSION_BUS_ADDRESS": bus.address}  # fmt: skip

    def __call__(self, *words: str, text: str = "") -> tuple[int, str]:
        done = subprocess.run([PROGRAM, *words], input=text, capture_output=True, text=True, timeout=60, check=False,
                              start_new_session=True, env=self.environment)  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout.rstrip("\n")

    def ok(self, *words: str, text: str = "") -> str:
        status, said = self(*words, text=text)
        assert status == 0, said
        return said

    def refusal(self, *words: str, text: str = "") -> str:
        status, said = self(*words, text=text)
        assert status == 1
        assert "\n" not in said
        return said

    def store(self, entry: dict[str, str]) -> None:
        self.ok("store", text=json.dumps(entry))

    def get(self, server: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.ok("get", text=server))
        return found


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    folder, run = tmp_path / "docker", tmp_path / "run"
    folder.mkdir()
    run.mkdir(mode=0o700)
    with SessionBus(run) as bus:
        helper = Helper(folder, bus)
        yield helper
        helper("lock")  # nothing stays in the kernel


def keys_in_the_service(monkeypatch: pytest.MonkeyPatch, bus: SessionBus) -> list[bytes]:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    with closing(secretstorage.dbus_init()) as connection:
        collection = secretstorage.get_default_collection(connection)
        return [item.get_secret() for item in collection.search_items({"application": "onggi"})]


@pytest.fixture(params=["secret-service", "tpm"])
def kind(request: pytest.FixtureRequest, helper: Helper) -> str:
    kind: str = request.param
    if kind == "tpm":
        helper.environment["TPM2TOOLS_TCTI"] = helper.bus.tpm("one")
    else:
        helper.bus.keyring("of the desktop")
    return kind


def test_the_protocol_with_a_kept_key(helper: Helper, kind: str) -> None:
    """No passphrase, no terminal, and nothing readable in the file."""
    helper.ok("key", kind)
    assert helper.refusal("get", text="r:5000") == "credentials not found in native keychain"
    helper.store(ENTRY)
    helper.store(OTHER)
    assert helper.get("r:5000") == ENTRY
    assert json.loads(helper.ok("list")) == {"r:5000": "me", "other.example": "you"}
    helper.ok("erase", text="r:5000")
    assert json.loads(helper.ok("list")) == {"other.example": "you"}
    assert not any(secret in helper.file.read_text() for secret in ("hidden", "other.example", "you"))
    assert sorted(path.name for path in helper.folder.iterdir()) == ["onggi-credentials.json", "onggi-credentials.lock"]
    for command in ("unlock", "lock"):
        assert helper.refusal(command).endswith("there is no passphrase to unlock or lock them by")


def test_the_key_moves_and_what_is_stored_stays(helper: Helper, kind: str) -> None:
    helper.ok("unlock", "60", text="long enough\n")
    helper.store(ENTRY)
    by_passphrase = helper.file.read_bytes()
    helper.ok("key", kind)
    assert helper.get("r:5000") == ENTRY
    helper.ok("key", kind)  # a new key of the same keeper
    assert helper.get("r:5000") == ENTRY
    assert helper.refusal("key", "passphrase", text="short\n") == "a passphrase needs 8 characters at least"
    assert helper.get("r:5000") == ENTRY
    helper.ok("key", "passphrase", text="another one\n")
    assert helper.get("r:5000") == ENTRY
    helper.ok("lock")
    assert "locked" in helper.refusal("get", text="r:5000")
    assert "passphrase is not that" in helper.refusal("unlock", "60", text="long enough\n")
    helper.ok("unlock", "60", text="another one\n")
    assert helper.get("r:5000") == ENTRY
    helper.file.write_bytes(by_passphrase)
    assert "locked" in helper.refusal("get", text="r:5000")  # the kernel forgot the key of before


def test_a_changed_reference_opens_nothing(helper: Helper, kind: str) -> None:
    helper.ok("key", kind)
    helper.store(ENTRY)
    document = json.loads(helper.file.read_text())
    document["reference"] = ("B" if document["reference"][0] == "A" else "A") + document["reference"][1:]
    helper.file.write_text(json.dumps(document))
    changed = helper.file.read_bytes()
    helper.refusal("get", text="r:5000")
    helper.refusal("store", text=json.dumps(OTHER))
    assert helper.file.read_bytes() == changed


def test_the_service_has_one_key_and_none_afterwards(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    helper.bus.keyring("of the desktop")
    helper.ok("key", "secret-service")
    first = keys_in_the_service(monkeypatch, helper.bus)
    helper.ok("key", "secret-service")
    second = keys_in_the_service(monkeypatch, helper.bus)
    assert [len(key) for key in first] == [len(key) for key in second] == [32]
    assert first != second
    helper.ok("key", "passphrase", text="long enough\n")
    assert keys_in_the_service(monkeypatch, helper.bus) == []


def test_a_locked_service_whose_prompt_nobody_can_see(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    helper.bus.keyring("of the desktop")
    helper.ok("key", "secret-service")
    helper.store(ENTRY)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", helper.bus.address)
    with closing(secretstorage.dbus_init()) as connection:
        secretstorage.get_default_collection(connection).lock()
    sentence = "the desktop's secret service stays locked: its prompt was dismissed"
    assert helper.refusal("get", text="r:5000") == sentence
    assert helper.refusal("key", "passphrase", text="long enough\n") == sentence


def test_no_secret_service(helper: Helper) -> None:
    sentence = "no desktop's secret service gives the key of the credentials: "
    assert helper.refusal("key", "secret-service").startswith(sentence)
    assert not helper.file.exists()
    del helper.environment["DBUS_SESSION_BUS_ADDRESS"]
    assert helper.refusal("key", "secret-service").startswith(sentence)


def test_another_tpm_opens_nothing(helper: Helper) -> None:
    helper.environment["TPM2TOOLS_TCTI"] = helper.bus.tpm("one")
    helper.ok("key", "tpm")
    helper.store(ENTRY)
    helper.bus.tpm("two")
    assert helper.refusal("get", text="r:5000").startswith(
        "the TPM does not give the key of the credentials: tpm2_load: "
    )
    helper.bus.tpm("one")  # as after a reboot: the TPM has only its seed
    assert helper.get("r:5000") == ENTRY


def test_the_tpm_is_left_as_it_was(helper: Helper) -> None:
    """More uses than a TPM has room for objects and sessions."""
    helper.environment["TPM2TOOLS_TCTI"] = helper.bus.tpm("one")
    helper.ok("key", "tpm")
    for _ in range(12):
        assert helper.ok("list") == "{}"
    for what in ("transient", "loaded-session", "saved-session"):
        done = subprocess.run(
            ["tpm2_getcap", f"handles-{what}"], env=helper.environment, capture_output=True, check=True
        )
        assert done.stdout == b""


def test_no_tpm(helper: Helper, tmp_path: Path) -> None:
    helper.environment["TPM2TOOLS_TCTI"] = f"device:{tmp_path}/none"
    assert helper.refusal("key", "tpm").startswith(
        "the TPM does not give the key of the credentials: tpm2_createprimary"
    )
    python = tmp_path / "bin"
    python.mkdir()
    helper.environment["PATH"] = str(python)
    for name in ("sh", "readlink"):
        (python / name).symlink_to(f"/usr/bin/{name}")
    assert helper.refusal("key", "tpm") == "keys in a TPM need the programs of tpm2-tools: install that package"
    assert not helper.file.exists()
