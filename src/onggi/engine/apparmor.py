"""AppArmor, where the kernel has it: which profile a container runs under, and Docker's default one.

The rules of the default profile are those of Docker's (moby, profiles/apparmor), under its name, so that an engine of
Docker's on the same machine finds it loaded. A profile that is named but not loaded ends the start (runtime.plan).
"""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from onggi.errors import InvalidParameter, System

DEFAULT = "docker-default"
UNCONFINED = "unconfined"
_KERNEL = Path("/sys/kernel/security/apparmor")
_PROGRAMS = "/usr/sbin:/sbin:/usr/bin:/bin"
_PATIENCE_S = 60.0
_RULES = """
#include <tunables/global>

profile {name} flags=(attach_disconnected,mediate_deleted) {{
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  # Processes of the host, the engine's among them, may signal those of containers; these may signal each other.
  signal (receive) peer={engine},
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer={name},

  deny @{{PROC}}/* w, # files directly in /proc
  # all others but /proc/PID and /proc/sys
  deny @{{PROC}}/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w, # all but shm*
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny mount,

  deny /sys/[^f]*/** wklx, # all but /sys/fs/cgroup
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  ptrace (trace,read,tracedby,readby) peer={name},
}}
"""


@cache
def in_kernel() -> bool:
    return _KERNEL.is_dir()


@cache
def default_profile() -> str:
    """The profile of containers that name none; "" where there is no AppArmor, or no program to load it with.

    Loads it, unless it is loaded; blocks then. Raises System with the program's words.
    """
    if not in_kernel():
        return ""
    parser = shutil.which("apparmor_parser", path=_PROGRAMS)
    if parser is None:
        return ""
    loaded = {line.partition(" ")[0] for line in (_KERNEL / "profiles").read_text().splitlines()}
    if DEFAULT not in loaded:
        own = Path("/proc/self/attr/current").read_text().strip("\n\0").partition(" ")[0]
        done = subprocess.run(
            [parser, "--replace", "--skip-cache"],
            input=_RULES.format(name=DEFAULT, engine=own or UNCONFINED),
            text=True,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
            env={"PATH": _PROGRAMS, "LC_ALL": "C.UTF-8"},
        )
        if done.returncode != 0:
            raise System(f"AppArmor is enabled on this machine, but the profile {DEFAULT} could not be loaded: "
                         f"{done.stderr.strip()}")  # fmt: skip
    return DEFAULT


def check(wanted: str) -> None:
    """Raises InvalidParameter for a profile on a machine that can't apply it: nothing runs less confined than asked."""
    if wanted not in ("", UNCONFINED) and not in_kernel():
        raise InvalidParameter(f"AppArmor profile {wanted!r} is asked for, but this kernel has no AppArmor")


def profile(wanted: str, *, privileged: bool) -> str:
    """What a container with `--security-opt apparmor=WANTED` ("": none given) runs under; "" without AppArmor."""
    if not in_kernel():
        return ""
    return wanted or (UNCONFINED if privileged else default_profile())
