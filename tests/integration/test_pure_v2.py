"""cgroup v2 alone and AppArmor, on a kernel of its own: parts of this suite once more, in a machine under QEMU (scripts/vm.sh).

Emulation is slow: a sample by default (a minute), whole files with ONGGI_TESTS_WHOLE=1 (an hour).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import docker_command

ROOT = Path(__file__).parent.parent.parent
KERNEL = Path(os.environ.get("ONGGI_VM", "/var/cache/onggi-vm"))
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
HERE = "tests/integration"
SAMPLE = {
    "sample": [
        f"{HERE}/test_isolation.py::test_memory_has_a_limit", f"{HERE}/test_isolation.py::test_other_devices_do_not_open",
        f"{HERE}/test_apparmor.py::test_the_default_profile",
    ],
}  # fmt: skip
ALL = {
    "isolation": [
        f"{HERE}/test_isolation.py",
        f"{HERE}/test_apparmor.py",
        f"{HERE}/test_traced_exec.py",
        f"{HERE}/test_races.py",
    ],
    "life": [f"{HERE}/test_containers_life.py", f"{HERE}/test_control_groups.py"],
    "death": [
        f"{HERE}/test_containers_crash.py",
        f"{HERE}/test_containers_restart.py",
        f"{HERE}/test_survival_runtime.py",
    ],
    "network": [f"{HERE}/test_bridge_networks.py"],
}
PATIENCE_S = 3600 if WHOLE else 500


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("part", ALL if WHOLE else SAMPLE)
def test_on_a_machine_with_v2_alone(part: str) -> None:
    if not WHOLE:
        print("a sample: ONGGI_TESTS_WHOLE=1 runs", *(file for files in ALL.values() for file in files))
    if os.environ.get("ONGGI_VM_GUEST"):
        pytest.skip("this is that machine")
    if not (KERNEL / ".complete").exists() or shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no machine to boot: run scripts/vm.sh build")
    docker_command()
    tests = (ALL if WHOLE else SAMPLE)[part]
    done = subprocess.run(
        [ROOT / "scripts/vm.sh", "run", sys.executable, "-m", "pytest", "-q", "-rfE", "--basetemp=/tmp/pytest",
         "-p", "no:cacheprovider", *tests],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
    )  # fmt: skip
    print(done.stdout[-20000:])
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-3000:]}"
