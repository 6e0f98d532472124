"""What a type checker must make of the public names; checked by mypy and pyright, run by nobody."""

from typing import Any, assert_type

from fastapi import APIRouter, Depends, FastAPI, Request

from app_kernel import (
    FEATURES,
    Feature,
    ServiceConfig,
    UserIdentity,
    acting_as,
    create_service,
    get_current_user,
    get_current_user_optional,
    redis_client,
    require_role,
)
from app_kernel.core.ports import EntityStore
from app_kernel.db import (
    Store,
    admin_db_connection,
    connect,
    db_connection,
    get_admin_db_connection,
    get_db_connection,
)
from app_kernel.testing import kernel_client

router = APIRouter()


@router.get("/me")
async def who(user: UserIdentity = Depends(get_current_user), db: EntityStore = Depends(db_connection)) -> str:
    assert_type(await db.get_entity("projects", "1"), dict[str, Any] | None)
    return user.email


async def identities(request: Request) -> None:
    assert_type(await get_current_user(request), UserIdentity)
    assert_type(await get_current_user_optional(request), UserIdentity | None)
    assert_type(await require_role("admin", "owner")(request), UserIdentity)


@router.get("/logs")
async def logs(admin_db: EntityStore = Depends(admin_db_connection), redis: Any = Depends(redis_client)) -> int:
    return await admin_db.count_entities("audit_logs")


async def verbs() -> None:
    async with connect("sqlite://:memory:") as db:
        assert_type(db, Store)
        with acting_as("u1"):
            assert_type(await db.save_entity("projects", {"name": "x"}, comment="why"), dict[str, Any])
        assert_type(await db.find_entities("projects", "[a] = ?", (1,), order_by="[a]", limit=1), list[dict[str, Any]])
        assert_type(await db.count_entities("projects"), int)
        assert_type(await db.delete_entity("projects", "1", permanent=True), bool)
        assert_type(await db.restore_entity("projects", "1"), dict[str, Any] | None)
    async with get_db_connection() as handle:
        assert_type(handle, EntityStore)
    async with get_admin_db_connection() as admin_db:
        assert_type(admin_db, EntityStore)


def mine(config: ServiceConfig) -> Feature | None:
    return Feature(name="mine") if config.debug else None


app = create_service(
    "typed",
    routers=[router],
    config=ServiceConfig(jwt_secret="x", cors_origins=["https://a.example"], jwt_expiry_hours=1.5),
    features=[*FEATURES, mine, Feature(name="more")],
    api_prefix="/api",
)
assert_type(app, FastAPI)


async def client() -> None:
    async with kernel_client(app) as client:
        ada = await client.log_in_as("ada@example.com", role="admin")
        assert_type(ada.user, UserIdentity)
        assert_type(client.admin_db, EntityStore)
