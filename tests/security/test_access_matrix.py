"""Who may call what: every route of the kernel, called by everybody, with what belongs to another workspace.

The outcome is in `access_matrix.txt`, so that a change of it is seen in a review; to write it anew:

    APP_KERNEL_WRITE_MATRIX=1 pytest tests/security/test_access_matrix.py -k another
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import (
    ConfigurationError,
    DoNotRetry,
    Membership,
    ServiceConfig,
    create_service,
    require_workspace_member,
)
from app_kernel.core.ports import JobQueue
from app_kernel.flags import set_flag
from app_kernel.testing import KernelClient, assert_tenant_isolation, kernel_client
from tests.api_keys.serving import fresh_schema
from tests.faults.figures import SOAK

SECRET = "secret-of-the-access-matrix-0123456789abcdef"
MATRIX = Path(__file__).parent / "access_matrix.txt"
CLOSED_PORT = "http://127.0.0.1:59999/hook"

NEVER_OK = {
    "POST /auth/reset-password": "takes the token of a mail, tests/security/test_auth_links.py",
    "POST /auth/verify-email": "takes the token of a mail, tests/security/test_auth_links.py",
    "POST /invites/accept": "takes the token of an invite, tests/saas",
    "POST /invites/decline": "takes the token of an invite, tests/saas",
}
"""Routes that nobody calls with success here, and where they are."""


async def nothing() -> None:
    """A job that waits."""


async def failing() -> None:
    """A job that is dead after its first attempt."""
    raise DoNotRetry("this one fails")


def kernel_app(*routers: APIRouter, **settings: Any) -> FastAPI:
    config = ServiceConfig(
        **{
            "jwt_secret": SECRET,
            "saas_enabled": True,
            "allow_self_signup": True,
            "webhook_allow_private": True,
            "log_level": "ERROR",
            **settings,
        }
    )
    return create_service("kernel", config=config, routers=routers, tasks={"nothing": nothing, "failing": failing})


async def seed(client: KernelClient, workspace_id: str, marker: str) -> dict[str, Any]:
    """What no single route makes: a job, a delivery, and a flag of the platform."""
    jobs = client.kernel.port(JobQueue)
    place = {"X-Workspace-ID": workspace_id}
    hook = await client.post("/webhooks", json={"url": CLOSED_PORT, "events": ["*"]}, headers=place)
    assert hook.status_code == 201, hook.text
    sent = await client.post(f"/webhooks/{hook.json()['id']}/test", headers=place)
    assert sent.status_code < 300, sent.text
    dead = await jobs.enqueue("failing", {"text": marker}, user_id=client.user.id, max_attempts=1)
    await client.jobs.drain()
    waiting = await jobs.enqueue("nothing", {"text": marker}, user_id=client.user.id, delay_seconds=3600)
    await set_flag(client.db, "of-the-platform", enabled=True)
    return {"jobs": [waiting.job_id, dead.job_id], "flags": "of-the-platform"}


def cells(table: str, callers: Collection[str]) -> list[str]:
    """The lines of a matrix with the columns of these callers."""
    lines = []
    for line in table.splitlines():
        route, _, row = line.partition("] ")
        lines.append(" ".join([f"{route}]", *(each for each in row.split() if each.split("=")[0] in callers)]))
    return lines


@pytest.mark.slow
@pytest.mark.acceptance("AZ1")
@pytest.mark.acceptance("AZ2")
async def test_no_route_of_the_kernel_lets_a_workspace_reach_another_one():
    report = await assert_tenant_isolation(kernel_app(), seed=seed, kernel_routes=True)
    assert report.requests > 3000
    table = report.table()
    if os.environ.get("APP_KERNEL_WRITE_MATRIX") == "1":
        MATRIX.write_text(table, encoding="utf-8")
    assert table.splitlines() == MATRIX.read_text(encoding="utf-8").splitlines()
    assert {line.split(" [")[0] for line in table.splitlines() if "=ok" not in line} == set(NEVER_OK)


@pytest.mark.slow
@pytest.mark.acceptance("AZ1")
@pytest.mark.acceptance("AZ2")
@pytest.mark.soak
async def test_it_is_the_same_on_postgresql(postgres_url):
    # Whoever must not get through; in the long run beside whoever may.
    callers = ("owner", "other_owner") if SOAK else ("other_owner",)
    async with fresh_schema(postgres_url) as database:
        report = await assert_tenant_isolation(
            kernel_app(), seed=seed, kernel_routes=True, roles=callers, database=database
        )
    assert cells(report.table(), callers) == cells(MATRIX.read_text(encoding="utf-8"), callers)


@pytest.mark.acceptance("AZ3")
async def test_without_workspaces_nobody_is_a_member_of_one():
    router = APIRouter()

    @router.get("/projects")
    async def projects(member: Membership = Depends(require_workspace_member)) -> str:
        return member.workspace_id

    with pytest.raises(ConfigurationError, match="GET /projects: asks for a membership, and there are no workspaces"):
        async with kernel_client(kernel_app(router, saas_enabled=False)):
            pass
    async with kernel_client(kernel_app(saas_enabled=False)) as client:
        ada = await client.log_in_as("ada@example.com", role="admin")
        for place in ({}, {"X-Workspace-ID": "any"}):
            answer = await ada.get("/webhooks?workspace_id=any" if place else "/webhooks", headers=place)
            assert answer.status_code == 403
            assert "no workspaces" in answer.json()["detail"]
        assert (await client.get("/webhooks")).status_code == 401


@pytest.mark.acceptance("AZ1")
async def test_a_route_of_the_kernel_without_a_policy_fails_the_proof():
    app = kernel_app()

    async def forgotten() -> str:
        return "anything"

    forgotten.__module__ = "app_kernel.auth.routes"
    app.add_api_route("/auth/forgotten", forgotten)
    with pytest.raises(AssertionError, match=r"\[undeclared\] GET /auth/forgotten \(app_kernel\.auth\.routes\."):
        await assert_tenant_isolation(app, roles=[])
