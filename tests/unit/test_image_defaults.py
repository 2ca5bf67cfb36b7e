"""Config of the image under the user's: every case was compared with Docker 28.5.2."""

import pytest

from onggi.engine.container_config import ContainerConfig, HealthConfig
from onggi.engine.image_defaults import merge
from onggi.errors import InvalidParameter
from onggi.oci.image import Healthcheck, ImageContainerConfig

IMAGE = ImageContainerConfig(
    user="app", env=["PATH=/bin", "A=1"], cmd=["serve"], entrypoint=["/entry"], working_dir="/srv",
    labels={"x": "image", "y": "image"}, stop_signal="SIGQUIT", exposed_ports={"80/tcp": {}}, volumes={"/data": {}},
    healthcheck=Healthcheck(test=["CMD", "probe"], interval=5_000_000_000, retries=7),
)  # fmt: skip


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "argv"),
    [
        (None, None, ["/entry", "serve"]),
        (None, ["x"], ["/entry", "x"]),
        (["/own"], None, ["/own"]),
        (["/own"], ["x"], ["/own", "x"]),
        ([], None, ["serve"]),
        ([""], ["x"], ["x"]),
        ("/own", "x", ["/own", "x"]),
    ],
)
def test_command(entrypoint: list[str] | None, cmd: list[str] | None, argv: list[str]) -> None:
    assert merge(ContainerConfig(entrypoint=entrypoint, cmd=cmd), IMAGE).argv() == argv


@pytest.mark.parametrize("entrypoint", [None, [""], []])
def test_nothing_to_run(entrypoint: list[str] | None) -> None:
    with pytest.raises(InvalidParameter, match=r"^no command specified$"):
        merge(ContainerConfig(entrypoint=entrypoint), ImageContainerConfig())


def test_an_emptied_entrypoint_takes_the_images_command_away() -> None:
    with pytest.raises(InvalidParameter, match=r"^no command specified$"):
        merge(ContainerConfig(entrypoint=[""]), IMAGE)


def test_environment_of_the_user_comes_first_and_wins() -> None:
    assert merge(ContainerConfig(env=["B=2", "A=9"]), IMAGE).env == ["B=2", "A=9", "PATH=/bin"]
    assert merge(ContainerConfig(), IMAGE).env == ["PATH=/bin", "A=1"]


def test_the_rest() -> None:
    merged = merge(
        ContainerConfig(labels={"x": "user"}, exposed_ports={"81/tcp": {}}, healthcheck=HealthConfig(retries=2)), IMAGE
    )
    assert merged.labels == {"x": "user", "y": "image"}
    assert merged.exposed_ports == {"80/tcp": {}, "81/tcp": {}}
    assert merged.volumes == {"/data": {}}
    assert merged.user == "app"
    assert merged.working_dir == "/srv"
    assert merged.stop_signal == "SIGQUIT"
    assert merged.healthcheck == HealthConfig(test=["CMD", "probe"], interval=5_000_000_000, retries=2)
