"""A service with workspaces and people in them, whose audit log a test reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends

from app_kernel import FEATURES, ServiceConfig, create_saas_router, create_service, get_current_user
from app_kernel.api_keys import Auth, create_combined_auth
from app_kernel.audit import get_audit_logs
from app_kernel.core.identity import UserIdentity
from app_kernel.db import db_connection, get_db_connection
from app_kernel.testing import KernelClient, kernel_client
from tests.outbox.carrying import until_empty

SECRET = "secret-of-the-audit-tests-0123456789abcdef"
NAME = "audited"

get_auth = create_combined_auth(get_db_connection, get_current_user)


def make_router() -> APIRouter:
    router = APIRouter()

    @router.post("/w/{workspace_id}/things")
    async def make(workspace_id: str, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)):  # type: ignore[no-untyped-def]
        return await db.save_entity("things", {"workspace_id": workspace_id, "name": "gear"})

    @router.post("/by-key")
    async def by_key(auth: Auth = Depends(get_auth), db: Any = Depends(db_connection)):  # type: ignore[no-untyped-def]
        return await db.save_entity("things", {"name": "by key"})

    return router


class Audited:
    """A running service."""

    def __init__(self, client: KernelClient) -> None:
        self.client = client
        self.db = client.db
        self.admin_db = client.admin_db

    async def carried(self) -> None:
        await until_empty(self.client.kernel.db)  # type: ignore[arg-type]  # the engine behind the port

    async def entries(self, **filters: Any) -> list[dict[str, Any]]:
        """The oldest first."""
        await self.carried()
        return await get_audit_logs(self.admin_db, app=NAME, order="asc", limit=1000, **filters)


@asynccontextmanager
async def audited_service(database: str | None = "sqlite://:memory:", **settings: Any) -> AsyncIterator[Audited]:
    options = {"jwt_secret": SECRET, "database_name": "sqlite://:memory:", "rate_limit_auth_requests": 1_000_000}
    config = ServiceConfig(**{**options, "allow_self_signup": True, **settings})
    routers = [make_router(), create_saas_router()]
    app = create_service(NAME, config=config, routers=routers, features=FEATURES)
    async with kernel_client(app, database=database) as client:
        yield Audited(client)
