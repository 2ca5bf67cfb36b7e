"""The rows of `manifest`."""

from onggi.cli.command import Command

_EXPERIMENTAL = """

EXPERIMENTAL:
  onggi {} is an experimental feature.
  Experimental features provide early access to product functionality. These
  features may change between releases without warning, or can be removed from a
  future release. Learn more about experimental features in our documentation:
  https://docs.docker.com/go/experimental/"""
_INSECURE = ("insecure", "", "bool", "Allow communication with an insecure registry")


def _described(path: str, summary: str) -> str:
    return summary + _EXPERIMENTAL.format(path)


COMMANDS = {
    "manifest annotate": Command(
        "manifest annotate",
        "[OPTIONS] MANIFEST_LIST MANIFEST",
        "Add additional information to a local image manifest",
        run="onggi.cli.commands.manifest:annotate",
        arguments=(2, 2),
        description=_described("manifest annotate", "Add additional information to a local image manifest"),
        options=(
            ("arch", "", "string", "Set architecture"),
            ("os", "", "string", "Set operating system"),
            ("os-features", "", "strings", "Set operating system feature"),
            ("os-version", "", "string", "Set operating system version"),
            ("variant", "", "string", "Set architecture variant"),
        ),
    ),
    "manifest create": Command(
        "manifest create",
        "MANIFEST_LIST MANIFEST [MANIFEST...]",
        "Create a local manifest list for annotating and pushing to a registry",
        run="onggi.cli.commands.manifest:create",
        arguments=(2, None),
        description=_described(
            "manifest create", "Create a local manifest list for annotating and pushing to a registry"
        ),
        options=(("amend", "a", "bool", "Amend an existing manifest list"), _INSECURE),
    ),
    "manifest inspect": Command(
        "manifest inspect",
        "[OPTIONS] [MANIFEST_LIST] MANIFEST",
        "Display an image manifest, or manifest list",
        run="onggi.cli.commands.manifest:inspect",
        arguments=(1, 2),
        description=_described("manifest inspect", "Display an image manifest, or manifest list"),
        options=(_INSECURE, ("verbose", "v", "bool", "Output additional info including layers and platform")),
    ),
    "manifest push": Command(
        "manifest push",
        "[OPTIONS] MANIFEST_LIST",
        "Push a manifest list to a repository",
        run="onggi.cli.commands.manifest:push",
        arguments=(1, 1),
        description=_described("manifest push", "Push a manifest list to a repository"),
        options=(
            ("insecure", "", "bool", "Allow push to an insecure registry"),
            ("purge", "p", "bool", "Remove the local manifest list after push"),
        ),
    ),
    "manifest rm": Command(
        "manifest rm",
        "MANIFEST_LIST [MANIFEST_LIST...]",
        "Delete one or more manifest lists from local storage",
        run="onggi.cli.commands.manifest:rm",
        arguments=(1, None),
        description=_described("manifest rm", "Delete one or more manifest lists from local storage"),
    ),
}
