"""How workspaces are switched on, and what a service without them says."""

import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import (
    FEATURES,
    Membership,
    ServiceConfig,
    create_saas_router,
    create_service,
    get_job_client,
    require_workspace_member,
)
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.ports import Memberships
from app_kernel.core.route_walk import walk_routes
from app_kernel.saas import create_workspace, list_workspaces
from app_kernel.testing import kernel_client
from tests.saas.serving import SECRET, serving


def app_with(*routers: APIRouter, **settings: object) -> FastAPI:
    config = ServiceConfig(**{"jwt_secret": SECRET, "database_name": "sqlite://:memory:", **settings})
    return create_service("spaces", config=config, routers=routers)


def paths_of(app: FastAPI) -> list[str]:
    return sorted(f"{method} {route.path}" for route in walk_routes(app.routes) for method in route.methods or ())


ROUTES = {
    "POST /workspaces",
    "GET /workspaces",
    "GET /workspaces/{workspace_id}",
    "PATCH /workspaces/{workspace_id}",
    "DELETE /workspaces/{workspace_id}",
    "POST /workspaces/{workspace_id}/restore",
    "GET /workspaces/{workspace_id}/members",
    "PATCH /workspaces/{workspace_id}/members/{user_id}",
    "DELETE /workspaces/{workspace_id}/members/{user_id}",
    "POST /workspaces/{workspace_id}/leave",
    "POST /workspaces/{workspace_id}/transfer",
    "POST /workspaces/{workspace_id}/invites",
    "GET /workspaces/{workspace_id}/invites",
    "POST /workspaces/{workspace_id}/invites/{invite_id}/resend",
    "DELETE /workspaces/{workspace_id}/invites/{invite_id}",
    "GET /invites",
    "POST /invites/accept",
    "POST /invites/decline",
    "GET /auth/me/workspace",
    "PUT /auth/me/workspace",
}


def test_the_router_the_setting_and_both_give_the_same_routes_once() -> None:
    without = paths_of(app_with())
    assert not ROUTES & set(without)
    by_setting = paths_of(app_with(saas_enabled=True))
    assert set(by_setting) - set(without) == ROUTES
    assert len(by_setting) == len(set(by_setting))
    assert paths_of(app_with(create_saas_router())) == by_setting
    assert paths_of(app_with(create_saas_router(), create_saas_router(), saas_enabled=True)) == by_setting


async def test_the_routes_stand_behind_the_prefix_of_the_service() -> None:
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:")
    app = create_service("spaces", config=config, routers=[create_saas_router()], api_prefix="/api")
    async with kernel_client(app) as client:
        ada = await client.log_in_as("ada@example.com")
        assert (await ada.post("/api/workspaces", json={"name": "Engines"})).status_code == 201
        assert (await ada.get("/workspaces")).status_code == 404


@pytest.mark.parametrize("saas_enabled", [True, False])
async def test_the_router_inside_another_one_is_refused_with_a_sentence(saas_enabled: bool) -> None:
    outer, inner = APIRouter(prefix="/v1"), APIRouter()
    inner.include_router(create_saas_router())
    outer.include_router(inner)
    with pytest.raises(ConfigurationError, match="the routes of saas are included in another router"):
        app_with(outer, saas_enabled=saas_enabled)
    late = app_with(saas_enabled=saas_enabled)
    late.include_router(create_saas_router(), prefix="/v1")
    with pytest.raises(ConfigurationError, match="give their router to create_service"):
        async with kernel_client(late):
            pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"saas_enabled": True, "auth_enabled": False}, "workspaces need accounts, and auth_enabled is off"),
        (
            {"personal_workspaces": True, "auth_enabled": False},
            r"personal_workspaces \(PERSONAL_WORKSPACES\): .*accounts",
        ),
        ({"saas_enabled": True, "accept_invite_url": "join"}, r"accept_invite_url .*is no http:// or https:// URL"),
        ({"saas_enabled": True, "accept_invite_url": "https://a.example/#x"}, "has a fragment"),
    ],
)
def test_settings_that_mean_nothing_refuse_to_start(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        app_with(**settings)
    assert len(refused.value.problems) == 1


def test_the_router_without_accounts_or_without_its_feature_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match="workspaces need accounts") as refused:
        app_with(create_saas_router(), auth_enabled=False)
    assert len(refused.value.problems) == 1
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:")
    others = [factory for factory in FEATURES if factory.__module__ != "app_kernel.saas.feature"]
    with pytest.raises(ConfigurationError, match="the routes of saas need the feature saas"):
        create_service("spaces", config=config, routers=[create_saas_router()], features=others)


@pytest.mark.acceptance("AZ3")
async def test_without_workspaces_a_route_that_needs_a_member_lets_nobody_in() -> None:
    inner = FastAPI()

    @inner.get("/projects")
    async def projects(member: Membership = Depends(require_workspace_member)) -> str:
        return member.role

    app = app_with()
    app.mount("/inner", inner)
    async with kernel_client(app) as client:
        assert client.kernel.find_port(Memberships) is None
        ada = await client.log_in_as("ada@example.com", role="admin")
        refused = await ada.get("/inner/projects?workspace_id=w")
        assert (refused.status_code, "saas_enabled" in refused.json()["detail"]) == (403, True)
        assert (await client.get("/inner/projects?workspace_id=w")).status_code == 401


async def test_start_up_code_and_jobs_make_workspaces(tmp_path: object) -> None:
    made: list[str] = []

    async def seed(db: object) -> None:
        made.append((await create_workspace(db, "Seeded", owner, slug="seeded"))["id"])

    url = f"sqlite:///{tmp_path}/app.db"
    async with serving(url) as service:
        owner = (await service.person()).id

    async def open_another(payload: dict[str, str]) -> None:
        db = service.db
        made.append((await create_workspace(db, payload["name"], owner))["id"])

    config = ServiceConfig(jwt_secret=SECRET, database_name=url, saas_enabled=True)
    app = create_service("spaces", config=config, db_seed=seed, tasks={"open": open_another})
    async with kernel_client(app, database=url) as client:
        service.db = client.db
        await get_job_client().enqueue("open", {"name": "By a job"})
        [done] = await client.jobs.drain()
        assert done.status == "completed"
        assert [each["id"] for each in await list_workspaces(client.db, owner)] == made
