"""Sizes, times and JSON: what a request may bring."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from fastapi import APIRouter, Body, FastAPI, Request

from tests.small_service import Answer, Header, call, http_scope, serving

MEGABYTE = 1024 * 1024
JSON = (b"content-type", b"application/json")

router = APIRouter()


@router.post("/json")
async def take_json(data: Any = Body(None)):  # type: ignore[no-untyped-def]
    return data


@router.post("/raw")
async def take_raw(request: Request) -> int:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return size


@router.get("/search")
async def search(request: Request) -> int:
    return len(request.query_params.multi_items())


async def post(app: FastAPI, path: str, chunks: Any, *headers: Header, length: int | None = None) -> Answer:
    announced = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", str(length).encode())
    return await call(app, http_scope("POST", path, headers=[announced, *headers]), chunks)


@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize("size", [1, 1000, MEGABYTE, 10 * MEGABYTE])
async def test_bodies_up_to_the_limit_are_taken(size: int) -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/raw", [b"x" * size], length=size)
        chunked = await post(client.app, "/raw", [b"x" * (size // 2), b"x" * (size - size // 2)])
    assert (answer.status, answer.json()) == (200, size)
    assert (chunked.status, chunked.json()) == (200, size)


@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize("path", ["/raw", "/json", "/healthz", "/nowhere"])
@pytest.mark.parametrize("kind", [b"application/json", b"application/octet-stream", b"multipart/form-data"])
async def test_an_announced_body_over_the_limit_is_refused_unread(path: str, kind: bytes) -> None:
    async with serving(router) as client:
        scope = http_scope("POST", path, headers=[(b"content-length", b"1073741824"), (b"content-type", kind)])
        answer = await call(client.app, scope, [])
    assert answer.status == 413
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("connection") == "close"


@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize("path", ["/raw", "/json"])
@pytest.mark.parametrize("kind", [b"application/json", b"application/octet-stream"])
async def test_a_gigabyte_in_chunks_is_refused_while_memory_stays_flat(path: str, kind: bytes) -> None:
    chunk = b"1" * (256 * 1024)
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += len(chunk)
        assert taken < 1024**3, "the whole body was read"
        return {"type": "http.request", "body": chunk, "more_body": True}

    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async with serving(router) as client:
        scope = http_scope("POST", path, headers=[(b"transfer-encoding", b"chunked"), (b"content-type", kind)])
        tracemalloc.start()
        await client.app(scope, receive, send)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert statuses == [413]
    assert taken <= 11 * MEGABYTE
    assert peak < 40 * MEGABYTE


@pytest.mark.acceptance("OP1")
async def test_a_content_length_that_lies_does_not_lift_the_limit() -> None:
    async with serving(router, max_body_bytes=100) as client:
        answer = await post(client.app, "/raw", [b"x" * 60, b"x" * 60], length=50)
        nonsense = await call(client.app, http_scope("POST", "/raw", headers=[(b"content-length", b"-5")]))
    assert (answer.status, nonsense.status) == (413, 400)


@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize("path", ["/raw", "/json"])
@pytest.mark.parametrize("kind", [b"application/json", b"text/plain"])
async def test_a_body_that_does_not_arrive_in_time_is_answered_with_408(path: str, kind: bytes) -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async with serving(router, body_timeout_seconds=0.05) as client:
        headers = [(b"content-length", b"10"), (b"content-type", kind)]
        await client.app(http_scope("POST", path, headers=headers), receive, send)
    assert statuses == [408]


@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ([(b"x-big", b"x" * 65536)], b"", 431),
        ([(b"x-%d" % number, b"x" * 60) for number in range(1000)], b"", 431),
        ([(b"x-big", b"x" * 30000)], b"", 200),
        ([], b"&".join(b"a%d=1" % number for number in range(10_000)), 414),
        ([], b"&".join(b"a%d=1" % number for number in range(1_000)), 200),
    ],
)
async def test_headers_and_query_have_a_limit(headers: list[tuple[bytes, bytes]], query: bytes, status: int) -> None:
    async with serving(router) as client:
        answer = await call(client.app, http_scope(path="/search", headers=headers, query_string=query))
    assert answer.status == status


@pytest.mark.acceptance("FZ2")
@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b'{"a": NaN}',
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"[-1e999]",
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b'"\xff\xfe"',
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 101 + b"]" * 101,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"[" * 10_000,
        b"9" * 5000,
        b"{",
        b"\x00",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1} trailing',
    ],
)
async def test_what_is_no_interoperable_json_is_refused_in_the_words_of_fastapi(body: bytes) -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/json", [body], JSON, length=len(body))
    assert answer.status == 422
    (error,) = answer.json()["detail"]
    assert error["type"] == "json_invalid"
    assert error["loc"][0] == "body"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b"[" * 100 + b"]" * 100, None),
        (b'"' + b"[" * 1000 + b'"', "[" * 1000),
        (b"[" + b"[]," * 1000 + b"{}]", [*([[]] * 1000), {}]),
        (b'\xef\xbb\xbf{"bom": 1}', {"bom": 1}),
        ('{"é": "\u2028😀"}'.encode(), {"é": "\u2028😀"}),
        (b"12345678901234567890123", 12345678901234567890123),
    ],
)
async def test_what_is_good_json_arrives_unchanged(body: bytes, value: Any) -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/json", [body[:3], body[3:]], JSON)
    assert answer.status == 200
    if value is not None:
        assert answer.json() == value


@pytest.mark.parametrize("kind", [b"application/x+json", b"APPLICATION/JSON; charset=utf-8", b" application/json "])
async def test_every_json_type_is_checked(kind: bytes) -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/json", [b"NaN"], (b"content-type", kind), length=3)
    assert answer.status == 422


async def test_a_second_content_type_does_not_hide_the_first() -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/json", [b"NaN"], JSON, (b"content-type", b"text/plain"), length=3)
    assert answer.status == 422


async def test_what_is_no_json_is_left_alone() -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/raw", [b"NaN"], (b"content-type", b"text/plain"), length=3)
        empty = await post(client.app, "/json", [b""], JSON)
    assert (answer.status, answer.json()) == (200, 3)
    assert (empty.status, empty.json()) == (200, None)


async def test_a_path_that_is_no_text_is_refused() -> None:
    async with serving(router) as client:
        answer = await call(client.app, http_scope(path="/\ud800"))
    assert (answer.status, answer.json()["title"]) == (400, "Bad Request")


async def test_a_body_of_http_2_needs_no_announcement_to_be_limited() -> None:
    async with serving(router, max_body_bytes=100) as client:
        scope = http_scope("POST", "/raw", headers=[], http_version="2")
        answer = await call(client.app, scope, [b"x" * 60, b"x" * 60])
    assert answer.status == 413


async def test_a_gzipped_body_is_counted_as_it_arrives_and_never_unpacked() -> None:
    async with serving(router) as client:
        answer = await post(client.app, "/raw", [b"\x1f\x8b" + b"x" * 98], (b"content-encoding", b"gzip"), length=100)
    assert answer.json() == 100
