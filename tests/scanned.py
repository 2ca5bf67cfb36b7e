"""Images with packages of Debian, and advisories about them."""

import io
import json
import tarfile
from typing import Any

from tests.onggi_registry import OnggiRegistry

STATUS = b"""Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.11-1~deb12u1

Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib
Version: 1:1.2.13.dfsg-1
"""


def debian_layer(status: bytes = STATUS, **more: bytes) -> bytes:
    out = io.BytesIO()
    files = {"var/lib/dpkg/status": status, "etc/os-release": b'ID=debian\nVERSION_ID="12"\n', **more}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def tracker(**problems: str) -> dict[str, Any]:
    return {"openssl": {name.replace("_", "-"): {"description": f"about {name}", "releases": {"bookworm": {
        "status": "resolved" if fixed else "open", "fixed_version": fixed, "urgency": "high"}}}
        for name, fixed in problems.items()}}  # fmt: skip


def import_advisories(registry: OnggiRegistry, document: Any, name: str = "tracker") -> None:
    path = registry.root.parent / f"{name}.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    done = registry.command("advisories", "import", "--name", name, str(path))
    assert done.returncode == 0, done.stderr
