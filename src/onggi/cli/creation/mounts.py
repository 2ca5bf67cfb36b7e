"""--mount, -v and --tmpfs. After docker/cli: opts/mount.go and internal/volumespec."""

import os

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_RECURSIVE = {"enabled": "", "disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive",
              "readonly": "ReadOnlyForceRecursive"}  # fmt: skip
_KINDS = (("VolumeOptions", "volume"), ("ImageOptions", "image"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs"))


def _truth(name: str, text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"invalid value for {name}: {text}")


def _pair(into: "dict[str, str]", text: str) -> None:
    name, _, value = text.partition("=")
    if name:
        into[name] = value


class _Mount:
    """One --mount while it is read."""

    def __init__(self) -> None:
        self.kind = "volume"
        self.source = self.target = self.consistency = ""
        self.read_only = False
        self.options: dict[str, dict[str, Any]] = {}

    def part(self, name: str) -> "dict[str, Any]":
        return self.options.setdefault(name, {})

    def volume(self) -> "dict[str, Any]":
        options = self.part("VolumeOptions")
        options.setdefault("DriverConfig", {})
        return options

    def word(self, name: str, field: str) -> None:
        """A field without a value."""
        if name in ("readonly", "ro"):
            self.read_only = True
        elif name == "volume-nocopy":
            self.volume()["NoCopy"] = True
        elif name == "bind-nonrecursive":
            self.part("BindOptions")["NonRecursive"] = True
        else:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")

    def pair(self, name: str, value: str, field: str) -> None:
        if name == "type":
            self.kind = value.lower()
        elif name in ("source", "src"):
            self.source = os.path.abspath(value) if value == "." or value.startswith("./") else value
        elif name in ("target", "dst", "destination"):
            self.target = value
        elif name in ("readonly", "ro"):
            self.read_only = _truth(name, value)
        elif name == "consistency":
            self.consistency = value.lower()
        elif name.startswith("bind-"):
            self._bind(name, value, field)
        elif name.startswith("volume-"):
            self._volume(name, value, field)
        elif name.startswith("tmpfs-"):
            self._tmpfs(name, value, field)
        elif name == "image-subpath":
            self.part("ImageOptions")["Subpath"] = value
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")

    def _bind(self, name: str, value: str, field: str) -> None:
        if name == "bind-propagation":
            self.part("BindOptions")["Propagation"] = value.lower()
        elif name == "bind-nonrecursive":
            self.part("BindOptions")["NonRecursive"] = _truth(name, value)
        elif name == "bind-recursive":
            if value not in _RECURSIVE:
                raise ValueError(
                    f'invalid value for {name}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
                )
            if value != "enabled":
                self.part("BindOptions")[_RECURSIVE[value]] = True
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")

    def _volume(self, name: str, value: str, field: str) -> None:
        if name == "volume-subpath":
            self.volume()["Subpath"] = value
        elif name == "volume-nocopy":
            self.volume()["NoCopy"] = _truth(name, value)
        elif name == "volume-label":
            _pair(self.volume().setdefault("Labels", {}), value)
        elif name == "volume-driver":
            self.volume()["DriverConfig"]["Name"] = value
        elif name == "volume-opt":
            _pair(self.volume()["DriverConfig"].setdefault("Options", {}), value)
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")

    def _tmpfs(self, name: str, value: str, field: str) -> None:
        from onggi.cli.values import size

        if name == "tmpfs-size":
            try:
                self.part("TmpfsOptions")["SizeBytes"] = size(value)
            except ValueError:
                raise ValueError(f"invalid value for {name}: {value}") from None
        elif name == "tmpfs-mode":
            if not value or not set(value) <= set("01234567") or int(value, 8) >= 1 << 32:
                raise ValueError(f"invalid value for {name}: {value}")
            self.part("TmpfsOptions")["Mode"] = int(value, 8)
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")

    def check(self) -> None:
        if not self.target:
            raise ValueError("target is required")
        if not self.kind:
            raise ValueError("type is required")
        for part, kind in _KINDS:
            if part in self.options and self.kind != kind:
                raise ValueError(f"cannot mix '{kind}-*' options with mount type '{self.kind}'")
        bind = self.options.get("BindOptions", {})
        need = "requires '{}' to be specified in conjunction"
        if bind.get("ReadOnlyNonRecursive") and not self.read_only:
            raise ValueError("option 'bind-recursive=writable' " + need.format("readonly"))
        if bind.get("ReadOnlyForceRecursive"):
            if not self.read_only:
                raise ValueError("option 'bind-recursive=readonly' " + need.format("readonly"))
            if bind.get("Propagation") != "rprivate":
                raise ValueError("option 'bind-recursive=readonly' " + need.format("bind-propagation=rprivate"))

    def data(self) -> "dict[str, Any]":
        found: dict[str, Any] = {"Type": self.kind}
        if self.source:
            found["Source"] = self.source
        found["Target"] = self.target
        if self.read_only:
            found["ReadOnly"] = True
        if self.consistency:
            found["Consistency"] = self.consistency
        return found | {
            part: {name: value for name, value in options.items() if value or name == "DriverConfig"}
            for part, options in self.options.items()
        }


def parse(text: str) -> "dict[str, Any]":
    """One --mount. Raises ValueError with Docker's sentence."""
    from onggi.cli.values import comma_separated

    fields = comma_separated(text.strip())
    if not fields:
        raise ValueError("EOF")
    mount = _Mount()
    for field in fields:
        name, equals, value = field.partition("=")
        if equals:
            mount.pair(name.lower(), value, field)
        else:
            mount.word(name.lower(), field)
    mount.check()
    return mount.data()


def _source(spec: str) -> str:
    """What stands before the target in a -v; "" for an anonymous volume. Raises Failure."""
    if not spec:
        raise Failure("invalid empty volume spec")
    if len(spec) <= 2:
        return ""
    parts = spec.split(":")
    if len(parts[0]) == 1 and parts[0].isalpha() and len(parts) > 1:  # a drive of Windows is no source
        parts[:2] = [":".join(parts[:2])]
    if len(parts) == 1:
        return ""
    if not parts[0]:
        raise Failure(f"invalid spec: {spec}: empty section between colons")
    return "" if len(parts) == 2 and not parts[1] else parts[0]


def apply(found: "Arguments", config: "dict[str, Any]", host: "dict[str, Any]") -> None:
    """Fill in Volumes, Binds and Tmpfs."""
    binds: list[str] = []
    for spec in dict.fromkeys(found.texts("volume")):
        source = _source(spec)
        if not source:
            config["Volumes"][spec] = {}
        elif source.startswith("."):
            binds.append(os.path.abspath(source) + spec[len(source) :])
        else:
            binds.append(spec)
    if binds:
        host["Binds"] = binds
    tmpfs = {text.partition(":")[0]: text.partition(":")[2] for text in found.texts("tmpfs")}
    if tmpfs:
        host["Tmpfs"] = tmpfs
