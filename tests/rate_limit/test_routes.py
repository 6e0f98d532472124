"""Limits of single routes: which route a request goes to is known before it is matched."""

import asyncio
import inspect
from functools import wraps
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from app_kernel import UserIdentity, get_current_user
from app_kernel.core.limits import limit_of
from app_kernel.rate_limit import no_rate_limit, rate_limit
from app_kernel.rate_limit.route_limits import RouteLimits
from app_kernel.testing import kernel_client
from tests.rate_limit.places import from_address, left, serving
from tests.small_service import call, http_scope, small_app

EMAIL = "ada@example.com"


def reports() -> APIRouter:
    router = APIRouter()

    @router.get("/reports/latest")
    async def latest() -> str:
        return "latest"

    @router.get("/reports/{id}")
    @rate_limit(2, per=60)
    async def report(id: str) -> str:
        return id

    @router.post("/reports")
    @rate_limit(1, per=3600)
    def make_report(title: str, user: UserIdentity = Depends(get_current_user)) -> str:
        return f"{title} by {user.email}"

    @router.get("/free")
    @no_rate_limit
    def free() -> str:
        return "free"

    return router


async def statuses(client: Any, path: str, times: int = 4, method: str = "GET") -> list[int]:
    return [(await client.request(method, path)).status_code for _ in range(times)]


async def test_a_decorated_route_has_a_bucket_and_a_limit_of_its_own() -> None:
    async with serving(reports(), rate_limit_requests=5) as client:
        ada = await client.log_in_as(EMAIL)
        assert await statuses(ada, "/reports/1") == [200, 200, 429, 429]
        refused = await ada.get("/reports/2")
        assert left(refused)[:2] == ("route", 0)
        assert refused.headers["ratelimit-policy"] == '"route";q=2;w=60'
        assert (await ada.post("/reports?title=x")).json() == f"x by {EMAIL}"
        assert (await ada.post("/reports?title=x")).headers["retry-after"] == "3600"
        # Nothing of that counted in the user's own limit.
        assert left(await ada.get("/reports/latest"))[:2] == ("default", 4)


async def test_users_and_addresses_are_counted_apart_on_a_decorated_route() -> None:
    async with serving(reports()) as client:
        ada, bob = await client.log_in_as(EMAIL), await client.log_in_as("bob@example.com")
        assert await statuses(ada, "/reports/1") == [200, 200, 429, 429]
        assert await statuses(bob, "/reports/1", 2) == [200, 200]
        assert await statuses(client, "/reports/1") == [200, 200, 429, 429]
        async with from_address(client, "198.51.100.7") as elsewhere:
            assert await statuses(elsewhere, "/reports/1") == [200, 200, 429, 429]


async def test_an_undecorated_route_that_comes_first_is_not_taken_for_a_decorated_one() -> None:
    async with serving(reports()) as client:
        assert await statuses(client, "/reports/latest", 5) == [200] * 5
        assert await statuses(client, "/reports/other") == [200, 200, 429, 429]


async def test_a_route_without_a_limit_is_not_counted_at_all() -> None:
    async with serving(reports(), rate_limit_requests=2, rate_limit_anonymous=1) as client:
        ada = await client.log_in_as(EMAIL)
        for who in (client, ada):
            answers = [await who.get("/free") for _ in range(5)]
            assert {answer.status_code for answer in answers} == {200}
            assert not any("ratelimit" in answer.headers for answer in answers)
        assert await statuses(ada, "/reports/latest", 3) == [200, 200, 429]


async def test_other_methods_of_the_path_do_not_have_the_routes_limit() -> None:
    async with serving(reports(), rate_limit_anonymous=50) as client:
        for method in ("HEAD", "OPTIONS", "DELETE"):
            answer = await client.request(method, "/reports/1")
            assert (answer.status_code, left(answer)[0]) == (405, "anonymous"), method
        assert left(await client.get("/reports/1")) == ("route", 1, 60)


async def test_head_counts_with_get_where_a_route_answers_both() -> None:
    @rate_limit(2, per=60)
    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("plain")

    router = APIRouter()
    router.add_route("/plain", plain, methods=["GET"])
    async with serving(router) as client:
        assert [(await client.request(method, "/plain")).status_code for method in ("HEAD", "GET", "HEAD")] == [
            200, 200, 429,
        ]  # fmt: skip


async def test_a_preflight_is_answered_without_being_counted() -> None:
    async with serving(reports(), rate_limit_anonymous=1) as client:
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
        answers = [await client.options("/reports/1", headers=asked) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}


async def test_routers_in_routers_with_prefixes_keep_the_limits_of_their_routes() -> None:
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")
    inner.include_router(reports(), prefix="/deep")
    outer.include_router(inner)
    async with serving(outer, api_prefix="/api") as client:
        path = "/api/outer/inner/deep/reports/1"
        assert await statuses(client, path) == [200, 200, 429, 429]
        assert await statuses(client, path.replace("/1", "/latest")) == [200] * 4


async def test_one_router_in_two_places_counts_apart() -> None:
    twice, shared_router = APIRouter(), reports()
    twice.include_router(shared_router, prefix="/v1")
    twice.include_router(shared_router, prefix="/v2")
    async with serving(twice) as client:
        assert await statuses(client, "/v1/reports/1") == [200, 200, 429, 429]
        assert await statuses(client, "/v2/reports/1") == [200, 200, 429, 429]


async def test_mounted_applications_keep_the_limits_of_their_routes() -> None:
    @rate_limit(1, per=60)
    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("plain")

    sub = FastAPI()
    sub.include_router(reports())
    app = small_app()
    app.mount("/sub", sub)
    app.mount("/star/{tenant}", Starlette(routes=[Route("/plain", plain), Mount("/more", routes=[Route("/", plain)])]))
    async with kernel_client(app) as client:
        assert await statuses(client, "/sub/reports/1") == [200, 200, 429, 429]
        assert await statuses(client, "/sub/reports/latest") == [200] * 4
        assert await statuses(client, "/sub/nowhere") == [404] * 4
        assert await statuses(client, "/star/a/plain", 2) == [200, 429]
        assert await statuses(client, "/star/a/more/", 2) == [200, 429]


async def test_routes_that_were_added_after_the_service_was_made_have_their_limits() -> None:
    app = small_app()

    @app.get("/late")
    @rate_limit(1)
    async def late() -> str:
        return "late"

    async with kernel_client(app) as client:
        assert await statuses(client, "/late", 2) == [200, 429]

        @app.get("/later")
        @rate_limit(1)
        async def later() -> str:
            return "later"

        assert await statuses(client, "/later", 2) == [200, 429]


async def test_routes_that_were_added_later_inside_a_router_or_a_mount_have_their_limits() -> None:
    inner, outer, sub, deep = APIRouter(prefix="/in"), APIRouter(prefix="/out"), FastAPI(), APIRouter(prefix="/deep")

    @inner.get("/first")
    async def first() -> str:
        return "first"

    outer.include_router(inner)
    app = small_app(outer)
    sub.include_router(deep)
    app.mount("/sub", sub)
    async with kernel_client(app) as client:
        assert await statuses(client, "/out/in/first", 2) == [200, 200]
        for router, path in ((inner, "/out/in/late"), (sub, "/sub/late"), (deep, "/sub/deep/late")):

            @router.get("/late")
            @rate_limit(1)
            async def late() -> str:
                return "late"

            assert await statuses(client, path, 3) == [200, 429, 429], path


async def test_routes_are_read_again_only_when_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    known = RouteLimits.__init__
    monkeypatch.setattr(RouteLimits, "__init__", lambda self, routes: (read.append(1), known(self, routes))[1])
    async with serving(reports()) as client:
        await statuses(client, "/reports/latest", 3)
        times = len(read)
        await statuses(client, "/reports/latest", 5)
        assert times == len(read) <= 3


async def test_the_service_below_a_root_path_finds_its_routes() -> None:
    app = small_app(reports())
    async with kernel_client(app):
        for root, path in (("", "/reports/1"), ("/svc", "/svc/reports/2"), ("/re", "/reports/3")):
            answer = await call(app, http_scope(path=path, root_path=root, client=("192.0.2.9", 1)))
            assert answer.header("ratelimit-policy") == '"route";q=2;w=60', root
            assert answer.status == (200 if path != "/reports/3" else 429)
        answer = await call(app, http_scope(path="/svc/healthz", root_path="/svc"))
        assert (answer.status, answer.header("ratelimit")) == (200, None)


async def test_a_websocket_route_may_have_a_limit() -> None:
    router = APIRouter()

    @router.websocket("/talk")
    @rate_limit(1)
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = small_app(router)
    async with kernel_client(app):
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        for _ in range(2):
            scope = {**http_scope(path="/talk"), "type": "websocket", "subprotocols": []}
            del scope["method"]
            await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close", "websocket.close"]
    assert sent[-1]["code"] == 1013


async def test_decorators_change_nothing_about_a_function() -> None:
    async def handler(id: int, user: str = "x") -> str:
        return f"{id} {user}"

    before = inspect.signature(handler)
    assert rate_limit(10, per=60)(handler) is handler
    assert no_rate_limit(handler) is handler
    assert inspect.signature(handler) == before
    assert asyncio.iscoroutinefunction(handler)
    app = small_app(reports())
    operation = app.openapi()["paths"]["/reports/{id}"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["id"]


def test_a_decorator_of_the_application_around_it_keeps_the_limit() -> None:
    def traced(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    found = limit_of(traced(rate_limit(3, per=5)(lambda: None)))
    assert found is not None
    assert (found.requests, found.window) == (3, 5)
    assert limit_of(traced(lambda: None)) is None


@pytest.mark.parametrize(("requests", "per"), [(0, 60), (-1, 60), (1, 0), (1.5, 60), (True, 60), ("10", 60), (1, 0.5)])
def test_a_limit_that_is_none_is_refused_when_it_is_written(requests: Any, per: Any) -> None:
    with pytest.raises(ValueError, match="whole number above 0"):
        rate_limit(requests, per=per)


def test_a_bound_method_cannot_carry_a_limit_and_is_told_so() -> None:
    class Handlers:
        def handle(self) -> None: ...

    with pytest.raises(TypeError, match="put the decorator on the function"):
        rate_limit(1)(Handlers().handle)


async def test_with_limits_switched_off_the_decorators_are_off_too() -> None:
    async with serving(reports(), rate_limit_enabled=False) as client:
        assert await statuses(client, "/reports/1") == [200] * 4


async def test_the_documentation_pages_are_reached_as_before() -> None:
    async with serving(reports(), rate_limit_anonymous=50) as client:
        assert (await client.get("/docs")).status_code == 200
        assert "/reports/{id}" in (await client.get("/openapi.json")).json()["paths"]
