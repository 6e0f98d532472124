"""Acknowledged writes survive SIGKILL of their process, and what was under way happened whole or not at all."""

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel.db.database import connect
from tests.db.server_places import LOOKING_AT, SharedServer
from tests.db.server_tools import ServerPlace, until
from tests.faults.children import Child
from tests.faults.figures import figure
from tests.faults.ledger import assert_kept, read_ledger, record
from tests.faults.own_server import OwnServer
from tests.faults.recorder import ENTITY
from tests.faults.server_invariants import assert_outbox_agrees, assert_sound
from tests.faults.test_kill_sqlite import killed_after

SAVES = 10_000
TASKS = 16
KILLS = figure(short={"postgres": 8, "mysql": 2}, long={"postgres": 200, "mysql": 200})
CRASHES = figure(short={"postgres": 1, "mysql": 1}, long={"postgres": 50, "mysql": 200})
"""Of the server itself."""
SHORT_SECONDS = 40
"""A short run stops here, so that a busy machine kills less often rather than taking longer."""


async def gone(place: ServerPlace) -> bool:
    """Whether the server has done with the connections of a killed process."""
    return not await place.backends()


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_no_acknowledged_save_is_lost_when_the_writer_is_killed(server: SharedServer, tmp_path: Path) -> None:
    """Saves by 16 tasks, killed in the middle; 200 times in the long run, in the short one 8 times or 40 s."""
    chance = random.Random(20_261_123)
    deadline = time.monotonic() + figure(short=SHORT_SECONDS, long=3600)
    kills = acked = checked = 0
    async with server.place() as place:
        while kills < KILLS[server.name] and (time.monotonic() < deadline or kills < 2):
            run = f"k{kills}"
            with Child("server_writer", place.url(pool_timeout=60), run, SAVES, TASKS, "a") as child:
                ledger = record(tmp_path / f"{run}.jsonl", killed_after(child, chance.randrange(20, 300)))
                assert child.wait() == -signal.SIGKILL, child.errors()
            kills += 1
            acked += len(ledger.acks)
            await until(lambda: gone(place), 10)
            async with connect(place.url()) as db:
                checked += await assert_kept(db, ledger, run)
                await db.save_entity(ENTITY, {"id": "after", "mark": run})
            await assert_sound(place, ENTITY)
            await assert_outbox_agrees(place, ENTITY)
        async with connect(place.url()) as db:
            again = 0
            for kill in range(kills):
                again += await assert_kept(db, read_ledger(tmp_path / f"k{kill}.jsonl"), f"k{kill}")
    print(f"{kills} kills, {acked} acknowledged writes, {again} acknowledged saves compared")
    assert again == checked > 0
    assert kills == KILLS[server.name] or time.monotonic() >= deadline


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_a_process_that_writes_beside_a_killed_one_does_not_notice(server: SharedServer, tmp_path: Path) -> None:
    """One of two writers is killed, once and in the long run 20 times; the other hears of no error."""
    chance = random.Random(20_261_124)
    async with server.place() as place:
        for kill in range(figure(short=1, long=20)):
            doomed, other = f"d{kill}", f"o{kill}"
            with Child("server_writer", place.url(pool_timeout=60), other, 500, 8, "b") as survivor:
                with Child("server_writer", place.url(pool_timeout=60), doomed, SAVES, 8, "a") as child:
                    killed = record(tmp_path / f"{doomed}.jsonl", killed_after(child, chance.randrange(50, 200)))
                    assert child.wait() == -signal.SIGKILL, child.errors()
                survived = record(tmp_path / f"{other}.jsonl", survivor.lines())
                assert survivor.wait() == 0, survivor.errors()
            assert survived.acks.keys() == survived.intents.keys()
            await until(lambda: gone(place), 10)
            async with connect(place.url()) as db:
                await assert_kept(db, killed, doomed)
                await assert_kept(db, survived, other)
            await assert_sound(place, ENTITY)
            await assert_outbox_agrees(place, ENTITY)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_no_acknowledged_save_is_lost_when_the_server_is_killed(own: OwnServer, tmp_path: Path) -> None:
    """Of saves by 16 tasks, each row with its history and its message: all or nothing."""
    chance = random.Random(20_261_125)
    crashes = CRASHES[own.name]
    for crash in range(crashes):
        run = f"c{crash}"
        with Child("server_writer", own.url, run, SAVES, TASKS, "a") as child:
            ledger = record(tmp_path / f"{run}.jsonl", _crashing(own, child, chance.randrange(20, 300)))
            assert child.wait() != 0, "the writer did not hear of it"
        await asyncio.to_thread(own.start_again)
        assert len(ledger.acks) >= 20
        async with connect(own.url) as db:
            await assert_kept(db, ledger, run)
            await db.save_entity(ENTITY, {"id": "after", "mark": run})
        async with LOOKING_AT[own.name](own.url) as place:
            await assert_sound(place, ENTITY)
            messages = await assert_outbox_agrees(place, ENTITY)
    assert messages >= 20 * crashes


def _crashing(server: OwnServer, child: Child, acks: int) -> Iterator[dict[str, Any]]:
    """The child's lines; at the given number of acknowledgements its server is killed."""
    count = 0
    for line in child.lines():
        yield line
        count += "ack" in line
        if count == acks and "ack" in line:
            server.end(server.as_a_crash)
