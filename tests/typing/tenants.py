"""What a type checker must make of workspaces, flags, metering, audit and caches; checked by mypy and pyright."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, assert_type

from fastapi import APIRouter, Depends

from app_kernel import (
    Membership,
    ServiceConfig,
    create_saas_router,
    create_service,
    public,
    require_workspace_member,
    require_workspace_role,
)
from app_kernel.audit import AuditPage, enable_audit, export_audit_logs, find_audit_logs, get_audit_logs, record
from app_kernel.cache import cache, escape_key
from app_kernel.core.ports import EntityStore
from app_kernel.db import admin_db_connection, db_connection
from app_kernel.flags import Explanation, check_flags, explain_flag, flag_enabled, set_flag
from app_kernel.metering import check_quota, get_quota_remaining, get_usage, require_quota, reserve, track_usage
from app_kernel.saas import create_workspace, list_members
from app_kernel.tracing import current_traceparent, span

Viewer = Annotated[Membership, Depends(require_workspace_member)]
Owner = Annotated[Membership, Depends(require_workspace_role("owner"))]
Db = Annotated[EntityStore, Depends(db_connection)]
AdminDb = Annotated[EntityStore, Depends(admin_db_connection)]

router = APIRouter()


@router.get("/projects")
async def list_projects(workspace_id: str, member: Viewer, db: Db) -> list[dict[str, Any]]:
    assert_type(member.role, str)
    return await db.in_workspace(member.workspace_id).find_entities("projects")


@router.get("/members")
async def members(owner: Owner, db: Db) -> list[dict[str, Any]]:
    workspace = await create_workspace(db, "Engines", owner.user_id)
    assert_type(workspace, dict[str, Any])
    return await list_members(db, owner.workspace_id, limit=10)


@router.get("/version")
@public
async def version() -> str:
    return "1"


async def flags(db: EntityStore) -> None:
    flag = await set_flag(db, "new_dashboard", enabled=True, rollout_percent=10, workspaces=["w1"], users=["u1"])
    assert_type(flag, dict[str, Any])
    assert_type(await flag_enabled(db, "new_dashboard", user_id="u1"), bool)
    assert_type(await check_flags(db, ["new_dashboard"], workspace_id="w1"), dict[str, bool])
    assert_type(await explain_flag(db, "new_dashboard"), Explanation)
    await flag_enabled(db, "new_dashboard", "u1")  # type: ignore[call-arg]


async def metering(db: EntityStore, admin_db: EntityStore) -> None:
    await track_usage(None, app="my_app", user_id="u1", workspace_id="w1", tokens=1500, deployments=1)
    assert_type(await get_usage(admin_db, app="my_app", workspace_id="w1", period="2025-01"), dict[str, int])
    assert_type(await check_quota(admin_db, app="my_app", workspace_id="w1", metric="tokens", limit=9), bool)
    assert_type(await get_quota_remaining(admin_db, app="my_app", metric="tokens", limit=9), int)
    assert_type(await reserve(db, metric="seats", limit=5, workspace_id="w1", period="month"), bool)
    await require_quota(db, metric="seats", limit=5, workspace_id="w1")
    await reserve(db, metric="seats", limit=5, period="fortnight")  # type: ignore[arg-type]
    await track_usage(tokens="many")  # type: ignore[arg-type]


@router.get("/logs")
async def audit(db: Db, admin_db: AdminDb) -> AuditPage:
    enable_audit(db, None, app="my_app")
    assert_type(await record("report.exported", ("reports", "r1"), {"pages": 3}, reason="asked for"), str)
    logs = await get_audit_logs(admin_db, app="my_app", entity="deployments", since="2025-01-01")
    assert_type(logs, list[dict[str, Any]])
    assert_type(export_audit_logs(admin_db, app="my_app"), AsyncIterator[str])
    await get_audit_logs(admin_db, app="my_app", colour="red")  # type: ignore[call-arg]
    return await find_audit_logs(admin_db, app="my_app", limit=10)


async def caching() -> None:
    await cache.set("projects:w1", [{"name": "apollo"}], ttl=300, tags=["ws:w1"])
    assert_type(await cache.get_or_set("projects:w1", list, timedelta(minutes=5)), Any)
    await cache.delete(f"projects:{escape_key('w1')}", "projects:w2")
    await cache.delete_tags("ws:w1")
    await cache.set("projects:w1", [])  # type: ignore[call-arg]


def traced() -> None:
    assert_type(current_traceparent(), str | None)
    with span("compute"):
        pass


app = create_service("tenants", routers=[router, create_saas_router()], config=ServiceConfig(jwt_secret="x"))
