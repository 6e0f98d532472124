"""What each part of a service shows of itself."""

import asyncio
import re
from contextvars import Context
from pathlib import Path

import pytest
from fastapi import APIRouter

from app_kernel import FEATURES, Feature
from app_kernel.core.errors import Unavailable, VersionConflict
from app_kernel.core.events import RequestFinished, SecurityEvent
from app_kernel.db.database import create_database
from app_kernel.flags import flag_enabled, set_flag
from app_kernel.stats import list_apps
from app_kernel.testing import KernelClient, kernel_client
from tests.outbox.carrying import opened_on
from tests.small_service import serving, small_app

router = APIRouter()


@router.get("/ping")
async def ping() -> str:
    return "pong"


class Page:
    """What /metrics showed, by name and labels."""

    def __init__(self, text: str) -> None:
        found = re.findall(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
        self._samples = [
            (name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in found
        ]

    def get(self, wanted: str, **labels: str) -> float:
        """The sum of the samples of this name with these labels among theirs."""
        return sum(value for name, its, value in self._samples if name == wanted and labels.items() <= its.items())


async def page(client: KernelClient) -> Page:
    return Page((await client.get("/metrics")).text)


async def test_operations_of_the_store_are_counted_with_their_errors_and_some_are_timed() -> None:
    async with serving(router) as client:
        before = await page(client)
        row = await client.db.save_entity("things", {"name": "a"})
        for _ in range(64):
            await client.db.get_entity("things", row["id"])
        async with client.db.transaction() as db:
            await db.save_entity("things", {"name": "b"})
        with pytest.raises(VersionConflict):
            await client.db.save_entity("things", {"id": row["id"], "name": "c"}, expected_version=7)
        await client.db.execute("SELECT 1")
        after = await page(client)

    def done(shown: Page, operation: str) -> float:
        return shown.get("app_kernel_store_operations_total", database="app", backend="sqlite", operation=operation)

    assert done(after, "read") - done(before, "read") >= 64
    assert done(after, "write") - done(before, "write") >= 3
    assert done(after, "raw") - done(before, "raw") >= 1
    assert done(after, "transaction") - done(before, "transaction") == 1
    assert after.get("app_kernel_store_errors_total", database="app", operation="write", error="VersionConflict") >= 1
    timed = after.get("app_kernel_store_duration_seconds_count", database="app", operation="read")
    assert 4 <= timed <= done(after, "read") / 16 + 1


async def test_writes_that_wait_share_a_commit_and_files_have_a_size(tmp_path: Path) -> None:
    async with kernel_client(small_app(router, database_name=f"sqlite:///{tmp_path}/app.db"), database=None) as client:
        await client.db.save_entity("things", {"n": 0})
        before = await page(client)
        await asyncio.gather(*(client.db.save_entity("things", {"n": n}) for n in range(50)))
        after = await page(client)
        async with client.db.transaction():
            waiting = asyncio.create_task(client.db.save_entity("things", {"n": -1}), context=Context())
            await asyncio.sleep(0.05)
            assert (await page(client)).get("app_kernel_pool_waiting", database="app") >= 1
        await waiting
    writes, commits = (
        after.get(f"app_kernel_sqlite_{name}_total", database="app")
        - before.get(f"app_kernel_sqlite_{name}_total", database="app")
        for name in ("committed_writes", "commits")
    )
    assert writes >= 50 > commits > 0
    assert after.get("app_kernel_sqlite_file_bytes", database="app", file="main") >= 4096
    assert after.get("app_kernel_sqlite_file_bytes", database="admin", file="wal") > 0


async def test_the_pool_tells_who_waits_and_who_waited_in_vain(request: pytest.FixtureRequest) -> None:
    async with opened_on("postgres", request) as (app, _):
        url = request.getfixturevalue("postgres_url")
        database = create_database(f"{url}{'&' if '?' in url else '?'}pool_size=1&pool_timeout=0.2")
        await database.open()
        async with database.connection().transaction():
            assert (database.pool().in_use, database.pool().limit) == (1, 1)
            # A task that knows nothing of the transaction, such as another request.
            waiting = asyncio.create_task(_read(database.connection()), context=Context())
            await asyncio.sleep(0.05)
            assert database.pool().waiting == 1
            with pytest.raises(Unavailable):
                await waiting
        assert (database.pool().timeouts, database.pool().waiting, database.pool().idle) == (1, 0, 1)
        assert database.figures.errors["read", "PoolTimeout"] == 1
        await database.close()
        assert app.pool().timeouts == 0


async def _read(db: object) -> None:
    await list_apps(db)  # type: ignore[arg-type]


async def test_security_events_are_counted_by_name() -> None:
    """What a person who guesses passwords does is a figure."""
    async with serving(router) as client:
        await client.log_in_as("ada@example.com")
        for _ in range(3):
            await client.post("/auth/login", json={"email": "ada@example.com", "password": "wrong-password-1"})
        await client.kernel.emit(SecurityEvent("auth.refresh_reused", None, None, {}))
        shown = await page(client)
    counts = {
        name: shown.get("app_kernel_security_events_total", name=name)
        for name in ("auth.login", "auth.login_failed", "auth.refresh_reused")
    }
    assert counts == {"auth.login": 1, "auth.login_failed": 3, "auth.refresh_reused": 1}


async def test_what_alerts_ask_the_increase_of_is_shown_from_the_start() -> None:
    """Of a series that begins with 1 Prometheus sees no increase, so the first of its kind would alert nobody."""
    async with serving(router) as client:
        text = (await client.get("/metrics")).text
    for series in (
        'app_kernel_security_events_total{name="auth.refresh_reused"} 0.0',
        'app_kernel_dropped_total{topic="admin:traces"} 0.0',
        'app_kernel_dropped_total{topic="admin:audit_events"} 0.0',
        "app_kernel_listener_failures_total 0.0",
    ):
        assert series in text


async def test_flags_and_the_process_tell_how_they_are() -> None:
    async with serving(router, features=[*FEATURES, _failing()]) as client:
        await set_flag(client.db, "beta", enabled=True)
        for _ in range(5):
            assert await flag_enabled(client.db, "beta")
        await client.get("/ping")
        client.kernel.dropped["admin:traces"] += 2
        shown = await page(client)
    assert shown.get("app_kernel_flag_evaluations_total") == 5
    assert shown.get("app_kernel_flags") == 1
    assert shown.get("app_kernel_flags_stale_seconds") == 0
    assert shown.get("app_kernel_ready_processes") == 1
    assert shown.get("app_kernel_listener_failures_total") >= 1
    assert shown.get("app_kernel_dropped_total", topic="admin:traces") == 2
    assert shown.get("app_kernel_info", service="small", database="sqlite") == 1
    assert shown.get("app_kernel_outbox_relay_active") == 1
    assert shown.get("process_resident_memory_bytes") > 0


def _failing() -> Feature:
    def fail(kernel: object, event: object) -> None:
        raise RuntimeError("listener")

    return Feature(name="failing", listeners={RequestFinished: fail})
