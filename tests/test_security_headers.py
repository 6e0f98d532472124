"""Security headers on every answer."""

import pytest
from fastapi import APIRouter
from starlette.responses import HTMLResponse

from tests.small_service import call, http_scope, serving

router = APIRouter()


@router.get("/own")
async def own() -> HTMLResponse:
    own = {"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "SAMEORIGIN"}
    return HTMLResponse("<p>x</p>", headers=own)


@router.get("/boom")
async def boom() -> None:
    raise RuntimeError("boom")


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/boom", "/docs", "/auth/me", "/metrics"])
async def test_they_are_on_every_answer(path: str) -> None:
    async with serving(router) as client:
        headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in headers


async def test_what_a_handler_sets_itself_stays() -> None:
    async with serving(router) as client:
        headers = (await client.get("/own")).headers
    assert headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert headers.get_list("x-frame-options") == ["SAMEORIGIN"]


async def test_over_tls_browsers_are_told_to_stay_with_it() -> None:
    async with serving(router) as client:
        answer = await call(client.app, http_scope(path="/healthz", scheme="https"))
    assert answer.header("strict-transport-security") == "max-age=31536000"
