"""A million rows with history from SQLite to a server and back: killed on the way, equal at the end, little memory."""

import asyncio
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_kernel.db import connect
from tests.db.transfer.places import empty_place
from tests.faults.figures import SOAK, figure

COMMAND = str(Path(sys.executable).with_name("app-kernel"))
ROWS = figure(short=20_000, long=1_000_000)
MOST_MEGABYTES = 150


@pytest.mark.acceptance("DB18")
@pytest.mark.skipif(not SOAK, reason="minutes; the same lines run on fewer rows in test_kill_copy and test_copy")
@pytest.mark.parametrize("backend", ["postgres", "mysql"])
async def test_a_million_rows_there_and_back(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(f"{backend}_url")
    first, last = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/last.db"
    async with connect(f"{first}?synchronous=NORMAL") as db:
        for at in range(0, ROWS, 5000):
            numbers = range(at, at + 5000)
            await db.save_entities("orders", [{"n": n, "customer": f"c{n % 1000}", "total": n / 7} for n in numbers])
        await db.ensure_index("orders", ["customer"])
        await db.ensure_index("orders", ["n"], unique=True)
    async with empty_place(backend, tmp_path, server) as between:
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            COMMAND, "db", "copy", first, between, "--no-admin", "--json", stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        # One table is there; the history is next.
        assert (await process.stderr.readline()).startswith(b"copy orders: ")
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        there = await _copy(first, between)
        between_seconds = time.monotonic() - began
        back = await _copy(between, last)
        hashes = [{each["name"]: each["hash"] for each in told["databases"][0]["tables"]} for told in (there, back)]
    assert there["databases"][0]["resumed"]
    assert hashes[0] == hashes[1]
    assert {each["rows"] for each in there["databases"][0]["tables"]} == {0, ROWS}
    # In kilobytes: the largest of all processes that were waited for.
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{backend}: {ROWS} rows, killed once: {between_seconds:.0f} s there, {megabytes:.0f} MB at most")
    assert megabytes < MOST_MEGABYTES


async def _copy(source: str, target: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        COMMAND, "db", "copy", source, target, "--no-admin", "--json", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    return orjson.loads(told)
