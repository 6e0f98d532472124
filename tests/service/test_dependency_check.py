"""Dependencies that check nothing are found at the start."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import (
    ServiceConfig,
    create_saas_router,
    create_service,
    require_role,
    require_workspace_member,
    require_workspace_role,
)
from app_kernel.api_keys import create_combined_auth, require_scope
from app_kernel.core.errors import ConfigurationError
from app_kernel.testing import kernel_client
from app_kernel.webhooks import require_webhook
from tests.small_service import SECRET

FACTORIES = (require_role, require_workspace_role, require_scope, create_combined_auth, require_webhook)


def app_with(*routers: Any, **settings: Any) -> FastAPI:
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:", **settings)
    return create_service("checked", routers=routers, config=config)


async def refusal(app: FastAPI) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        async with kernel_client(app):
            pass
    return list(refused.value.problems)


@pytest.mark.acceptance("AZ3")
@pytest.mark.parametrize("factory", FACTORIES, ids=lambda each: each.__name__)
async def test_a_dependency_that_was_not_called_is_refused(factory: Any) -> None:
    router, inner, outer = APIRouter(), APIRouter(), APIRouter()

    async def deep(value: object = Depends(factory)) -> object:
        return value

    @router.get("/x")
    async def x(value: object = Depends(deep)) -> str:
        return "x"

    @inner.get("/y")
    async def y() -> str:
        return "y"

    name = factory.__name__
    said = f"Depends({name}) checks nothing; write Depends({name}(...))"
    assert await refusal(app_with(router)) == [f"routes: GET /x: {said}"]
    outer.include_router(inner, prefix="/in", dependencies=[Depends(factory)])
    (problem,) = await refusal(app_with(outer))
    assert problem.endswith(said)


async def test_a_membership_is_not_asked_for_where_there_are_no_workspaces() -> None:
    router = APIRouter()

    @router.get("/x")
    async def x(member: object = Depends(require_workspace_member)) -> str:
        return "x"

    (problem,) = await refusal(app_with(router))
    assert problem.startswith("routes: GET /x: asks for a membership, and there are no workspaces; set saas_enabled")
    async with kernel_client(app_with(router, create_saas_router())) as client:
        assert (await client.get("/x")).status_code == 401
    async with kernel_client(app_with(router, personal_workspaces=True)) as client:
        assert (await client.get("/workspaces")).status_code == 401


def test_what_is_no_router_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"create_saas_router is no router; call it .*: create_saas_router\(\)"
    ):
        app_with(create_saas_router)
