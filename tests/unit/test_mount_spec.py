"""volumes.mount_spec: Docker's grammar of mounts, and its refusals to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidParameter, OnggiError
from onggi.volumes.mount_point import BindOptions, MountPoint, MountRequest, TmpfsOptions, VolumeOptions
from onggi.volumes.mount_spec import parse_bind, parse_request, parse_tmpfs, refuse_duplicates, tmpfs_options


def test_a_path_is_bound_and_a_name_is_a_volume() -> None:
    bind = parse_bind("/srv//web/:/www/:ro,rslave")
    assert (bind.type, bind.source, bind.destination) == ("bind", "/srv/web", "/www")
    assert (bind.rw, bind.mode, bind.propagation, bind.create_source) == (False, "ro,rslave", "rslave", True)
    volume = parse_bind("data:/var/lib")
    assert volume.summary() == {
        "Type": "volume",
        "Name": "data",
        "Source": "",
        "Destination": "/var/lib",
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }
    assert volume.copy_up
    assert not parse_bind("data:/var/lib:nocopy").copy_up


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        ("/x", "invalid volume specification: '/x'"),
        (":/x", "invalid volume specification: ':/x'"),
        (
            "/tmp:rel",
            "invalid volume specification: '/tmp:rel': invalid mount config for type \"bind\": invalid mount path: "
            "'rel' mount path must be absolute",
        ),
        ("/tmp:/x:foo", "invalid mode: foo"),
        ("/tmp:/x:ro,rw", "invalid mode: ro,rw"),
        (
            "/tmp:/x:nocopy",
            "invalid volume specification: '/tmp:/x:nocopy': invalid mount config for type \"bind\": field "
            "VolumeOptions must not be specified",
        ),
        (
            "x:/y",
            "create x: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            "a/b:/y",
            'create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
            "are allowed. If you intended to pass a host directory, use absolute path",
        ),
    ],
)
def test_refusals_of_binds(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_bind(text)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (MountRequest("foo", "", "/x"), 'invalid mount config for type "foo": mount type unknown'),
        (
            MountRequest("volume", "data", "/"),
            "invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        ),
        (MountRequest("bind", "", "/x"), 'invalid mount config for type "bind": field Source must not be empty'),
        (
            MountRequest("bind", "rel", "/x"),
            "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
        ),
        (
            MountRequest("bind", "/a", "/x", bind_options=BindOptions(propagation="foo")),
            'invalid mount config for type "bind": invalid propagation mode: foo',
        ),
        (
            MountRequest("tmpfs", "/a", "/x"),
            'invalid mount config for type "tmpfs": field Source must not be specified',
        ),
        (
            MountRequest("volume", "", "/x", volume_options=VolumeOptions(subpath="a")),
            'invalid mount config for type "volume": must not set Subpath when using anonymous volumes',
        ),
        (
            MountRequest("bind", "/a", "/x", volume_options=VolumeOptions()),
            'invalid mount config for type "bind": field VolumeOptions must not be specified',
        ),
        (
            MountRequest("volume", "data", "/x", volume_options=VolumeOptions(subpath="a/../../b")),
            'invalid mount config for type "volume": subpath must be a relative path within the volume',
        ),
    ],
)
def test_refusals_of_mounts(request_: MountRequest, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_request(request_)
    assert str(refused.value) == sentence


def test_tmpfs_options_come_from_a_list() -> None:
    point = parse_request(MountRequest("tmpfs", "", "/t", tmpfs_options=TmpfsOptions(1 << 20, 0o1777, [["noexec"]])))
    assert point.tmpfs_options == ("size=1048576", "mode=1777", "noexec")
    assert tmpfs_options("size=64m,uid=1000,ro") == ("size=64m", "uid=1000", "ro")
    for bad in ("size=1;x", "context=foo", "bind", "remount", "mode=9", "shared"):
        with pytest.raises(InvalidParameter, match=r"invalid tmpfs option"):
            tmpfs_options(bad)
    assert not parse_tmpfs({"/t": ""})[0].shown


def test_one_place_holds_one_mount() -> None:
    points = [parse_bind("/a:/x"), parse_bind("data:/x/")]
    with pytest.raises(InvalidParameter, match=r"^Duplicate mount point: /x$"):
        refuse_duplicates(points)


@given(st.text(alphabet="/ab.:,~ro\0", max_size=24))
def test_whatever_is_written_ends_at_an_absolute_clean_place(text: str) -> None:
    try:
        point: MountPoint = parse_bind(text)
    except OnggiError:
        return
    assert point.destination.startswith("/")
    assert ".." not in point.destination.split("/")
    assert point.destination != "/"
    assert "\0" not in point.source + point.destination
