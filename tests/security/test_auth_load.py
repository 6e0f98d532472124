"""Many logins at once: the process keeps answering, and does not grow."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from app_kernel.auth import TABLES, create_user
from app_kernel.db import create_database
from tests.auth.processes import auth_process
from tests.auth.serving import PASSWORD, settings_of

SOAK = os.environ.get("APP_KERNEL_SOAK") == "1"
LOGINS = 200 if SOAK else 80
"""The full figure takes the time of a soak test; eighty take turns just the same."""
ACCOUNTS = 20
ANSWERS = {200, 401, 429, 503}


async def make_accounts(url: str) -> None:
    database = create_database(url)
    await database.open()
    try:
        db = database.connection()
        await db.privileged.ensure_tables(TABLES)
        config = settings_of(":memory:", name="auth_tests")
        for n in range(ACCOUNTS):
            await create_user(db, f"user{n}@example.com", PASSWORD, config=config)
    finally:
        await database.close()


@pytest.mark.slow
@pytest.mark.acceptance("AU10")
@pytest.mark.usefixtures("real_passwords")
async def test_many_logins_at_once_leave_the_process_answering(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'app.db'}"
    await make_accounts(place)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    waits: list[float] = []
    with auth_process(tmp_path, place) as server:
        async with (
            httpx2.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client,
            httpx2.AsyncClient(base_url=server.url, timeout=60) as onlooker,
        ):
            assert (await onlooker.get("/healthz")).status_code == 200
            before, ended = server.rss(), asyncio.Event()

            async def watch() -> int:
                while not ended.is_set():
                    began = time.perf_counter()
                    assert (await onlooker.get("/healthz")).status_code == 200
                    waits.append(time.perf_counter() - began)
                    await asyncio.sleep(0.005)
                return server.rss()

            async def login(n: int) -> int:
                right = {"email": f"user{n % ACCOUNTS}@example.com", "password": PASSWORD}
                return (await client.post("/auth/login", json=right)).status_code

            watching = asyncio.create_task(watch())
            began = time.perf_counter()
            statuses = await asyncio.gather(*(login(n) for n in range(LOGINS)))
            seconds = time.perf_counter() - began
            ended.set()
            grown = await watching - before
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)] * 1000
    print(
        f"{LOGINS} logins in {seconds:.1f} s: {dict(Counter(statuses))}; /healthz {len(waits)} times, "
        f"p99 {p99:.0f} ms, worst {waits[-1] * 1000:.0f} ms; memory {grown / 2**20:+.0f} MiB; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    assert set(statuses) <= ANSWERS
    assert statuses.count(200) >= 50
    assert grown < 200 * 2**20
    if SOAK:
        assert p99 < 200
