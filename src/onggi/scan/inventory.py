"""Inventory: the packages of one image, as its own package databases tell them."""

from enum import StrEnum

import msgspec
from packageurl import PackageURL


class PackageKind(StrEnum):
    """Which database a package stands in; the value is its type in a package URL."""

    DEB = "deb"
    APK = "apk"
    RPM = "rpm"
    PYPI = "pypi"
    NPM = "npm"
    GO = "golang"


class Distribution(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What /etc/os-release says. (os-release(5))"""

    id: str = ""
    version_id: str = ""
    codename: str = ""
    name: str = ""


class Package(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    kind: PackageKind
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    """Name of the source package, which advisories of Debian and Alpine speak of; "" where it has the same name."""
    source_version: str = ""
    licence: str = ""
    """As written there: free text, not always an SPDX expression."""
    location: str = ""
    """Path in the image of the database, or of the file that the package was found by."""


class Inventory(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    distribution: Distribution = Distribution()
    packages: list[Package] = []
    remarks: list[str] = []
    """What could not be read, in sentences for the report."""


decode = msgspec.json.Decoder(Inventory).decode
encode = msgspec.json.Encoder().encode


def package_url(package: Package, distribution: Distribution) -> str:
    """`pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12`. (purl-spec, PURL-TYPES)"""
    qualifiers: dict[str, str] = {}
    namespace: str | None = None
    name = package.name
    if package.kind in (PackageKind.DEB, PackageKind.APK, PackageKind.RPM):
        namespace = distribution.id or None
        if package.architecture:
            qualifiers["arch"] = package.architecture
        if distribution.id and distribution.version_id:
            qualifiers["distro"] = f"{distribution.id}-{distribution.version_id}"
        if package.source and package.source != package.name:
            qualifiers["upstream"] = package.source
    elif package.kind in (PackageKind.NPM, PackageKind.GO) and "/" in name:
        namespace, _, name = name.rpartition("/")
    return PackageURL(package.kind.value, namespace, name, package.version, qualifiers or None).to_string()
