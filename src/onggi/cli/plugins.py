"""Programs named docker-NAME that the docker CLI runs as `docker NAME`: Compose, Buildx and the like.

They bring their own client; we only tell them where the engine is.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from onggi.cli.main import Invocation

FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def find(name: str, invocation: "Invocation") -> str:
    """The path of a plugin; "" where there is none."""
    if not (name.isascii() and name.isalnum()):
        return ""
    extra = invocation.config.values.get("cliPluginsExtraDirs")
    folders = [str(folder) for folder in extra] if isinstance(extra, list) else []
    for folder in (*folders, os.path.join(invocation.config.folder, "cli-plugins"), *FOLDERS):
        path = os.path.join(folder, f"docker-{name}")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def run(name: str, words: "Sequence[str]", invocation: "Invocation") -> "int | None":
    """Become the plugin; None where there is none."""
    path = find(name, invocation)
    if not path:
        return None
    address = invocation.client.address
    environment = {**os.environ, "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": sys.argv[0]}
    environment.pop("DOCKER_CONTEXT", None)
    environment["DOCKER_HOST"] = address.text
    if address.tls is not None:
        environment["DOCKER_CERT_PATH"] = os.path.dirname(address.tls.certificate)
        environment["DOCKER_TLS_VERIFY"] = "1" if address.tls.verify else ""
    sys.stdout.flush()
    os.execve(path, [path, name, *words], environment)
