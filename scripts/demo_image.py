"""Put an image made of this machine's busybox-static into our registry: `demo_image.py HOST:PORT ROOT`. For ./try."""

import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.registry import basic, push_busybox

ONGGI = str(Path(__file__).parent / "onggi")
START_S = 20
USER = "demo"


def wait_until_ready(host: str) -> None:
    """Raises URLError when it has not started within START_S."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}/readyz", timeout=2):
                return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # a program beside it has no event to wait for


def main(host: str, root: str) -> int:
    try:
        wait_until_ready(host)
    except urllib.error.URLError as error:
        print(f"the registry on {host} did not start: {error.reason}", file=sys.stderr)
        return 1
    password = secrets.token_urlsafe()
    subprocess.run(
        [ONGGI, "registry", "user", "create", USER, "--admin", "--password-stdin", "--root", root],
        input=password,
        text=True,
        check=True,
    )
    image = push_busybox(host, authorization=basic(USER, password))
    print(f"{host}/library/busybox:latest is there: {image.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
