"""Hostile requests over real sockets: too big, too slow, lying, and what stands in the log afterwards."""

import json
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server, read_all

CANARY = "hunter2-canary"
SECRET = f"{CANARY}-signing-secret-0123456789"

MAIN = """
import asyncio
from fastapi import APIRouter, Body, Request
from fastapi.responses import StreamingResponse
from app_kernel import create_service, get_logger
from app_kernel.db import get_db_connection

router = APIRouter()
log = get_logger("mine")


@router.post("/raw")
async def raw(request: Request) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


@router.post("/json")
async def take(data: dict = Body()) -> dict:
    return data


@router.get("/boom")
async def boom() -> None:
    raise RuntimeError("SELECT x FROM /srv/private postgres://me:hunter2-canary@db/app")


@router.get("/late")
async def late() -> StreamingResponse:
    async def body():
        yield b"begun"
        raise RuntimeError("late")
    return StreamingResponse(body())


@router.get("/log")
async def write(text: str, request: Request) -> str:
    log.info(text, headers=dict(request.headers), dsn="postgres://me:hunter2-canary@db/app")
    return "ok"


app = create_service("limits", routers=[router])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "main.py").write_text(MAIN)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[LiveServer]:
    settings = {"JWT_SECRET": SECRET, "BODY_TIMEOUT_SECONDS": "1", "CORS_ORIGINS": "https://app.example"}
    with live_server(folder, forked=True, **settings) as server:
        yield server


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


@pytest.mark.slow
@pytest.mark.acceptance("OP1")
def test_a_body_that_trickles_in_is_cut_off_with_408(server: LiveServer) -> None:
    for headers in (["Content-Length: 1000"], ["Transfer-Encoding: chunked"], ["Content-Length: 9", JSON]):
        began = time.monotonic()
        with server.connect() as connection:
            connection.sendall(request("POST", "/raw", *headers)[:-2].replace(b"Connection: close\r\n", b"") + b"\r\n1")
            answer = read_all(connection)
        assert status_of(answer) == 408
        assert b"application/problem+json" in answer
        assert time.monotonic() - began < 15


JSON = "Content-Type: application/json"


@pytest.mark.slow
@pytest.mark.acceptance("OP1")
@pytest.mark.parametrize("headers", [[], [JSON]], ids=["raw", "json"])
def test_an_endless_body_is_refused_while_memory_stays_flat(server: LiveServer, headers: list[str]) -> None:
    server.talk(request("POST", "/raw", "Content-Length: 3", body=b"abc"))
    before = server.rss()
    chunk = b"%x\r\n" % (1 << 20) + b"1" * (1 << 20) + b"\r\n"
    for _ in range(3):
        with server.connect() as connection:
            connection.sendall(request("POST", "/raw", "Transfer-Encoding: chunked", *headers))
            sent = 0
            try:
                while sent < 1024:
                    connection.sendall(chunk)
                    sent += 1
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = read_all(connection)
        assert sent < 64, "the server took far more than its limit"
        assert status_of(answer) in (413, 0)  # the answer is lost where the connection broke while we still sent
    assert server.rss() - before < 64 << 20
    assert status_of(server.talk(request("GET", "/healthz"))) == 200


@pytest.mark.slow
@pytest.mark.acceptance("OP1")
def test_what_is_too_long_or_a_lie_is_refused_and_the_server_lives(server: LiveServer) -> None:
    many = "&".join(f"a{number}=1" for number in range(10_000))
    cases = {
        request("POST", "/raw", "Content-Length: 1073741824"): {413},
        request("GET", "/healthz", "X-Big: " + "x" * 65536): {400, 431},
        request("GET", "/healthz", "X-Big: " + "x" * 40000): {431},
        request("GET", f"/healthz?{many}"): {400, 414},
        request("GET", f"/healthz?{many[:40000]}"): {414},
        request("POST", "/raw", "Content-Length: -1"): {400},
        request("POST", "/raw", "Content-Length: 5", "Content-Length: 50", body=b"12345"): {400},
        request("POST", "/raw", "Content-Length: 2", body=b"12345"): {200},
        request("POST", "/json", "Content-Length: 20000", JSON, body=b"[" * 10_000 + b"]" * 10_000): {422},
        request("POST", "/raw", "Content-Length: 4", "Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00"): {200},
    }
    for sent, statuses in cases.items():
        answer = server.talk(sent)
        assert status_of(answer) in statuses, (sent[:80], answer[:200])
    assert status_of(server.talk(request("GET", "/healthz"))) == 200


@pytest.mark.slow
@pytest.mark.acceptance("OP3")
def test_a_500_tells_nothing_and_is_logged_once(server: LiveServer) -> None:
    answer = server.talk(request("GET", "/boom", "Origin: https://app.example"))
    head, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert problem == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "request_id": problem["request_id"],
    }
    for header in (b"access-control-allow-origin: https://app.example", b"x-content-type-options: nosniff"):
        assert header in head.lower()
    server.stop()
    failures = [line for line in server.lines() if line["level"] == "error"]
    assert [line["request_id"] for line in failures] == [problem["request_id"]]
    assert CANARY not in "".join(server.printed)


@pytest.mark.slow
@pytest.mark.acceptance("OP3")
def test_after_the_first_byte_the_connection_breaks_and_the_log_says_so_once(server: LiveServer) -> None:
    answer = server.talk(request("GET", "/late"))
    assert b"begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    server.stop()
    failures = [line for line in server.lines() if line["level"] == "error"]
    assert [line["event"] for line in failures] == ["request_failed"]
    assert "late" in failures[0]["exception"]


FORGED = "%0d%0a%7b%22level%22:%22critical%22%7d%1b%5b31m%e2%80%a8%00end"


@pytest.mark.slow
@pytest.mark.acceptance("OP4")
def test_no_request_breaks_a_log_line_or_puts_a_secret_into_one(server: LiveServer) -> None:
    secrets = [f"Authorization: Bearer {CANARY}", f"Cookie: session={CANARY}", f"X-Api-Key: {CANARY}"]
    for request_id in ("x" * 5000, "a b", '{"level":"critical"}', "\x1b[31mred", "a\u00a0b"):
        answer = server.talk(request("GET", f"/log?text={FORGED}", f"X-Request-ID: {request_id}", *secrets))
        assert status_of(answer) in (200, 400)
        assert request_id.encode("latin-1") not in answer.split(b"\r\n\r\n")[0]
    server.talk(request("GET", f"/nowhere/{FORGED}?token={CANARY}", *secrets))
    body = json.dumps({"email": "a@b.example", "password": CANARY}).encode()
    server.talk(request("POST", "/auth/login", JSON, f"Content-Length: {len(body)}", body=body))
    server.stop()
    lines = server.lines()
    assert len([line for line in lines if line["event"] == "request"]) >= 3
    assert {line["level"] for line in lines} <= {"info", "warning"}
    for printed in server.printed:
        assert not [each for each in printed[:-1] if unicodedata.category(each) in ("Cc", "Zl", "Zp")], printed
    assert CANARY not in "".join(server.printed)
