"""CORS: exact origins only, on every answer, and never `*` with credentials."""

from typing import Any

import pytest
from fastapi import APIRouter

from tests.small_service import serving

ORIGIN = "https://app.example"
OTHERS = [
    "null",
    "https://app.example.evil.test",
    "https://evilapp.example",
    "https://sub.app.example",
    "http://app.example",
    "https://app.example:8443",
    "https://app.example/",
    "https://APP.EXAMPLE",
    "https://app.examplé",
    "*",
    "",
]

router = APIRouter()


@router.get("/fine")
async def fine() -> dict[str, bool]:
    return {"ok": True}


@router.get("/boom")
async def boom() -> None:
    raise RuntimeError("boom")


PATHS = [("/fine", 200), ("/nowhere", 404), ("/boom", 500), ("/auth/me", 401)]


@pytest.mark.acceptance("OP2")
@pytest.mark.parametrize(("path", "status"), PATHS)
async def test_a_named_origin_is_reflected_on_every_answer(path: str, status: int) -> None:
    async with serving(router, cors_origins=[ORIGIN, "http://localhost:3000"]) as client:
        answer = await client.get(path, headers={"Origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


@pytest.mark.acceptance("OP2")
@pytest.mark.parametrize("origin", OTHERS)
@pytest.mark.parametrize(("path", "status"), PATHS)
async def test_any_other_origin_gets_no_cors_header(origin: str, path: str, status: int) -> None:
    async with serving(router, cors_origins=[ORIGIN]) as client:
        answer = await client.get(path, headers=[(b"Origin", origin.encode())])
    assert answer.status_code == status
    assert_no_cors(answer)
    assert "Origin" in answer.headers["vary"]


@pytest.mark.acceptance("OP2")
@pytest.mark.parametrize("origin", [ORIGIN, "null", "https://anybody.test"])
async def test_the_default_lets_everybody_read_but_never_with_credentials(origin: str) -> None:
    async with serving(router) as client:
        answer = await client.get("/fine", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_without_an_origin_there_is_nothing_but_vary() -> None:
    async with serving(router, cors_origins=[ORIGIN]) as client:
        answer = await client.get("/fine")
    assert_no_cors(answer)
    assert answer.headers["vary"] == "Origin"


async def test_no_origins_at_all_means_no_cors_at_all() -> None:
    async with serving(router, cors_origins=[]) as client:
        answer = await client.get("/fine", headers={"Origin": ORIGIN})
    assert_no_cors(answer)


def preflight(origin: str, **more: str) -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": "POST", **more}


@pytest.mark.acceptance("OP2")
async def test_a_preflight_of_a_named_origin_is_answered() -> None:
    async with serving(router, cors_origins=[ORIGIN]) as client:
        asked = preflight(ORIGIN, **{"Access-Control-Request-Headers": "authorization,content-type"})
        answer = await client.options("/fine", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Origin" in answer.headers["vary"]
    assert "x-request-id" in answer.headers


@pytest.mark.acceptance("OP2")
@pytest.mark.parametrize("origin", OTHERS)
async def test_a_preflight_of_any_other_origin_is_refused(origin: str) -> None:
    async with serving(router, cors_origins=[ORIGIN]) as client:
        headers = [(name.encode(), value.encode()) for name, value in preflight(origin).items()]
        answer = await client.options("/fine", headers=headers)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_is_no_way_to_write_headers_of_ones_own() -> None:
    async with serving(router) as client:
        headers = [*preflight(ORIGIN).items(), ("Access-Control-Request-Headers", "x-a, é\x7f")]
        answer = await client.options("/fine", headers=[(k.encode(), v.encode()) for k, v in headers])
    assert answer.status_code == 405


def assert_no_cors(answer: Any) -> None:
    assert [name for name in answer.headers if name.startswith("access-control")] == []
