"""The frame of the API: versions, routes, failures, bodies; over a real unix socket."""

import asyncio
import gzip
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
from onggi.api import server
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
    engine: Any = SimpleNamespace(settings=SimpleNamespace(debug=False, api_names=("docker",)))
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


async def _over_tcp(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    module = SimpleNamespace(routes=lambda engine: ROUTES)
    monkeypatch.setattr(frame, "_RESOURCES", (module,))
    engine: Any = SimpleNamespace(settings=SimpleNamespace(debug=False, api_names=("docker",)))
    runner = ApiRunner(frame.make_app(engine))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            statuses = []
            for host in ("localhost", "127.0.0.1:2375", "[::1]:2375", "docker:2375", "evil.example", "localhost.evil"):
                async with client.get("/query/x/read", headers={"Host": host}) as response:
                    statuses.append(response.status)
            return statuses
    finally:
        await runner.cleanup()


def test_a_name_that_is_not_ours_is_refused_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web page whose name was made to point to this machine."""
    assert asyncio.run(_over_tcp(monkeypatch)) == [200, 200, 200, 200, 403, 403]


async def _slow_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_DEADLINE_S", 0.2)
    async with served(tmp_path, monkeypatch) as client, asyncio.timeout(60):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"GET /query/x/read HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert await reader.read() == b""  # closed on us
        writer.close()
        # One that sends whole requests, with pauses between them, is not.
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        for _ in range(2):
            writer.write(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readuntil(b'page not found"}\n')
            await asyncio.sleep(0.5)
        writer.close()
        assert (await reply(client, "GET", "/nope"))[0] == 404


def test_a_head_that_does_not_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_slow_head(tmp_path, monkeypatch))


async def _compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as client:
        bomb = gzip.compress(b" " * 10_000_000)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        status, body = await reply(client, "POST", "/echo", data=bomb, headers=headers)
        assert status == 400
        assert "invalid JSON" in body["message"]


def test_compressed_bodies_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_compressed(tmp_path, monkeypatch))


SMUGGLED = (
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n{}",
    b"POST /echo HTTP/1.1\r\nHost : x\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
    b"GET /x HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
)


async def _smuggled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: bytes) -> bytes:
    async with served(tmp_path, monkeypatch), asyncio.timeout(60):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(request + b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize("request_text", SMUGGLED)
def test_ambiguous_requests_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_text: bytes
) -> None:
    answer = asyncio.run(_smuggled(tmp_path, monkeypatch, request_text))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"page not found" not in answer
    assert b"Image" not in answer
