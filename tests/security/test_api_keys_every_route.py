"""A key without rights gets nowhere: every route of the kernel and of the Quick Start is called with one."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends, HTTPException
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from app_kernel import get_current_user
from app_kernel.api_keys import create_api_key
from app_kernel.db import db_connection
from tests.api_keys.serving import Service, may_deploy, serving

PUBLIC = (
    "/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/auth/", "/dev/mail", "/flags/check",
    "/widgets/{id}",
)  # fmt: skip
"""Where a route may ask for nobody; on those a key must change nothing. Of the Quick Start it is `get_widget`."""
ACCEPTING = {("GET", "/whoami")}
"""Routes of this test that take any live key, by `create_combined_auth` without a scope."""


class WidgetCreate(BaseModel):
    name: str
    color: str = "blue"


def quick_start() -> APIRouter:
    """The router of the Quick Start, and a route that no key may reach in any of the ways to protect one."""
    router = APIRouter()

    @router.post("/widgets")
    async def create_widget(data: WidgetCreate, user=Depends(get_current_user), db=Depends(db_connection)):
        return await db.save_entity("widgets", {"name": data.name, "color": data.color})

    @router.get("/widgets")
    async def list_widgets(user=Depends(get_current_user), db=Depends(db_connection)):
        return await db.find_entities("widgets", where_clause="[created_by] = ?", params=(user.id,))

    @router.get("/widgets/{id}")
    async def get_widget(id: str, db=Depends(db_connection)):
        widget = await db.get_entity("widgets", id)
        if not widget:
            raise HTTPException(404)
        return widget

    @router.put("/scoped", dependencies=[Depends(may_deploy)])
    async def scoped() -> None: ...

    return router


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Method and template of every HTTP route, included routers too."""
    found = [
        (method, context.path_format)
        for context in iter_route_contexts(app.routes)
        for method in sorted(context.methods or ())
        if method not in ("HEAD", "OPTIONS")
    ]
    assert found, "the walk found no routes at all"
    return found


def path_of(template: str) -> str:
    return template.replace("{", "").replace("}", "").replace(":path", "")


async def status(service: Service, method: str, template: str, headers: list[tuple[str, str]]) -> int:
    body = {} if method in ("GET", "DELETE") else {"json": {"name": "x"}}
    return (await service.call(method, path_of(template), headers=headers, **body)).status_code


@pytest.mark.acceptance("AK3")
@pytest.mark.parametrize("way", ["Authorization", "X-API-Key"])
async def test_a_key_without_scopes_gets_401_or_403_on_every_route(way):
    async with serving("sqlite://:memory:", routers=[quick_start()], allow_self_signup=True) as service:
        admin = await service.user("admin@example.com", "admin")
        key = (await create_api_key(service.db, admin.id, name="nothing", scopes=[]))["key"]
        headers = [(way, f"Bearer {key}" if way == "Authorization" else key)]
        routes = routes_of(service.app)
        assert {("GET", "/widgets"), ("POST", "/api-keys"), ("GET", "/auth/me"), ("GET", "/jobs")} <= set(routes)
        assert len(routes) > 25
        refused = 0
        for method, template in routes:
            with_key = await status(service, method, template, headers)
            without = await status(service, method, template, [])
            if (method, template) in ACCEPTING:
                assert (with_key, without) == (200, 401)
            elif without in (401, 403) or not template.startswith(PUBLIC):
                assert with_key in (401, 403), f"{method} {template} answered {with_key}"
                refused += 1
            else:
                assert with_key in (401, 403, without), f"{method} {template} answers a key otherwise than nobody"
        assert refused > 12
        assert await service.db.count_entities("widgets") == 0
        assert (await service.call("GET", "/whoami", key)).json()["scopes"] == []


@pytest.mark.acceptance("AK3")
async def test_a_key_with_all_that_an_admin_may_do_manages_no_keys_and_is_no_user():
    async with serving("sqlite://:memory:", routers=[quick_start()]) as service:
        admin = await service.user("admin@example.com", "admin")
        key = await create_api_key(service.db, admin.id, name="everything")
        assert (await service.call("GET", "/whoami", key["key"])).json()["administers"] is True
        headers = [("Authorization", f"Bearer {key['key']}")]
        managing = [
            (method, path) for method, path in routes_of(service.app) if path.startswith(("/api-keys", "/auth"))
        ]
        assert len(managing) > 10
        for method, template in managing:
            if await status(service, method, template, []) == 401:
                assert await status(service, method, template, headers) == 401, f"{method} {template}"
        path = f"/api-keys/{key['id']}"
        for method, target in (("GET", path), ("DELETE", path), ("PATCH", path), ("POST", f"{path}/rotate")):
            assert await status(service, method, target, headers) == 401
        assert await service.status(key["key"], "/people-only") == 401
        assert await service.status(key["key"]) == 200


def test_the_walk_fails_where_it_finds_nothing():
    with pytest.raises(AssertionError, match="no routes"):
        routes_of(APIRouter())
