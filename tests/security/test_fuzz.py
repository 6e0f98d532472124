"""Thousands of malformed requests, straight into the ASGI app: no 5xx, and memory stays where it is."""

import gc
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import APIRouter, Body, Depends, Form, Header, Query, Request
from pydantic import BaseModel

from app_kernel.db import db_connection
from tests.small_service import Answer, call, http_scope, serving

SOAK = os.environ.get("APP_KERNEL_SOAK") == "1"
REQUESTS = 20_000 if SOAK else 2_500
MEGABYTE = 1 << 20

router = APIRouter(prefix="/fuzz")


class Item(BaseModel):
    name: str
    count: int = 0
    ratio: float = 0
    tags: list[str] = []
    more: dict[str, Any] = {}


@router.post("/echo")
async def echo(data: dict[str, Any] | list[Any] | str | float | None = Body(None)):  # type: ignore[no-untyped-def]
    return data


@router.post("/item")
async def item(item: Item, page: int = Query(1), x_number: int = Header(1)) -> Item:
    return item


@router.put("/save/{name}")
async def save(name: str, data: dict[str, Any], db: Any = Depends(db_connection)) -> Any:
    return await db.save_entity("fuzz", {"name": name, "data": data})


@router.get("/find/{id}")
async def find(id: str, q: str = "", db: Any = Depends(db_connection)) -> Any:
    return await db.find_entities("fuzz", "[name] = ? OR [id] = ?", (q, id), limit=5)


@router.post("/form")
async def form(name: str = Form(), count: int = Form(0)) -> dict[str, Any]:
    return {"name": name, "count": count}


@router.post("/raw")
async def raw(request: Request) -> int:
    return len(await request.body())


PATHS = [
    "/fuzz/echo",
    "/fuzz/item",
    "/fuzz/save/a",
    "/fuzz/save/\x00",
    "/fuzz/find/é\u2028",
    "/fuzz/find/" + "x" * 5000,
    "/fuzz/form",
    "/fuzz/raw",
    "/fuzz/%ff",
    "/fuzz/\ud800",
    "/fuzz/find/\x1b[31m\r\n",
    "//",
    "",
    "/../../etc/passwd",
    "/auth/login",
    "/auth/register",
    "/auth/refresh",
    "/auth/token",
    "/auth/me",
    "/auth/change-password",
    "/auth/sessions/\x00",
    "/healthz",
    "/metrics",
    "/docs",
    "/openapi.json",
]
METHODS = ["GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "X" * 200, "get", "\x00"]
TYPES = [
    b"application/json",
    b"application/json",
    b"application/json; charset=utf-16",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data",
    b"multipart/form-data; boundary=x",
    b"text/plain",
    b"application/x-ndjson",
    b"\xff\xfe",
    b"",
    b"application/json" + b";x=1" * 1000,
    b"a/b+json",
    b"multipart/form-data; boundary=" + b"x" * 300,
]
VALUES = [
    b"null",
    b"true",
    b"0",
    b"-0.0",
    b"1e400",
    b"-1e400",
    b"NaN",
    b"Infinity",
    b"9" * 400,
    b"9" * 6000,
    b"1.7976931348623157e308",
    b"9007199254740993",
    b"18446744073709551616",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"{}",
    b"[]",
    b'"' + b"x" * 100_000 + b'"',
    b"[" * 10_000 + b"]" * 10_000,
    b"[" * 10_000,
    b"{" * 50,
    b'{"a":' * 90 + b"1" + b"}" * 90,
    b'"\xe2\x80\xa8\\u001b[31m"',
    b'"2026-13-45T99:99:99"',
    b"'single'",
    b"",
    b"\x00",
    b'{"a":1,"a":2}',
]
KEYS = [
    b"name",
    b"count",
    b"ratio",
    b"tags",
    b"more",
    b"email",
    b"password",
    b"\\ud800",
    b"",
    b"__proto__",
    b"_version",
    b"a\\u0000",
]
HEADERS = [
    (b"authorization", b"Bearer " + b"a" * 3000),
    (b"authorization", b"Bearer a.b.c"),
    (b"authorization", b"\xff\x00"),
    (b"authorization", b"Basic Og=="),
    (b"cookie", b"a=" + b"\xff" * 100),
    (b"x-number", b"1e9"),
    (b"x-number", b"\xb2"),
    (b"x-request-id", b"\x00" * 10),
    (b"x-forwarded-for", b"," * 500),
    (b"origin", b"null"),
    (b"origin", b"\xff"),
    (b"accept", b"*/*;q=\xff"),
    (b"content-length", b"0"),
    (b"content-length", b"99999999999999999999"),
    (b"content-length", b"x"),
    (b"host", b""),
    (b"host", b"a\x00b"),
    (b"range", b"bytes=-1"),
    (b"if-none-match", b'"' * 99),
    (b"expect", b"100-continue"),
    (b"access-control-request-method", b"POST"),
    (b"access-control-request-headers", b"x\xff"),
    (b"", b""),
    (b"\xff", b"\xff"),
]
QUERIES = [
    b"",
    b"page=x",
    b"page=1&page=2",
    b"q=%ff%fe",
    b"q=%00",
    b"q=%ED%A0%80",
    b"&&&===",
    b"a=1&" * 3000,
    b"\xff\xfe",
    b"q=%",
]


def body_of(dice: random.Random) -> bytes:
    """Something between good JSON and noise."""
    kind = dice.random()
    if kind < 0.5:
        pairs = [b'"' + dice.choice(KEYS) + b'":' + dice.choice(VALUES) for _ in range(dice.randint(0, 6))]
        return b"{" + b",".join(pairs) + b"}"
    if kind < 0.7:
        return dice.choice(VALUES)
    if kind < 0.8:
        return b"&".join(dice.choice(KEYS) + b"=" + dice.choice(VALUES)[:200] for _ in range(3))
    if kind < 0.9:
        part = (
            b'--x\r\nContent-Disposition: form-data; name="'
            + dice.choice(KEYS)
            + b'"\r\n\r\n'
            + dice.choice(VALUES)[:200]
        )
        return part + b"\r\n--x--\r\n" * dice.randint(0, 2)
    return dice.randbytes(dice.randint(0, 300))


def chunks_of(dice: random.Random, body: bytes) -> list[bytes]:
    """The body at once, in pieces, or without its end."""
    if dice.random() < 0.6 or len(body) < 4:
        return [body]
    cut = dice.randint(1, len(body) - 1)
    return [body[:cut], b"", body[cut:]]


def scope_of(dice: random.Random, body: bytes) -> dict[str, Any]:
    headers = [(b"content-type", dice.choice(TYPES)) for _ in range(dice.choice([0, 1, 1, 1, 2]))]
    headers += dice.sample(HEADERS, dice.choice([0, 0, 1, 2]))
    announced = dice.random()
    if announced < 0.6:
        headers.append((b"content-length", str(len(body)).encode()))
    elif announced < 0.8:
        headers.append((b"content-length", str(dice.randint(0, 2 * len(body) + 9)).encode()))
    else:
        headers.append((b"transfer-encoding", b"chunked"))
    dice.shuffle(headers)
    path = dice.choice(PATHS)
    method = fitting_method(path) if dice.random() < 0.75 else dice.choice(METHODS)
    query, version = dice.choice(QUERIES), dice.choice("112")
    return http_scope(method, path, headers=headers, query_string=query, http_version=version)


def fitting_method(path: str) -> str:
    if path.startswith("/fuzz/save"):
        return "PUT"
    reads = ("/fuzz/find", "/auth/me", "/healthz", "/metrics", "/docs", "/openapi")
    return "GET" if path.startswith(reads) else "POST"


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("FZ2")
async def test_malformed_requests_get_no_5xx_and_leave_no_memory(capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(20261122)
    statuses: Counter[int | None] = Counter()
    warm = REQUESTS // 10
    before = 0
    async with serving(router, allow_self_signup=True) as client:
        for number in range(REQUESTS):
            body = body_of(dice)
            scope = scope_of(dice, body)
            answer = await call(client.app, scope, chunks_of(dice, body))
            assert_harmless(answer, scope, body)
            statuses[answer.status] += 1
            if number % 500 == 0:
                capsys.readouterr()
            if number == warm:
                gc.collect()
                before = rss()
        gc.collect()
        growth = rss() - before
        assert (await client.get("/healthz")).status_code == 200
    capsys.readouterr()
    print(f"{REQUESTS} requests: {dict(sorted(statuses.items(), key=str))}, memory grew by {growth >> 20} MB")
    assert growth < 50 * MEGABYTE
    for status in (200, 400, 401, 404, 405, 422):
        assert statuses[status], f"the dice never led to a {status}"


def assert_harmless(answer: Answer, scope: dict[str, Any], body: bytes) -> None:
    described = (scope["method"], scope["path"], scope["headers"], body[:200], answer.body[:500])
    assert answer.status is None or answer.status < 500, described
    if answer.status is not None:
        assert answer.complete, described
        if answer.status >= 400 and answer.body:
            assert orjson.loads(answer.body)["status"] == answer.status, described
