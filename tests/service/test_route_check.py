"""Routes that keep each other from being reached are found at start-up, by name."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from app_kernel import FEATURES, Feature
from app_kernel.service.route_check import find_shadowed_routes
from tests.small_service import small_app


async def mine() -> str:
    return "mine"


async def plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


def router_with(method: str, path: str, prefix: str = "") -> APIRouter:
    router = APIRouter(prefix=prefix)
    router.add_api_route(path, mine, methods=[method])
    return router


def found(app: FastAPI) -> list[str]:
    return find_shadowed_routes(app, app.state.kernel.features)


@pytest.mark.parametrize(
    ("method", "path", "prefix", "shadowed"),
    [
        ("GET", "/healthz", "", ["GET /healthz (feature health)"]),
        ("GET", "/{name}", "", ["GET /healthz", "GET /readyz", "GET /metrics"]),
        ("POST", "/login", "/auth", ["POST /auth/login (feature auth)"]),
        ("POST", "/{what}", "/auth", ["POST /auth/login", "POST /auth/refresh"]),
        ("DELETE", "/sessions/{session}", "/auth", ["DELETE /auth/sessions"]),
        ("GET", "/{path:path}", "", ["GET /auth/me", "GET /healthz"]),
    ],
)
def test_a_kernel_route_behind_one_of_the_application(method: str, path: str, prefix: str, shadowed: list[str]) -> None:
    problems = found(small_app(router_with(method, path, prefix)))
    for words in shadowed:
        assert any(words in problem and f"{method} {prefix}{path}" in problem for problem in problems), words
    assert all("tests.service.test_route_check.mine" in problem for problem in problems)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/health"), ("POST", "/healthz"), ("GET", "/auth/login"), ("GET", "/auth/sessions/mine")],
)
def test_routes_beside_those_of_the_kernel_are_fine(method: str, path: str) -> None:
    assert found(small_app(router_with(method, path))) == []


def test_the_prefix_keeps_them_apart() -> None:
    assert found(small_app(router_with("POST", "/login", "/auth"), api_prefix="/api")) != []
    app = small_app(api_prefix="/api")
    app.include_router(router_with("POST", "/login", "/auth"))
    assert found(app) == []


def test_a_route_added_later_that_the_kernel_has_already() -> None:
    app = small_app()
    app.add_api_route("/auth/me", mine, methods=["GET"])
    app.add_route("/metrics", plain)
    assert [problem.split(" is never")[0] for problem in found(app)] == [
        "routes: GET /auth/me (tests.service.test_route_check.mine)",
        "routes: GET /metrics (tests.service.test_route_check.plain)",
    ]


def test_a_catch_all_added_later_gets_what_is_left(tmp_path: Any) -> None:
    app = small_app()
    app.add_api_route("/{path:path}", mine, methods=["GET"])
    app.mount("/", StaticFiles(directory=tmp_path))
    assert found(app) == []


def test_two_features_with_one_path() -> None:
    one = Feature(name="one", router=router_with("GET", "/invoices"))
    two = Feature(name="two", router=router_with("GET", "/{anything}"))
    assert found(small_app(features=[*FEATURES, one, two])) == []
    (problem,) = [each for each in found(small_app(features=[*FEATURES, two, one])) if "/invoices" in each]
    assert "(feature one) is never reached" in problem
    assert "(feature two) answers first" in problem


def test_nested_routers_are_seen() -> None:
    outer = APIRouter(prefix="/auth")
    outer.include_router(router_with("GET", "/me"))
    assert len(found(small_app(outer))) == 1
