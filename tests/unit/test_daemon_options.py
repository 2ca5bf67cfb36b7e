"""The daemon's configuration: command line, file, and what is refused."""

from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from onggi.daemon.options import read
from onggi.engine.settings import AddressPool
from onggi.errors import InvalidParameter


def test_the_defaults() -> None:
    configuration = read([])
    assert configuration.hosts == ("unix:///run/onggi/onggi.sock",)
    assert configuration.settings.data_root == Path("/var/lib/onggi")
    assert configuration.pidfile == Path("/run/onggi/onggi.pid")
    assert configuration.tls is None


def test_options_fill_the_settings() -> None:
    configuration = read(
        ["-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "--data-root=/d", "--exec-root", "/e", "--bip", "10.9.0.1/24",
         "--icc=false", "--insecure-registry", "r:5", "--default-shm-size", "2m", "--log-opt", "max-size=1m",
         "--default-address-pool", "base=10.0.0.0/16,size=24", "-D"]
    )  # fmt: skip
    settings = configuration.settings
    assert configuration.hosts == ("unix:///a", "tcp://127.0.0.1:1")
    assert settings.bip == IPv4Interface("10.9.0.1/24")
    assert settings.icc is False
    assert settings.insecure_registries[-1] == "r:5"
    assert settings.default_shm_size_bytes == 2 << 20
    assert settings.log_opts == {"max-size": "1m"}
    assert settings.default_address_pools == (AddressPool(IPv4Network("10.0.0.0/16"), 24),)
    assert configuration.log_level == "debug"
    assert configuration.pidfile == Path("/e/onggi.pid")


def test_the_file_fills_what_the_command_line_leaves(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"data-root": "/d", "registry-mirrors": ["http://m"], "live-restore": false}')
    settings = read(["--config-file", str(file), "--mtu", "1400"]).settings
    assert settings.data_root == Path("/d")
    assert settings.registry_mirrors == ("http://m",)
    assert settings.live_restore is False
    assert settings.mtu == 1400


def test_proxies_come_from_the_environment_until_they_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://outside:1")
    monkeypatch.setenv("https_proxy", "http://outside:2")
    monkeypatch.setenv("no_proxy", "here")
    settings = read([]).settings
    assert (settings.http_proxy, settings.https_proxy) == ("http://outside:1", "http://outside:2")
    assert settings.no_proxy == "here"
    file = tmp_path / "daemon.json"
    file.write_text('{"proxies": {"https-proxy": "http://file:3", "no-proxy": ""}}')
    settings = read(["--config-file", str(file), "--http-proxy", "flag:4"]).settings
    assert (settings.http_proxy, settings.https_proxy, settings.no_proxy) == ("flag:4", "http://file:3", "")


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        ('{"http-proxy": "p:1"}', [], 'http-proxy belongs into the object "proxies"'),
        ('{"proxies": "p:1"}', [], "proxies must be an object of strings"),
        ('{"proxies": {"ftp-proxy": "p:1"}}', [],
         "the following directives don't match any configuration option: proxies.ftp-proxy"),
    ],
)  # fmt: skip
def test_proxies_that_the_file_gives_wrongly(tmp_path: Path, content: str, arguments: list[str], sentence: str) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(content)
    with pytest.raises(InvalidParameter) as refusal:
        read(["--config-file", str(file), *arguments])
    assert str(refusal.value) == f"unable to configure the daemon with file {file}: {sentence}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--bip", "10.0.0.0/24"],
            'invalid value "10.0.0.0/24" for bip: ADDRESS/BITS is expected, as in 172.17.0.1/16',
        ),
        (["--log-level", "loud"], 'invalid logging level "loud": use one of debug, info, warn, error, fatal'),
        (["--data-root", "here"], 'invalid path "here" for data-root: it must be absolute'),
        (
            ["--default-shm-size", "4x"],
            'invalid size "4x" for default-shm-size: use a number with b, k, m or g, as in 64m',
        ),
        (["--icc=perhaps"], 'invalid boolean value "perhaps" for icc: use true or false'),
        (["--mtu", "١٥٠٠"], 'invalid value "١٥٠٠" for mtu: a number of at least 68 is expected'),
        (["--nonsense"], "unrecognized arguments: --nonsense\nSee 'onggi daemon --help'."),
    ],
)
def test_what_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read(arguments)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "unable to configure the daemon with file"),
        ("[]", "it must hold one JSON object"),
        ('{"colour": 1}', "don't match any configuration option: colour"),
        ('{"debug": true}', "specified both as a flag and in the configuration file: debug"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(text)
    with pytest.raises(InvalidParameter, match=words):
        read(["--config-file", str(file), "--debug"])


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(InvalidParameter, match="there is no such file"):
        read(["--config-file", "/nowhere/daemon.json"])
