"""A million rows with history from SQLite to a server and back: killed on the way, equal at the end, little memory."""

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_kernel.db import connect
from tests.db.transfer.places import empty_place
from tests.faults.figures import SOAK, figure
from tests.faults.soak_growth import memory

COMMAND = str(Path(sys.executable).with_name("app-kernel"))
ROWS = figure(short=20_000, long=1_000_000)
MOST_MEBIBYTES = 170
"""Some 80 are the program's; pages of SQLite are kept by several connections, 16 by each, and 16 sort an index."""


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
        there, held = await _copy(first, between)
        seconds = time.monotonic() - began
        back, held_back = await _copy(between, last)
        seconds_back = time.monotonic() - began - seconds
        hashes = [{each["name"]: each["hash"] for each in told["databases"][0]["tables"]} for told in (there, back)]
    assert there["databases"][0]["resumed"]
    assert hashes[0] == hashes[1]
    assert {each["rows"] for each in there["databases"][0]["tables"]} == {0, ROWS}
    print(
        f"{backend}: {ROWS} rows, killed once: {seconds:.0f} s there and {seconds_back:.0f} s back"
        f", {held:.0f} and {held_back:.0f} MiB at most"
    )
    assert 0 < max(held, held_back) < MOST_MEBIBYTES


async def _copy(source: str, target: str) -> tuple[Any, float]:
    """What the command told, and the mebibytes that it held at most."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "db", "copy", source, target, "--no-admin", "--json", stdout=asyncio.subprocess.PIPE
    )
    watching = asyncio.create_task(_most_mebibytes(process))
    told, _ = await process.communicate()
    assert process.returncode == 0
    return orjson.loads(told), await watching


async def _most_mebibytes(process: asyncio.subprocess.Process) -> float:
    """Until it ends. What waiting for it tells would be no less than this process held when it started the other."""
    most = 0.0
    while process.returncode is None:
        with suppress(FileNotFoundError, ProcessLookupError):
            most = memory(process.pid)["VmHWM"] * 1e6 / 2**20
        await asyncio.sleep(0.1)
    return most
