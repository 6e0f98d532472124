"""The test kit that applications use."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import FEATURES, Feature, UserIdentity, get_current_user, require_admin
from app_kernel.core import clock
from app_kernel.core.context import actor_id
from app_kernel.core.errors import KernelError
from app_kernel.core.tables import Table
from app_kernel.db import db_connection
from app_kernel.testing import kernel_client
from tests.small_service import features_without_admin_database, serving, small_app

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

router = APIRouter()


@router.post("/things")
async def make(user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    return await db.save_entity("things", {"name": "gear"})


@router.get("/admin")
async def admin(user: UserIdentity = Depends(require_admin)) -> Any:
    return user.email


async def test_a_client_is_logged_in_with_a_real_account() -> None:
    async with serving(router, api_prefix="/api") as client:
        ada = await client.log_in_as("ada@example.com")
        root = await client.log_in_as("root@example.com", role="admin")
        made = (await ada.post("/api/things")).json()
        assert made["created_by"] == ada.user.id
        assert (await client.post("/api/things")).status_code == 401
        assert (await ada.get("/api/admin")).status_code == 403
        assert (await root.get("/api/admin")).json() == "root@example.com"
        again = await client.log_in_as("ada@example.com")
        assert again.user == ada.user
        assert await client.db.count_entities("things") == 1


async def test_what_a_request_sets_stays_in_the_request() -> None:
    async with serving(router) as client:
        ada = await client.log_in_as("ada@example.com")
        await ada.post("/things")
        assert actor_id() is None
        assert (await client.db.save_entity("things", {}))["created_by"] is None


async def test_the_clock_can_stand_still() -> None:
    async with kernel_client(small_app(router), frozen_at=NOON) as client:
        assert clock.now() == NOON
        ada = await client.log_in_as("ada@example.com")
        client.clock.advance(60)
        assert (await ada.post("/things")).json()["created_at"] == "2026-01-02T12:01:00.000000Z"
        client.clock.advance(25 * 3600)
        assert (await ada.post("/things")).status_code == 401
    assert clock.now() != NOON


async def test_each_client_has_a_database_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    app = small_app(router, database_name=str(tmp_path / "app.db"))
    for _ in range(2):
        async with kernel_client(app) as client:
            await client.db.save_entity("things", {"name": "x"})
            assert await client.db.count_entities("things") == 1
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - an empty directory


async def test_the_configured_database_can_be_asked_for(tmp_path: Path) -> None:
    app = small_app(router, database_name=str(tmp_path / "app.db"))
    for count in (1, 2):
        async with kernel_client(app, database=None) as client:
            await client.db.save_entity("things", {"name": "x"})
            assert await client.db.count_entities("things") == count


async def test_an_admin_database_is_in_memory_too(tmp_path: Path) -> None:
    mine = Feature(name="mine", admin_tables=(Table("audit_logs", {"action": str}),))
    app = small_app(router, features=[*FEATURES, mine], database_name=str(tmp_path / "app.db"))
    for _ in range(2):
        async with kernel_client(app) as client:
            assert await client.admin_db.count_entities("audit_logs") == 0
            await client.admin_db.privileged.save_entity("audit_logs", {"action": "create"})
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - an empty directory


async def test_what_is_not_there_says_what_to_do() -> None:
    async with serving(router, auth_enabled=False) as client:
        with pytest.raises(KernelError, match="frozen_at"):
            _ = client.clock
        with pytest.raises(KernelError, match="log_in_as"):
            _ = client.user
        with pytest.raises(KernelError, match="Accounts"):
            await client.log_in_as("ada@example.com")
    async with serving(router, features=features_without_admin_database()) as client:
        with pytest.raises(KernelError, match="no admin database"):
            _ = client.admin_db


async def test_a_login_that_is_refused_says_what_the_service_answered() -> None:
    async with serving(router) as client:
        await client.log_in_as("ada@example.com")
        with pytest.raises(KernelError, match="401"):
            await client.log_in_as("ada@example.com", password="another-password-77")


def test_without_its_client_library_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['httpx2'] = None\nimport app_kernel.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "install app-kernel[testing]" in done.stderr


async def test_usage_that_waits_for_an_admin_worker_is_not_told_as_none(redis_url: str) -> None:
    app = small_app(router, redis_url=redis_url)
    async with kernel_client(app, redis_url=redis_url) as client:
        with pytest.raises(KernelError, match="leave redis_url out"):
            await client.usage()
    async with kernel_client(app) as client:
        assert await client.usage() == {}


async def test_a_redis_of_the_tests_takes_the_place_of_one_and_needs_it() -> None:
    with pytest.raises(KernelError, match="give its settings a redis_url too"):
        async with kernel_client(small_app(router), redis_url="redis://127.0.0.1:1"):
            pass
