"""--platform in its normal form. After containerd/platforms."""

from onggi.cli.arguments import quoted
from onggi.cli.failure import Failure

_SYSTEMS = frozenset(("linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "aix", "wasip1", "js"))
_MACHINES = {
    **{name: name for name in ("386", "amd64", "arm", "arm64", "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
                               "mips", "mipsle", "mips64", "mips64le", "loong64")},
    "x86_64": "amd64", "x86-64": "amd64", "i386": "386", "aarch64": "arm64", "armhf": "arm", "armel": "arm/v6",
}  # fmt: skip


def normal(text: str) -> str:
    """`linux/amd64`, `linux/arm/v7` from what people write. Raises Failure in Docker's words."""
    parts = text.lower().split("/")
    sentence = f"error parsing specified platform: {quoted(text)}: "
    if len(parts) > 3 or not all(parts):
        raise Failure(sentence + "cannot parse platform specifier: invalid argument")
    if len(parts) == 1:
        if parts[0] in _MACHINES:
            return f"linux/{_MACHINES[parts[0]]}"
        if parts[0] in _SYSTEMS:
            from onggi.cli.commands.version import machine

            return f"{parts[0]}/{machine()}"
        raise Failure(sentence + "unknown operating system or architecture: invalid argument")
    system = "darwin" if parts[0] == "macos" else parts[0]
    machine_name = _MACHINES.get(parts[1], parts[1])
    if len(parts) == 3 and (machine_name, parts[2]) != ("amd64", "v1"):
        return f"{system}/{machine_name.partition('/')[0]}/{parts[2]}"
    return f"{system}/{machine_name}"
