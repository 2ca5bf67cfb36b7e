"""Beside a firewall that drops what it does not know: published ports and what containers ask for still pass.

A host of its own (a network namespace with a neighbour), so that no rule touches this machine. Firewalls themselves
(ufw, firewalld) are tried with ONGGI_TESTS_WHOLE=1, from a root of Debian's packages; by default their shape.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine

pytestmark = pytest.mark.timeout(400)  # a busy machine
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
FIREWALLS = Path("/var/cache/onggi-firewalls")
DROPS = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
PORT = 8080
UFW = """
sed -i 's/^IPV6=yes/IPV6=no/' etc/default/ufw
chroot . ufw --force enable
"""
FIREWALLD = """
mkdir -p run/dbus
chroot . dbus-daemon --system --fork
chroot . firewalld
until chroot . firewall-cmd --state; do sleep 0.2; done
"""
INSIDE = """
mount --bind {root} {root} && cd {root} && mount -t tmpfs run run && mount -t proc proc proc
mount --rbind /sys sys && mount --rbind /dev dev
"""


class Host:
    """A network namespace that plays a machine, and one that plays its neighbour on 192.0.2.0/24."""

    def __init__(self) -> None:
        self.name, self.neighbour = f"og-host-{os.getpid()}", f"og-lan-{os.getpid()}"

    def __call__(self, *command: str, check: bool = True) -> str:
        words = ["nsenter", f"--net=/run/netns/{self.name}", *command]
        return subprocess.run(words, check=check, capture_output=True, text=True, timeout=100).stdout

    def from_neighbour(self, url: str) -> str:
        words = ["nsenter", f"--net=/run/netns/{self.neighbour}", "busybox", "timeout", "5", "wget", "-qO-", url]
        return subprocess.run(words, check=False, capture_output=True, text=True, timeout=100).stdout

    @contextmanager
    def serving(self, directory: Path) -> Iterator[None]:
        """The neighbour serves `outside`."""
        directory.mkdir()
        (directory / "index.html").write_text("outside")
        words = [
            "nsenter",
            f"--net=/run/netns/{self.neighbour}",
            "busybox",
            "httpd",
            "-f",
            "-p",
            "9000",
            "-h",
            str(directory),
        ]
        server = subprocess.Popen(words)
        try:
            yield
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host()
    for name in (made.name, made.neighbour):
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            f"link add up0 netns {made.name} type veth peer name lan0 netns {made.neighbour}",
            f"-n {made.name} link set lo up", f"-n {made.name} link set up0 up",
            f"-n {made.name} address add 192.0.2.1/24 dev up0", f"-n {made.name} route add default via 192.0.2.2",
            f"-n {made.neighbour} link set lo up", f"-n {made.neighbour} link set lan0 up",
            f"-n {made.neighbour} address add 192.0.2.2/24 dev lan0",
        ):  # fmt: skip
            subprocess.run(["ip", *words.split()], check=True)
        with made.serving(tmp_path / "served"):
            yield made
    finally:
        for name in (made.name, made.neighbour):
            subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def serving(host: Host, directory: Path, busybox_tar: Path, *enter: str) -> Iterator[Engine]:
    """An engine on that host, with a container that serves `hello` on a published port."""
    with Engine(directory, number=2, enter=("nsenter", f"--net=/run/netns/{host.name}", *enter)) as engine:
        engine.docker("load", "-i", str(busybox_tar), check=True)
        engine.docker("run", "-d", "--name", "web", "-p", f"{PORT}:80", "busybox", "sh", "-c",
                      "echo hello >/index.html; exec httpd -f -p 80 -h /", check=True)  # fmt: skip
        yield engine


def passes(host: Host, engine: Engine) -> bool:
    """What comes in by a published port, and what a container asks for outside."""
    asked = engine.docker("exec", "web", "timeout", "5", "wget", "-qO-", "http://192.0.2.2:9000/index.html").stdout
    came_in = host.from_neighbour(f"http://192.0.2.1:{PORT}/index.html")
    return (came_in, asked) == ("hello\n", "outside")


def ours(host: Host, engine: Engine) -> list[str]:
    rules = host("nft", "list", "table", "ip", "filter").splitlines()
    return [line for line in rules if f"onggi {engine.bridge}" in line]


def test_a_forward_chain_that_drops(host: Host, tmp_path: Path, busybox_tar: Path) -> None:
    host("nft", DROPS)
    with serving(host, tmp_path, busybox_tar) as engine:
        until(lambda: passes(host, engine), "it is let through")
        host("nft", "flush", "chain", "ip", "filter", "FORWARD")
        until(lambda: ours(host, engine), "rules that were flushed are put back")
        assert passes(host, engine)
    assert ours(host, engine) == [], "nothing stays when the engine has gone"


def test_a_forward_chain_that_begins_to_drop_later(host: Host, tmp_path: Path, busybox_tar: Path) -> None:
    with serving(host, tmp_path, busybox_tar) as engine:
        until(lambda: passes(host, engine), "nobody is in the way")
        host("nft", DROPS)
        until(lambda: ours(host, engine), "it is noticed")
        assert passes(host, engine)


def test_without_our_rules_it_drops(host: Host, tmp_path: Path, busybox_tar: Path) -> None:
    """The two above would pass without a firewall, too."""
    with serving(host, tmp_path, busybox_tar) as engine:
        host("nft", DROPS)
        until(lambda: ours(host, engine), "it is noticed")
        engine.kill()
        host("nft", "flush", "chain", "ip", "filter", "FORWARD")
        assert host.from_neighbour(f"http://192.0.2.1:{PORT}/index.html") == ""
        engine.start()
        until(lambda: passes(host, engine), "the next engine lets it through")


@pytest.fixture(scope="session")
def firewalls() -> Path:
    if not WHOLE:
        pytest.skip("ufw and firewalld themselves: with ONGGI_TESTS_WHOLE=1")
    if not (FIREWALLS / "usr/sbin/ufw").exists():
        packages = "firewalld,ufw,dbus,iptables,nftables,procps"
        subprocess.run(["mmdebstrap", "--quiet", "--aptopt=Acquire::Check-Valid-Until \"false\"", "--variant=minbase",
                        f"--include={packages}", "bookworm", FIREWALLS, "http://deb.debian.org/debian"], check=True)  # fmt: skip
    return FIREWALLS


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("start", "again"), [(UFW, "ufw reload"), (FIREWALLD, "firewall-cmd --reload")], ids=["ufw", "firewalld"]
)
def test_the_firewall_itself(
    host: Host, firewalls: Path, tmp_path: Path, busybox_tar: Path, start: str, again: str
) -> None:
    inside = INSIDE.format(root=firewalls)
    keeper = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.name}", "unshare", "-mpf", "--kill-child", "sh", "-ec",
         f"{inside}\n{start}\necho ready; while read -r line; do chroot . $line; echo done; done"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        assert any(line == "ready\n" for line in keeper.stdout)
        # What the engine calls is the firewall's own program, in the firewall's root.
        pid = keeper.pid
        call = tmp_path / "firewall-cmd"
        call.write_text(
            f'#!/bin/sh\nexec nsenter --mount=/proc/$(pgrep -P {pid})/ns/mnt chroot {firewalls} firewall-cmd "$@"\n'
        )
        call.chmod(0o755)
        programs = 'mount -t tmpfs programs /usr/local/sbin && cp $0 /usr/local/sbin/ && exec "$@"'
        with serving(host, tmp_path, busybox_tar, "unshare", "-m", "sh", "-c", programs, str(call)) as engine:
            until(lambda: passes(host, engine), "it is let through")
            keeper.stdin.write(f"{again}\n")
            keeper.stdin.flush()
            assert any(line == "done\n" for line in keeper.stdout)
            until(lambda: passes(host, engine), "and after a reload")
    finally:
        keeper.kill()
        keeper.wait()
