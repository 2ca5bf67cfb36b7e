"""Bad input, asked of real Docker and of Onggi in the same run: exit status and sentence are the same, and nothing is left."""

import re
from collections.abc import Callable

import pytest

from tests.engine import Engine
from tests.peers import Docker

Answer = tuple[int, str, str]
NAME = "refusal-parity"

REFUSED: dict[str, list[str]] = {
    "no such command": ["run", "--rm", "busybox", "no-such-command"],
    "no such path": ["run", "--rm", "busybox", "/no/such/path"],
    "a directory": ["run", "--rm", "busybox", "/etc"],
    "not executable": ["run", "--rm", "busybox", "/etc/passwd"],
    "entrypoint missing": ["run", "--rm", "--entrypoint", "nope", "busybox"],
    "no such user": ["run", "--rm", "-u", "nobody-there", "busybox", "true"],
    "no such group": ["run", "--rm", "-u", "0:nogroup-there", "busybox", "true"],
    "uid too large": ["run", "--rm", "-u", "4294967296", "busybox", "true"],
    "uid negative": ["run", "--rm", "-u", "-1", "busybox", "true"],
    "gpus": ["run", "--rm", "--gpus", "all", "busybox", "true"],
    "gpus of a driver": ["run", "--rm", "--gpus", "driver=nvidia,count=2", "busybox", "true"],
    "device of no vendor": ["run", "--rm", "--device", "vendor.example/class=name", "busybox", "true"],
    "storage option unknown": ["create", "--name", NAME, "--storage-opt", "foo=1", "busybox"],
    "storage option size": ["create", "--name", NAME, "--storage-opt", "size=1G", "busybox"],
    "real-time runtime above period": [
        "create",
        "--name",
        NAME,
        "--cpu-rt-period",
        "100",
        "--cpu-rt-runtime",
        "200",
        "busybox",
    ],
    "writable cgroups, what": ["create", "--name", NAME, "--security-opt", "writable-cgroups=x", "busybox"],
    "isolation": ["create", "--name", NAME, "--isolation", "hyperv", "busybox"],
    "user namespace": ["create", "--name", NAME, "--userns", "private", "busybox"],
    "runtime unknown": ["create", "--name", NAME, "--runtime", "foo", "busybox"],
    "address on the default bridge": ["create", "--name", NAME, "--ip", "not-an-address", "busybox"],
    "address on the host's network": ["create", "--name", NAME, "--network", "host", "--ip", "10.1.2.3", "busybox"],
    "sysctl of no interface": [
        "create",
        "--name",
        NAME,
        "--network",
        "name=bridge,driver-opt=com.docker.network.endpoint.sysctls=net.foo=1",
        "busybox",
    ],
    "checkpoint": ["start", "--checkpoint", "c1", "no-such-container"],
    "mount of an image without source": ["create", "--name", NAME, "--mount", "type=image,target=/x", "busybox"],
    "mount of an image's outside": [
        "create",
        "--name",
        NAME,
        "--mount",
        "type=image,source=busybox,target=/x,image-subpath=../y",
        "busybox",
    ],
    "mount of a cluster": ["create", "--name", NAME, "--mount", "type=cluster,source=x,target=/x", "busybox"],
    "no such network": ["run", "--rm", "--network", "no-such-network", "busybox", "true"],
    "no such container's network": ["run", "--rm", "--network", "container:no-such", "busybox", "true"],
    "bad name": ["create", "--name", "-bad", "busybox"],
    "short name": ["create", "--name", "x", "busybox"],
    "bad reference, upper case": ["create", "BusyBox"],
    "bad reference, scheme": ["create", "https://example.com/x"],
    "bad tag": ["create", "busybox:-x"],
    "bad digest": ["create", "busybox@sha256:123"],
    "relative workdir": ["create", "--name", NAME, "-w", "here", "busybox"],
    "memory too small": ["create", "--name", NAME, "--memory", "1m", "busybox"],
    "memory unreadable": ["create", "--name", NAME, "--memory", "lots", "busybox"],
    "memory-swap below memory": ["create", "--name", NAME, "--memory", "64m", "--memory-swap", "32m", "busybox"],
    "reservation above memory": [
        "create",
        "--name",
        NAME,
        "--memory",
        "64m",
        "--memory-reservation",
        "128m",
        "busybox",
    ],
    "negative cpus": ["create", "--name", NAME, "--cpus", "-1", "busybox"],
    "too many cpus": ["create", "--name", NAME, "--cpus", "1000", "busybox"],
    "cpuset unreadable": ["create", "--name", NAME, "--cpuset-cpus", "a", "busybox"],
    "cpuset beyond": ["create", "--name", NAME, "--cpuset-cpus", "100", "busybox"],
    "bad capability": ["create", "--name", NAME, "--cap-add", "FLY", "busybox"],
    "bad security option": ["create", "--name", NAME, "--security-opt", "nonsense", "busybox"],
    "bad port": ["create", "--name", NAME, "-p", "70000:80", "busybox"],
    "bad protocol": ["create", "--name", NAME, "-p", "80:80/icmp", "busybox"],
    "bad volume": ["create", "--name", NAME, "-v", "a:b:c:d", "busybox"],
    "relative mount target": ["create", "--name", NAME, "-v", "/tmp:here", "busybox"],
    "mount on the root": ["create", "--name", NAME, "-v", "/tmp:/", "busybox"],
    "same target twice": ["create", "--name", NAME, "-v", "/tmp:/x", "-v", "/etc:/x", "busybox"],
    "missing bind source": ["create", "--name", NAME, "--mount", "type=bind,src=/no/such/source,dst=/x", "busybox"],
    "mount without target": ["create", "--name", NAME, "--mount", "type=volume,src=a", "busybox"],
    "bad mount type": ["create", "--name", NAME, "--mount", "type=cloud,dst=/x", "busybox"],
    "bad volume name": ["create", "--name", NAME, "-v", "-bad:/x", "busybox"],
    "bad restart policy": ["create", "--name", NAME, "--restart", "sometimes", "busybox"],
    "restart and rm": ["create", "--name", NAME, "--rm", "--restart", "always", "busybox"],
    "bad env file": ["create", "--name", NAME, "--env-file", "/no/such/file", "busybox"],
    "bad ulimit": ["create", "--name", NAME, "--ulimit", "nofile=soft", "busybox"],
    "bad sysctl": ["create", "--name", NAME, "--sysctl", "kernel.core_pattern=x", "busybox", "true"],
    "bad device": ["run", "--name", NAME, "--device", "/dev/no-such-device", "busybox", "true"],
    "bad log driver": ["create", "--name", NAME, "--log-driver", "smoke-signals", "busybox"],
    "bad log option": ["create", "--name", NAME, "--log-opt", "colour=red", "busybox"],
    "bad host name": ["create", "--name", NAME, "--hostname", "a" * 70, "busybox"],
    "bad extra host": ["create", "--name", NAME, "--add-host", "noaddress", "busybox"],
    "bad dns": ["create", "--name", NAME, "--dns", "nowhere", "busybox"],
    "bad stop signal": ["create", "--name", NAME, "--stop-signal", "SIGFLY", "busybox"],
    "bad pull": ["create", "--pull", "sometimes", "busybox"],
    "bad health interval": ["create", "--name", NAME, "--health-cmd", "true", "--health-interval", "1ns", "busybox"],
    "inspect of nothing": ["inspect", "no-such-thing"],
    "container inspect of nothing": ["container", "inspect", "no-such-thing"],
    "image inspect of nothing": ["image", "inspect", "no-such-thing"],
    "start of nothing": ["start", "no-such-thing"],
    "stop of nothing": ["stop", "no-such-thing"],
    "kill of nothing": ["kill", "no-such-thing"],
    "rm of nothing": ["rm", "no-such-thing"],
    "rm -f of nothing": ["rm", "-f", "no-such-thing"],
    "exec in nothing": ["exec", "no-such-thing", "true"],
    "logs of nothing": ["logs", "no-such-thing"],
    "wait for nothing": ["wait", "no-such-thing"],
    "top of nothing": ["top", "no-such-thing"],
    "rename of nothing": ["rename", "no-such-thing", "new-name"],
    "attach to nothing": ["attach", "no-such-thing"],
    "pause of nothing": ["pause", "no-such-thing"],
    "port of nothing": ["port", "no-such-thing"],
    "update of nothing": ["update", "--memory", "64m", "no-such-thing"],
    "diff of nothing": ["diff", "no-such-thing"],
    "rmi of nothing": ["rmi", "no-such-thing"],
    "tag of nothing": ["tag", "no-such-thing", "other"],
    "tag with a bad name": ["tag", "busybox", "Bad Name"],
    "history of nothing": ["history", "no-such-thing"],
    "ps with a bad filter": ["ps", "--filter", "colour=red"],
    "ps with a bad status": ["ps", "--filter", "status=happy"],
    "images with a bad filter": ["images", "--filter", "colour=red"],
    "network inspect of nothing": ["network", "inspect", "no-such-thing"],
    "network rm of nothing": ["network", "rm", "no-such-thing"],
    "network rm of bridge": ["network", "rm", "bridge"],
    "volume inspect of nothing": ["volume", "inspect", "no-such-thing"],
    "volume rm of nothing": ["volume", "rm", "no-such-thing"],
    "volume with a bad name": ["volume", "create", "-bad"],
    "volume with a bad driver": ["volume", "create", "-d", "no-such-driver", "vol-x"],
}

PREPARED: dict[str, tuple[list[list[str]], list[str]]] = {
    "name taken": ([["create", "--name", NAME, "busybox"]], ["create", "--name", NAME, "busybox"]),
    "rename to a taken name": (
        [["create", "--name", NAME, "busybox"], ["create", "--name", f"{NAME}-2", "busybox"]], ["rename", f"{NAME}-2", NAME]
    ),
    "start twice": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["start", NAME]),
    "pause of a created one": ([["create", "--name", NAME, "busybox"]], ["pause", NAME]),
    "unpause of a running one": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["unpause", NAME]),
    "exec in a created one": ([["create", "--name", NAME, "busybox"]], ["exec", NAME, "true"]),
    "exec of a missing command": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["exec", NAME, "nope"]),
    "exec of what can't run": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["exec", NAME, "/etc"]),
    "exec in a paused one": (
        [["run", "-d", "--name", NAME, "busybox", "sleep", "1000"], ["pause", NAME]], ["exec", NAME, "true"]
    ),
    "rm of a running one": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["rm", NAME]),
    "kill of a created one": ([["create", "--name", NAME, "busybox"]], ["kill", NAME]),
    "kill with no such signal": ([["run", "-d", "--name", NAME, "busybox", "sleep", "1000"]], ["kill", "-s", "FLY", NAME]),
    "top of a created one": ([["create", "--name", NAME, "busybox"]], ["top", NAME]),
    "attach to a created one": ([["create", "--name", NAME, "busybox"]], ["attach", NAME]),
    "cp of nothing": ([["create", "--name", NAME, "busybox"]], ["cp", f"{NAME}:/no/such/file", "/tmp/x"]),
    "volume rm in use": (
        [["create", "--name", NAME, "-v", f"{NAME}-vol:/x", "busybox"]], ["volume", "rm", f"{NAME}-vol"]
    ),
}  # fmt: skip

HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")
HELP = re.compile(r"\n+Run 'docker .* --help' for more information")


def normal(text: str) -> str:
    return HELP.sub("", HEX.sub("<id>", text)).strip()


def ask(docker: Callable[..., object], words: list[str]) -> Answer:
    done = docker(*words)
    return done.returncode, normal(done.stdout), normal(done.stderr)  # type: ignore[attr-defined]


def clean(docker: Callable[..., object]) -> None:
    docker("rm", "-fv", NAME, f"{NAME}-2")
    docker("volume", "rm", f"{NAME}-vol")


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_refusal(engine: Engine, peer: Docker, case: str) -> None:
    words = REFUSED[case]
    try:
        theirs, ours = ask(peer, words), ask(engine.docker, words)
        assert ours == theirs
    finally:
        clean(peer)
        clean(engine.docker)
        for docker in (peer, engine.docker):
            left = docker("ps", "-aq", "--filter", "ancestor=busybox", "--filter", "status=created").stdout.split()
            if left and docker is engine.docker:
                docker("rm", "-f", *left)


@pytest.mark.parametrize("case", PREPARED)
def test_the_same_refusal_in_this_state(engine: Engine, peer: Docker, case: str) -> None:
    before, words = PREPARED[case]
    try:
        for docker in (peer, engine.docker):
            for step in before:
                docker(*step, check=True)
        assert ask(engine.docker, words) == ask(peer, words)
    finally:
        clean(peer)
        clean(engine.docker)
