"""The kernel's routes are made for whoever comes for them, and are found wherever they are."""

from typing import Any

import pytest
from fastapi import APIRouter
from fastapi import routing as fastapi_routing

from app_kernel import FEATURES, Feature
from app_kernel.service.feature_routes import answer_no_early
from app_kernel.testing import kernel_client
from tests.small_service import small_app


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the routes that FastAPI has made."""
    paths: list[str] = []
    plain = fastapi_routing._EffectiveRouteContext.from_api_route

    def make(*, original_route: Any, include_context: Any) -> Any:
        paths.append(original_route.path)
        return plain(original_route=original_route, include_context=include_context)

    monkeypatch.setattr(fastapi_routing._EffectiveRouteContext, "from_api_route", make)
    return paths


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_only_the_routes_of_the_feature_that_is_asked_for_are_made(made: list[str], prefix: str) -> None:
    async with kernel_client(small_app(saas_enabled=True, api_prefix=prefix)) as client:
        made.clear()
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/nothing/of/the/kind")).status_code == 404
        assert not [path for path in made if path.startswith(("/auth", "/workspaces", "/flags"))]
        assert (await client.post(f"{prefix}/auth/login", json={"email": "x"})).status_code == 422
        assert [path for path in made if path.startswith("/auth")]
        assert not [path for path in made if path.startswith("/flags")]
        for path, allowed in (("/auth/login", "POST"), ("/flags", "GET")):
            answer = await client.delete(f"{prefix}{path}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert (await client.get(f"{prefix}/auth/me/")).status_code in (307, 401)


async def test_a_service_that_is_mounted_finds_its_routes() -> None:
    outer = small_app(features=[])
    inner = small_app()
    outer.mount("/inner", inner)
    async with inner.router.lifespan_context(inner), kernel_client(outer) as client:
        assert (await client.get("/inner/healthz")).status_code == 200
        assert (await client.get("/inner/auth/me")).status_code == 401


async def test_routes_that_an_application_adds_to_its_feature_later_are_found() -> None:
    router = APIRouter(prefix="/first")

    @router.get("/one")
    async def one() -> int:
        return 1

    later = APIRouter()
    later.include_router(router)
    app = small_app(features=[*FEATURES, Feature(name="mine", router=later)])

    @later.get("/second")
    async def second() -> int:
        return 2

    async with kernel_client(app) as client:
        assert [(await client.get(path)).json() for path in ("/first/one", "/second")] == [1, 2]


def test_a_router_that_begins_with_a_parameter_looks_at_every_path() -> None:
    router = APIRouter()

    def endpoint(name: str) -> str:
        return name

    endpoint.__module__ = "app_kernel.mine"
    router.get("/{name}")(endpoint)
    answer_no_early(router)
    assert "matches" not in vars(router)
    other = APIRouter(prefix="/mine")
    other.get("/{name}")(endpoint)
    answer_no_early(other)
    assert "matches" in vars(other)
