"""cgroup v2 alone and AppArmor, on a kernel of its own: parts of this suite once more, in a machine under QEMU (scripts/vm.sh).

Emulation is slow, and slower on a busy machine: with ONGGI_TESTS_WHOLE=1 only.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import docker_command

ROOT = Path(__file__).parent.parent.parent
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
HERE = "tests/integration"
PARTS = {
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
    "network": [f"{HERE}/test_bridge_{subject}.py" for subject in ("networks", "ports", "names")],
}
PATIENCE_S = 3600


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("part", PARTS)
def test_on_a_machine_with_v2_alone(part: str) -> None:
    if os.environ.get("ONGGI_VM_GUEST"):
        pytest.skip("this is that machine")
    if not WHOLE:
        pytest.skip("cgroup v2 alone, AppArmor: an hour of emulation, with ONGGI_TESTS_WHOLE=1")
    docker_command()
    subprocess.run([ROOT / "scripts/vm.sh", "build"], check=True, timeout=PATIENCE_S)
    done = subprocess.run(
        [ROOT / "scripts/vm.sh", "run", sys.executable, "-m", "pytest", "-q", "-rfE", "--basetemp=/tmp/pytest",
         "-p", "no:cacheprovider", "-o", "timeout=900", *PARTS[part]],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
    )  # fmt: skip
    print(done.stdout[-20000:])
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-3000:]}"
