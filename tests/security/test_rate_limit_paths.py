"""No spelling of a path reaches a limited route without being counted (CWE-290, CWE-180; OWASP ASVS 5.0, 2.4)."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute

from app_kernel.auth import create_user
from app_kernel.rate_limit import rate_limit
from app_kernel.testing import PASSWORD, kernel_client
from tests.small_service import call, http_scope, small_app

LIMIT = 2
ENDINGS = (
    "", "\n", "\r", "\r\n", "\n\n", "/", "//", "/\n", "\n/", "\0", "%00", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85",
    "\u2028", "\u2029", "\ufeff", "\u200b", "\xa0", " ", "\t", ".", "/.", "/..", ";", ";a=1", "?", "#", "\ud800",
)  # fmt: skip
PLACES = (
    "/lim", "/named/one", "/typed/7", "/deep/er/lim", "/rest/a/b", "/sub/lim", "/sub/named/one", "/star/lim",
    "/star/more", "/plain",
)  # fmt: skip
WRONG = b'{"email": "b@example.com", "password": "wrong guess"}'
SIGN_IN = ("login", "register", "refresh", "forgot-password", "reset-password", "verify-email")


def limited(ran: list[str], name: str) -> Any:
    @rate_limit(LIMIT, per=60)
    async def route() -> str:
        ran.append(name)
        return name

    return route


def app_of(ran: list[str]) -> FastAPI:
    """A service with limited routes of every kind; each notes in `ran` that it was reached."""

    @rate_limit(LIMIT, per=60)
    async def plain(request: Request) -> PlainTextResponse:
        ran.append("plain")
        return PlainTextResponse("plain")

    @rate_limit(LIMIT, per=60)
    async def talk(websocket: WebSocket) -> None:
        ran.append("talk")
        await websocket.accept()
        await websocket.close()

    router, deep, deeper, sub = APIRouter(), APIRouter(prefix="/deep"), APIRouter(prefix="/er"), FastAPI()
    for target in (router, deeper, sub):
        target.get("/lim")(limited(ran, "lim"))
    for target in (router, sub):
        target.get("/named/{name}")(limited(ran, "named"))
    router.get("/typed/{number:int}")(limited(ran, "typed"))
    router.get("/rest/{rest:path}")(limited(ran, "rest"))
    router.add_route("/plain", plain)
    router.add_websocket_route("/talk", talk)
    deep.include_router(deeper)
    app = small_app(router, deep)
    app.mount("/sub", sub)
    inside = [Route("/lim", plain), Mount("/more", routes=[Route("/", plain)]), WebSocketRoute("/talk", talk)]
    app.mount("/star", Starlette(routes=inside))
    return app


async def runs_of(app: FastAPI, ran: list[str], path: str, times: int, host: bytes = b"testserver") -> int:
    """How many requests for the path, from an address of its own, reach a route; one is enough to see that none do."""
    before = len(ran)
    for number in range(times):
        if number and len(ran) == before:
            break
        await call(app, http_scope(path=path, client=(f"path {path!r} {host!r}", 1), headers=[(b"host", host)]))
    return len(ran) - before


async def test_whatever_a_path_ends_with_a_limited_route_that_answers_has_counted_it() -> None:
    ran: list[str] = []
    app = app_of(ran)
    reached = set()
    async with kernel_client(app):
        for place in PLACES:
            others = {f"{spelled}{ending}" for ending in ENDINGS[:2] for spelled in (place.upper(), f"/{place}")}
            for path in {f"{place}{ending}" for ending in ENDINGS} | others:
                runs = await runs_of(app, ran, path, LIMIT + 2)
                assert runs in (0, LIMIT), repr(path)
                reached |= {path} if runs else set()
    assert set(PLACES) - {"/star/more"} <= reached
    # Starlette's patterns end with `$`; should they no longer match before a newline, this test is about nothing.
    assert {"/lim\n", "/deep/er/lim\n", "/plain\n", "/typed/7\n", "/star/more/"} <= reached


async def test_a_limited_route_of_a_host_is_counted_as_well() -> None:
    ran: list[str] = []

    @rate_limit(LIMIT, per=60)
    async def plain(request: Request) -> PlainTextResponse:
        ran.append("plain")
        return PlainTextResponse("plain")

    # Apart from the others: where a host has limits, all paths are matched, so that none could be missed.
    app = small_app()
    app.router.routes.append(Host("host.example", Starlette(routes=[Route("/lim", plain)])))
    async with kernel_client(app):
        runs = {ending: await runs_of(app, ran, f"/lim{ending}", LIMIT + 2, b"host.example") for ending in ENDINGS}
    assert set(runs.values()) == {0, LIMIT}
    assert runs[""] == runs["\n"] == LIMIT


async def test_another_spelling_of_a_path_is_no_second_allowance() -> None:
    ran: list[str] = []
    app = app_of(ran)
    async with kernel_client(app) as client:
        for path in ("/lim", "/lim%0A", "/lim", "/lim%0A", "/lim%0a"):
            await client.get(path)
        assert len(ran) == LIMIT
        ada = await client.log_in_as("ada@example.com")
        statuses = [(await ada.get(path)).status_code for path in ("/lim%0A", "/lim", "/lim%0A", "/lim")]
        assert statuses == [200, 200, 429, 429]


@given(path=st.one_of(
    st.tuples(st.sampled_from(PLACES), st.text("\n\r\0/%0Aa \u2028\x85.", max_size=4)).map("".join),
    st.sampled_from(PLACES).flatmap(
        lambda place: st.tuples(st.integers(0, len(place)), st.sampled_from(ENDINGS)).map(
            lambda cut: place[: cut[0]] + cut[1] + place[cut[0] :]
        )
    ),
))  # fmt: skip
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_odd_path_reaches_a_limited_route_uncounted(path: str, small: tuple[FastAPI, list[str]]) -> None:
    app, ran = small
    before = len(ran)
    answer = await call(app, http_scope(path=path, client=("192.0.2.1", 1)))
    counted = answer.header("ratelimit-policy") == f'"route";q={LIMIT};w=60'
    assert counted or len(ran) == before, repr(path)


@pytest.fixture
async def small() -> Any:
    ran: list[str] = []
    app = app_of(ran)
    async with kernel_client(app):
        yield app, ran


@pytest.mark.parametrize("path", ["/talk", "/talk\n", "/star/talk", "/star/talk\n"])
async def test_no_spelling_opens_more_websockets(path: str) -> None:
    ran: list[str] = []
    app = app_of(ran)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None: ...

    async with kernel_client(app):
        for _ in range(LIMIT + 2):
            scope = {**http_scope(path=path), "type": "websocket", "subprotocols": []}
            del scope["method"]
            await app(scope, receive, send)
    assert len(ran) == (0 if path == "/star/talk\n" else LIMIT)


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_user_gets_no_second_allowance_of_guesses_by_another_spelling(prefix: str) -> None:
    app = small_app(rate_limit_auth_requests=LIMIT, api_prefix=prefix)
    async with kernel_client(app) as client:
        await create_user(client.db, "ada@example.com", PASSWORD)
        ada = await client.post(f"{prefix}/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
        token = f"Bearer {ada.json()['access_token']}".encode()
        headers = [(b"content-type", b"application/json"), (b"authorization", token)]
        for name in SIGN_IN:
            for ending in ("", "\n", "\r", "/", "//", "\0", "\n\n", "/\n", "\u2028"):
                path = f"{prefix}/auth/{name}{ending}"
                scopes = [http_scope("POST", path, client=(path, 1), headers=headers) for _ in range(LIMIT + 1)]
                answers = [await call(app, scope, (WRONG,)) for scope in scopes]
                if answers[0].status not in (404, 307):
                    assert answers[0].header("ratelimit-policy") == f'"auth";q={LIMIT};w=60', repr(path)
                    assert answers[-1].status == 429, repr(path)
                else:
                    assert ending not in ("", "\n"), "the test shows nothing unless these are routes"
