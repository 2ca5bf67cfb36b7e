"""Commits side by side, while images of the same content are removed."""

from concurrent.futures import ThreadPoolExecutor

from tests.engine import Engine
from tests.http import Api


def test_what_two_commits_share_is_not_removed_under_one(engine: Engine, name: str) -> None:
    """Nothing was changed in the container, so each commit makes the same layer; each image goes at once."""
    container = (
        Api(engine.socket)
        .ok("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]}, name=name)
        .json()["Id"]
    )

    def commit_and_remove(number: int) -> None:
        api = Api(engine.socket)
        image = api.ok("POST", "/commit", {}, container=container, comment=str(number)).json()["Id"]
        api.ok("DELETE", f"/images/{image}", force=1)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(commit_and_remove, range(60)))
    Api(engine.socket).ok("DELETE", f"/containers/{container}")
