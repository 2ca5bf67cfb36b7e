"""Advisory: what is known to be wrong with a package, and from which version on it no longer is.

Sources in three forms become the same thing: OSV (`osv`), Debian's security tracker (`debian_tracker`), Alpine's secdb
(`alpine_secdb`). An ecosystem is OSV's word: "Debian:12", "Alpine:v3.19", "PyPI".
"""

from enum import StrEnum

import msgspec

from onggi.scan.inventory import Distribution, Package, PackageKind


class Severity(StrEnum):
    """From the worst to the least; what nobody has judged is unknown."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEGLIGIBLE = "negligible"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _ORDER.index(self)


_ORDER = list(Severity)


class Range(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Affected from `introduced` on ("0": from the first), until before `fixed` or up to `last_affected`; both empty:
    no end is known."""

    introduced: str = "0"
    fixed: str = ""
    last_affected: str = ""


class Advisory(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One problem in one package of one ecosystem."""

    id: str
    """CVE-… where it has one."""
    ecosystem: str
    package: str
    aliases: list[str] = []
    ranges: list[Range] = []
    versions: list[str] = []
    """Affected ones, enumerated."""
    severity: Severity = Severity.UNKNOWN
    vectors: list[str] = []
    """CVSS."""
    summary: str = ""
    link: str = ""


class Rating(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How bad a problem is, told apart from where it is: for advisories that don't say."""

    id: str
    vectors: list[str]
    summary: str = ""


MOST_CHARACTERS = 500
_DEBIAN_CODENAMES = {"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15"}


def debian_ecosystem(codename: str) -> str:
    """`bookworm` → "Debian:12"; `sid` → "Debian:sid"."""
    return f"Debian:{_DEBIAN_CODENAMES.get(codename, codename)}"


_RPM_ECOSYSTEMS = {
    "rocky": "Rocky Linux", "almalinux": "AlmaLinux", "rhel": "Red Hat", "opensuse-leap": "openSUSE:Leap",
    "sles": "SUSE", "photon": "Photon OS", "azurelinux": "Azure Linux", "mageia": "Mageia", "openEuler": "openEuler",
}  # fmt: skip
_LANGUAGES = {PackageKind.PYPI: "PyPI", PackageKind.NPM: "npm", PackageKind.GO: "Go"}


def ecosystem_of(package: Package, distribution: Distribution) -> str:
    """Where advisories of `package` are looked for; "" where none are known for such a system."""
    if package.kind in _LANGUAGES:
        return _LANGUAGES[package.kind]
    version = distribution.version_id
    if package.kind is PackageKind.DEB:
        if distribution.id == "debian":
            return debian_ecosystem(version or distribution.codename or "sid")
        return f"Ubuntu:{version}" if distribution.id == "ubuntu" and version else ""
    if package.kind is PackageKind.APK:
        if distribution.id == "alpine" and version.count(".") >= 1:
            return "Alpine:v" + ".".join(version.split(".")[:2])
        return {"wolfi": "Wolfi", "chainguard": "Chainguard"}.get(distribution.id, "")
    name = _RPM_ECOSYSTEMS.get(distribution.id, "")
    return f"{name}:{version.partition('.')[0]}" if name and version else name


def advised_name(package: Package) -> tuple[str, str]:
    """Name and version that advisories of its ecosystem speak of: those of the source package, on Debian and Alpine."""
    if package.kind in (PackageKind.DEB, PackageKind.APK):
        return package.source or package.name, package.source_version or package.version
    return package.name, package.version
