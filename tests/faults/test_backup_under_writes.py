"""A backup while a service writes: what is restored is a prefix of what was acknowledged, and no write waits for it."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from app_kernel.db import Store, connect
from tests.faults.figures import SOAK, figure

COMMAND = str(Path(sys.executable).with_name("app-kernel"))
ROWS = figure(short=3_000, long=300_000)
RATE = 200
"""Writes in a second."""
BEFORE_SECONDS = figure(short=1, long=20)


class Writer:
    """Writes at a steady rate, each with the next number, and knows how long each took."""

    def __init__(self, db: Store) -> None:
        self._db = db
        self.acknowledged = 0
        self.seconds: list[float] = []

    async def write_until(self, ends: "asyncio.Future[object] | float") -> list[float]:
        """The latencies of the writes until a time is over or something has come to its end."""
        began, first = time.monotonic(), len(self.seconds)
        while not (time.monotonic() - began > ends if isinstance(ends, float) else ends.done()):
            due = began + (len(self.seconds) - first) / RATE
            # A rate is kept by waiting for the clock.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            at = time.perf_counter()
            await self._db.save_entity("ledger", {"id": f"l{self.acknowledged:08}", "n": self.acknowledged})
            self.seconds.append(time.perf_counter() - at)
            self.acknowledged += 1
        return self.seconds[first:]


@pytest.mark.acceptance("DB18")
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_a_backup_is_a_prefix_of_the_ledger_and_writes_go_on(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    if backend == "postgres":
        if not SOAK:
            pytest.skip("the same lines run on SQLite: for the long run")
        url = f"{request.getfixturevalue('postgres_url')}?schema=backup_under_writes_{tmp_path.name.replace('-', '_')}"
    file, restored = tmp_path / "app.akb", f"sqlite:///{tmp_path}/restored.db"
    async with connect(url) as db:
        for at in range(0, ROWS, 5000):
            await db.save_entities("old", [{"id": f"o{n:06}", "n": n} for n in range(at, min(at + 5000, ROWS))])
        writer = Writer(db)
        before = await writer.write_until(float(BEFORE_SECONDS))
        acknowledged = writer.acknowledged
        backup = asyncio.create_task(_run("backup", str(file), "--url", url))
        during = await writer.write_until(backup)
        written = writer.acknowledged
        assert await backup == 0
    assert await _run("restore", str(file), "--url", restored) == 0
    async with connect(restored) as db:
        found = [each["n"] for each in await db.find_entities("ledger", order_by="id")]
        assert await db.count_entities("old") == ROWS
        assert await db.count_entities("ledger_history") == len(found)
    # Nothing is missing in between, and all is there that was acknowledged before the backup began.
    assert found == list(range(len(found)))
    assert acknowledged <= len(found) <= written
    p99, p99_then = _p99(before), _p99(during)
    told = f"{p99 * 1000:.1f} ms of {len(before)} before, {p99_then * 1000:.1f} ms of {len(during)} during a backup"
    print(f"{backend}: p99 of writes {told}")
    assert not SOAK or p99_then < 2 * p99 + 0.002


async def _run(*arguments: str) -> int | None:
    process = await asyncio.create_subprocess_exec(COMMAND, "db", *arguments)
    return await process.wait()


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]
