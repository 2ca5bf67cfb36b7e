"""The frame of the API: versions, routes, failures, bodies; over a real unix socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from onggi.api import app as frame
from onggi.api.request import api_version, filters, flag, number, read_json
from onggi.api.response import Progress, json_response, stream_progress
from onggi.api.route import Route, Table
from onggi.api.server import ApiRunner
from onggi.api.version import negotiate
from onggi.errors import Conflict, InvalidParameter


class Asked(msgspec.Struct, rename="pascal"):
    image: str = ""
    memory: int = 0
    env: list[str] = []


async def echo(request: web.Request) -> web.Response:
    asked = await read_json(request, Asked)
    return json_response({"Image": asked.image, "Env": asked.env})


async def read_query(request: web.Request) -> web.Response:
    found = filters(request, {"label"}).values()
    return json_response(
        {
            "all": flag(request, "all"),
            "n": number(request, "n"),
            "filters": found,
            "version": api_version(request),
            "name": request.match_info["name"],
        }
    )


async def fail(request: web.Request) -> web.Response:
    kind = request.query["kind"]
    if kind == "conflict":
        raise Conflict("not now")
    if kind == "group":
        raise ExceptionGroup("several", [Conflict("inside")])
    raise KeyError("a secret")


async def progress(request: web.Request) -> web.StreamResponse:
    async def work(tell: Progress) -> None:
        if request.query["fail"] == "before":
            raise Conflict("early")
        tell({"status": "one"})
        await asyncio.sleep(0)
        tell({"status": "two"})
        if request.query["fail"] == "after":
            raise Conflict("late")

    return await stream_progress(request, work)


ROUTES = [
    Route("POST", "/echo", echo),
    Route("GET", "/query/{name*}/read", read_query),
    Route("GET", "/fail", fail),
    Route("POST", "/progress", progress),
]


@asynccontextmanager
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[aiohttp.ClientSession]:
    module = SimpleNamespace(routes=lambda engine: ROUTES)
    monkeypatch.setattr(frame, "_RESOURCES", (module,))
    engine: Any = SimpleNamespace(settings=SimpleNamespace(debug=False))
    runner = ApiRunner(frame.make_app(engine))
    await runner.setup()
    path = str(tmp_path / "s")
    await web.UnixSite(runner, path).start()
    try:
        async with aiohttp.ClientSession("http://x", connector=aiohttp.UnixConnector(path)) as client:
            yield client
    finally:
        await runner.cleanup()


async def reply(client: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with client.request(method, path, **more) as response:
        return response.status, await response.json()


def test_versions() -> None:
    assert negotiate("1.24") == (1, 24)
    assert negotiate("1.51") == (1, 51)
    with pytest.raises(InvalidParameter) as caught:
        negotiate("1.99")
    assert str(caught.value) == "client version 1.99 is too new. Maximum supported API version is 1.51"
    with pytest.raises(InvalidParameter) as caught:
        negotiate("1.23")
    assert str(caught.value) == (
        "client version 1.23 is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )
    for odd in ("2", "9" * 5000, "1.51.1"):
        with pytest.raises(InvalidParameter, match="too new"):
            negotiate(odd)
    for odd in ("1", "1.", "..", "0.9"):
        with pytest.raises(InvalidParameter, match="too old"):
            negotiate(odd)


def test_a_literal_path_wins_and_names_may_hold_slashes() -> None:
    table = Table(
        [
            Route("GET", "/images/{name*}/json", fail),
            Route("GET", "/images/json", echo),
            Route("DELETE", "/images/{name*}", progress),
            Route("GET", "/containers/{name}/json", read_query),
        ]
    )
    assert table.find("GET", "/images/json") == (echo, {})
    assert table.find("GET", "/images/a/b:c/json") == (fail, {"name": "a/b:c"})
    assert table.find("DELETE", "/images/a/json") == (progress, {"name": "a/json"})
    assert table.find("GET", "/containers/a/json") == (read_query, {"name": "a"})
    assert table.find("GET", "/containers/a/b/json") is None
    assert table.find("PATCH", "/images/json") is None
    assert table.find("GET", "") is None


async def _frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as client:
        async with client.get("/v1.44/query/a%2Fb/read?all=0&n=7&filters=%7B%22label%22:%5B%22a%22%5D%7D") as response:
            assert await response.json() == {
                "all": False, "n": 7, "filters": {"label": ["a"]}, "version": [1, 44], "name": "a/b",
            }  # fmt: skip
            assert response.headers["Api-Version"] == "1.51"
            assert response.headers["Ostype"] == "linux"
            assert response.headers["Docker-Experimental"] == "false"
            assert response.headers["Server"].startswith("Onggi/")
        assert await reply(client, "GET", "/query/x/read?n=1x") == (
            400, {"message": 'strconv.Atoi: parsing "1x": invalid syntax'},
        )  # fmt: skip
        old_form = "/query/x/read?filters=%7B%22label%22:%7B%22a%22:true,%22b%22:false%7D%7D"
        assert (await reply(client, "GET", old_form))[1]["filters"] == {"label": ["a"]}
        assert await reply(client, "GET", "/query/x/read?filters=%7B%22wrong%22:%5B%5D%7D") == (
            400, {"message": "invalid filter 'wrong'"},
        )  # fmt: skip
        assert await reply(client, "GET", "/v1.51/nope") == (404, {"message": "page not found"})
        assert await reply(client, "GET", "/v1.99/echo") == (
            400, {"message": "client version 1.99 is too new. Maximum supported API version is 1.51"},
        )  # fmt: skip
        assert await reply(client, "GET", "/v1.51//fail?kind=conflict") == (409, {"message": "not now"})
        assert await reply(client, "GET", "/fail?kind=group") == (409, {"message": "inside"})
        status, body = await reply(client, "GET", "/fail?kind=bug")
        assert status == 500
        assert "secret" not in body["message"]
        assert await reply(client, "POST", "/echo", json={"Image": "a"}, headers={"Origin": "http://evil"}) == (
            403, {"message": "requests by web pages are refused: the Origin header is not accepted"},
        )  # fmt: skip


def test_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_frame(tmp_path, monkeypatch))


async def _bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json = {"Content-Type": "application/json"}
    async with served(tmp_path, monkeypatch) as client:

        async def post(data: bytes, headers: dict[str, str] = json) -> tuple[int, Any]:
            return await reply(client, "POST", "/echo", data=data, headers=headers)

        assert await post(b'{"Image":"a","Env":null,"Memory":null,"Unknown":1}') == (200, {"Image": "a", "Env": []})
        assert await post(b'{"Image":') == (400, {"message": "invalid JSON: unexpected EOF"})
        assert await post(b'{"Image":5}') == (
            400,
            {"message": "invalid JSON: json: cannot unmarshal number into Go struct field .Image of type string"},
        )
        assert await post(b"{} {}") == (400, {"message": "unexpected content after JSON"})
        assert await post(b"") == (400, {"message": "invalid JSON: got EOF while reading request body"})
        assert await post(b" ") == (400, {"message": "invalid JSON: got EOF while reading request body"})
        assert await post(b"{}", {"Content-Type": "text/plain"}) == (
            400, {"message": "unsupported Content-Type header (text/plain): must be 'application/json'"},
        )  # fmt: skip
        assert (await post(b"[" * 100_000))[0] == 400
        assert await post(b'"' + b"x" * (9 * 1024 * 1024)) == (413, {"message": "http: request body too large"})


def test_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_bodies(tmp_path, monkeypatch))


async def _progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as client:

        async def post(fail: str) -> tuple[int, bytes]:
            async with client.post(f"/progress?fail={fail}") as response:
                return response.status, await response.read()

        assert await post("no") == (200, b'{"status":"one"}\r\n{"status":"two"}\r\n')
        assert await post("before") == (409, b'{"message":"early"}\n')
        assert await post("after") == (
            200,
            b'{"status":"one"}\r\n{"status":"two"}\r\n{"errorDetail":{"message":"late"},"error":"late"}\r\n',
        )


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_progress(tmp_path, monkeypatch))
