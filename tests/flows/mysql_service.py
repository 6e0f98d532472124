"""A shop whose every order is followed through the kernel's features, for `test_on_mysql.py` and its second process."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from app_kernel import (
    FEATURES,
    ServiceConfig,
    UserIdentity,
    create_saas_router,
    create_service,
    get_current_user,
    get_job_client,
)
from app_kernel.api_keys import Auth, create_combined_auth
from app_kernel.cache import cached
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection, get_db_connection
from app_kernel.flags import flag_enabled
from app_kernel.webhooks import trigger_webhook_event

NAME = "shop"
SECRET = "secret-of-the-shop-on-mysql-0123456789abcdef"

get_auth = create_combined_auth(get_db_connection, get_current_user)


@cached(ttl=60, key="orders:{workspace_id}", tags=["orders:{workspace_id}"])
async def read_names(workspace_id: str) -> list[str]:
    async with get_db_connection() as db:
        found = await db.find_entities("orders", "[workspace_id] = ?", (workspace_id,), order_by="[id]")
    return [row["name"] for row in found]


def make_router() -> APIRouter:
    router = APIRouter()

    @router.post("/w/{workspace_id}/orders", status_code=201)
    async def order(
        workspace_id: str,
        body: dict[str, str],
        user: UserIdentity = Depends(get_current_user),
        db: EntityStore = Depends(db_connection),
    ) -> dict[str, Any]:
        async with db.transaction():
            saved = await db.save_entity("orders", {"workspace_id": workspace_id, "name": body["name"]})
            await get_job_client().enqueue("pack", {"id": saved["id"]})
            await trigger_webhook_event(db, workspace_id, event="order.made", data={"id": saved["id"]})
            await read_names.invalidate(workspace_id)
            if body["name"] == "broken":
                raise RuntimeError("nothing of this is to be seen")
        return saved

    @router.get("/w/{workspace_id}/orders")
    async def names(workspace_id: str, user: UserIdentity = Depends(get_current_user)) -> list[str]:
        return await read_names(workspace_id)

    @router.get("/new")
    async def is_new(user: UserIdentity = Depends(get_current_user), db: EntityStore = Depends(db_connection)) -> bool:
        return await flag_enabled(db, "new", user_id=user.id)

    @router.get("/whoami")
    async def whoami(auth: Auth = Depends(get_auth)) -> str:
        return auth.type

    return router


async def pack(payload: dict[str, str]) -> None:
    async with get_db_connection() as db:
        await db.save_entity("orders", {"id": payload["id"], "state": "packed"})


def make_app(config: ServiceConfig | None = None) -> FastAPI:
    """The service; its settings are those of the environment unless they are given."""
    routers = [make_router(), create_saas_router()]
    return create_service(NAME, config=config, routers=routers, tasks={"pack": pack}, features=FEATURES)
