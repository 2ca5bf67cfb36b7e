"""Digests, references and platforms: grammar, familiar and full form, Docker's sentences."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidParameter
from onggi.oci.digest import Digest, InvalidDigest
from onggi.oci.platform import InvalidPlatform, Platform, parse_platform, suitability
from onggi.oci.reference import InvalidReference, Reference

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("team/app", "docker.io/team/app", "team/app"),
        ("docker.io/library/team/app", "docker.io/library/team/app", "library/team/app"),
        ("quay.io/team/app:v1", "quay.io/team/app:v1", "quay.io/team/app:v1"),
        ("quay.io/app", "quay.io/app", "quay.io/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app", "localhost:5000/app", "localhost:5000/app"),
        ("127.0.0.1:5000/a/b/c:d", "127.0.0.1:5000/a/b/c:d", "127.0.0.1:5000/a/b/c:d"),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("Team/app", "Team/app", "Team/app"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
        (f"a/b:1@{SHA}", f"docker.io/a/b:1@{SHA}", f"a/b:1@{SHA}"),
        ("a__b--c/d.e", "docker.io/a__b--c/d.e", "a__b--c/d.e"),
        ("x:_", "docker.io/library/x:_", "x:_"),
    ],
)
def test_references(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (reference.canonical, reference.familiar) == (canonical, familiar)
    assert Reference.parse(familiar) == reference or familiar == "library/team/app"
    assert Reference.parse(canonical) == reference


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("quay.io/Team/app", "invalid reference format: repository name (Team/app) must be lowercase"),
        ("", "invalid reference format"),
        (" ", "invalid reference format"),
        ("-x", "invalid reference format"),
        ("x:", "invalid reference format"),
        ("x:-", "invalid reference format"),
        ("x:" + "t" * 129, "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a/../b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("busyböx", "invalid reference format"),
        ("busybox:１", "invalid reference format"),
        ("https://quay.io/a", "invalid reference format"),
        ("x@sha256:abc", "invalid reference format"),
        ("x@md5:" + "a" * 32, "unsupported digest algorithm: md5"),
        ("x@sha256:" + "A" * 64, f"invalid checksum digest format: {'sha256:' + 'A' * 64!r}"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("a/" * 5000 + "a", "invalid reference format"),
    ],
)
def test_refused_references(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Reference.parse(text)
    assert str(caught.value) == words


def test_default_tag_and_parts() -> None:
    reference = Reference.parse("team/app")
    assert str(reference.with_default_tag()) == "team/app:latest"
    assert reference.with_tag("1").with_default_tag().tag == "1"
    assert str(reference.with_tag("1").with_digest(Digest(SHA))) == f"team/app@{SHA}"
    assert str(reference.with_tag("1").without_tag()) == "team/app"
    with pytest.raises(InvalidReference, match=r"^invalid tag format$"):
        reference.with_tag("a/b")


@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidParameter:
        return
    assert Reference.parse(reference.canonical) == reference
    allowed = set(string.ascii_letters + string.digits + "._-/:@[]")
    assert set(reference.canonical) <= allowed
    assert ".." not in reference.canonical.split("/")


@given(st.text(max_size=200) | st.from_regex(r"[a-z0-9+]{1,9}:[0-9a-fA-F=_-]{1,130}", fullmatch=True))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest(text)
    except InvalidDigest:
        return
    assert digest == text
    assert digest.algorithm in {"sha256", "sha384", "sha512"}
    assert not digest.hex.strip("0123456789abcdef")


def test_digest_of_bytes() -> None:
    assert Digest.of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Digest.of(b"x", "sha512").verifies(b"x")
    assert not Digest.of(b"x").verifies(b"y")
    assert Digest.of(b"").short == "e3b0c44298fc"


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foo", '"foo": unknown operating system or architecture: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ("linux/", '"" is an invalid component of "linux/": platform specifier component must match '
         '"^[A-Za-z0-9_.-]+$": invalid argument'),
    ],
)  # fmt: skip
def test_refused_platforms(text: str, words: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        parse_platform(text)
    assert str(caught.value) == words


def test_suitability() -> None:
    def fit(candidate: str, wanted: str) -> int | None:
        return suitability(parse_platform(candidate), parse_platform(wanted))

    assert fit("linux/amd64", "linux/amd64") is not None
    assert fit("linux/amd64/v3", "linux/amd64") is None
    assert fit("linux/arm64", "linux/amd64") is None
    assert fit("windows/amd64", "linux/amd64") is None
    best, other = fit("linux/amd64/v3", "linux/amd64/v3"), fit("linux/amd64", "linux/amd64/v3")
    assert best is not None
    assert other is not None
    assert best > other
    v7, v6 = fit("linux/arm/v7", "linux/arm/v7"), fit("linux/arm/v6", "linux/arm/v7")
    assert v7 is not None
    assert v6 is not None
    assert v7 > v6
    assert fit("linux/arm/v7", "linux/arm/v6") is None
    assert suitability(Platform("unknown", "unknown"), parse_platform("linux/amd64")) is None
