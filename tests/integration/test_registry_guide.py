"""The guide, block for block, as somebody would paste it: on a machine with nothing on its ports and in Onggi's directories."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guides" / "registry.md"
PLACES = ("/var/lib/onggi", "/var/lib/onggi-registry", "/run/onggi")


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(240)
def test_the_guide_does_what_it_says(tmp_path: Path) -> None:
    for program in ("curl", "busybox"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    home, programs, work = (tmp_path / name for name in ("home", "bin", "work"))
    for directory in (home, programs, work):
        directory.mkdir()
    (programs / "onggi").symlink_to(ROOT / "scripts" / "onggi")
    hidden = "".join(
        f"mkdir -p {place} {tmp_path}{place} && mount --bind {tmp_path}{place} {place}\n" for place in PLACES
    )
    # Processes end with the namespace's first one, whatever comes of the guide.
    script = f"set -eu\nip link set lo up\n{hidden}cd {work}\nset -x\n" + "\n".join(blocks())
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
        env=environment, capture_output=True, text=True, check=False, timeout=220, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    told = done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, told
    assert len(blocks()) > 12
    for text in ("is signed by release.pub (cosign)", "CVE-2026-99999 (high)", "DENIED", "team+ci"):
        assert text in done.stdout, f"{text} is not in {told}"
