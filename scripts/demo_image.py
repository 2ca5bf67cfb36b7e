"""Put an image made of this machine's busybox-static into a registry: `demo_image.py HOST:PORT`. For ./try."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.registry import push_busybox

START_S = 20


def main(host: str) -> int:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}/v2/", timeout=2):
                break
        except urllib.error.URLError as error:
            if time.monotonic() > deadline:
                print(f"the registry on {host} did not start: {error.reason}", file=sys.stderr)
                return 1
            time.sleep(0.05)  # the registry offers no event to wait for
    image = push_busybox(host)
    print(f"{host}/library/busybox:latest is there: {image.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
