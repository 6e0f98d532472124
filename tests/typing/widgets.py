"""The quick start with types: what a type checker must make of it; checked by mypy and pyright, run by nobody."""

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, assert_type

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel

from app_kernel import (
    ConfigurationError,
    ServiceConfig,
    UserIdentity,
    create_service,
    get_current_user,
    require_admin,
    require_role,
)
from app_kernel.api_keys import Auth, create_api_key, create_combined_auth, require_scope
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection, get_db_connection

User = Annotated[UserIdentity, Depends(get_current_user)]
Admin = Annotated[UserIdentity, Depends(require_admin)]
Editor = Annotated[UserIdentity, Depends(require_role("editor", "admin"))]
Db = Annotated[EntityStore, Depends(db_connection)]
Caller = Annotated[Auth, Depends(create_combined_auth(get_db_connection, get_current_user))]
Deployer = Annotated[Auth, Depends(require_scope("deployments:write"))]

router = APIRouter(prefix="/widgets", tags=["widgets"])


class WidgetCreate(BaseModel):
    name: str
    color: str = "blue"


@router.post("")
async def create_widget(data: WidgetCreate, user: User, db: Db) -> dict[str, Any]:
    assert_type(user.id, str)
    assert_type(user.workspace_id, str | None)
    return await db.save_entity("widgets", {"name": data.name, "color": data.color})


@router.get("")
async def list_widgets(user: User, db: Db) -> list[dict[str, Any]]:
    return await db.find_entities(
        "widgets",
        where_clause="[created_by] = ?",
        params=(user.id,),
        order_by="[created_at] DESC",
        limit=100,
        offset=0,
        include_deleted=False,
    )


@router.get("/{id}")
async def get_widget(id: str, db: Db) -> dict[str, Any]:
    widget = await db.get_entity("widgets", id)
    if not widget:
        raise HTTPException(404)
    return widget


@router.delete("/{id}")
async def delete_widget(id: str, admin: Admin, editor: Editor, db: Db) -> None:
    assert_type(admin, UserIdentity)
    assert_type(editor, UserIdentity)
    assert_type(await db.delete_entity("widgets", id, permanent=False), bool)


@router.post("/deployments")
async def deploy(auth: Caller, deployer: Deployer, db: Db) -> bool:
    assert_type(auth.user_id, str)
    assert_type(auth.user, UserIdentity)
    assert_type(auth.workspace_id, str | None)
    key = await create_api_key(db, deployer.user_id, name="CI", scopes=["deployments:write"], expires_in_days=90)
    assert_type(key, dict[str, Any])
    return auth.type == "api_key" and auth.has_scope("deployments:write")


async def handles(db: EntityStore) -> None:
    assert_type(db.transaction(), AbstractAsyncContextManager[EntityStore])
    async with db.transaction() as tx:
        assert_type(await tx.save_entities("widgets", [{"name": "a"}]), list[dict[str, Any]])
    assert_type(await db.increment("widgets", "1", "amount", by=2), dict[str, Any] | None)
    async for widget in db.iterate_entities("widgets", batch_size=100):
        assert_type(widget, dict[str, Any])
    assert_type(db.in_workspace("w1"), EntityStore)
    await db.find_entities("widgets", limit="ten")  # type: ignore[call-overload]
    await db.get_entity(42, "1")  # type: ignore[call-overload]


def serve() -> FastAPI:
    config = ServiceConfig(
        jwt_secret="your-secret",
        jwt_expiry_hours=24,
        auth_enabled=True,
        allow_self_signup=False,
        database_name="./data/app.db",
        database_type="sqlite",
        redis_url="redis://localhost:6379",
        cors_origins=["http://localhost:3000"],
        rate_limit_requests=100,
        rate_limit_window=60,
        oauth_providers={"google": {"client_id": "id", "client_secret": "secret"}},
    )
    assert_type(config.jwt_secret, str | None)
    assert_type(config.cors_origins, list[str])
    assert_type(ServiceConfig.from_env(), ServiceConfig)
    try:
        return create_service(name="widget_service", routers=[router], config=config)
    except ConfigurationError as exc:
        assert_type(list(exc.problems), list[str])
        raise


def mistakes() -> None:
    create_service(name="widget_service", routers=router)  # type: ignore[arg-type]
    create_service(name="widget_service", prefix="/api")  # type: ignore[call-arg]
    ServiceConfig(database_type="oracle")  # type: ignore[arg-type]
    ServiceConfig(jwt_secrets="your-secret")  # type: ignore[call-arg]
