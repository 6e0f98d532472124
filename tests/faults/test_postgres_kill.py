"""Acknowledged writes survive SIGKILL of their process, and what was under way happened whole or not at all."""

import random
import signal
import time
from pathlib import Path

import pytest

from app_kernel.db.database import connect
from tests.db.postgres_tools import Place, place_on
from tests.db.server_tools import until
from tests.faults.children import Child
from tests.faults.figures import figure
from tests.faults.ledger import assert_kept, read_ledger, record
from tests.faults.postgres_invariants import assert_sound
from tests.faults.recorder import ENTITY
from tests.faults.test_kill_sqlite import killed_after

SAVES = 10_000
TASKS = 16
KILLS = figure(short=8, long=200)
SHORT_SECONDS = 40
"""A short run stops here, so that a busy machine kills less often rather than taking longer."""


async def gone(place: Place) -> bool:
    """Whether the server has done with the connections of a killed process."""
    return not await place.backends()


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_no_acknowledged_save_is_lost_when_the_writer_is_killed(postgres_url: str, tmp_path: Path) -> None:
    """Saves by 16 tasks, killed in the middle; 200 times in the long run, in the short one 8 times or 40 s."""
    chance = random.Random(20_261_123)
    deadline = time.monotonic() + figure(short=SHORT_SECONDS, long=3600)
    kills = acked = checked = 0
    async with place_on(postgres_url) as place:
        while kills < KILLS and (time.monotonic() < deadline or kills < 2):
            run = f"k{kills}"
            with Child("postgres_writer", place.url(pool_timeout=60), run, SAVES, TASKS, "a") as child:
                ledger = record(tmp_path / f"{run}.jsonl", killed_after(child, chance.randrange(20, 300)))
                assert child.wait() == -signal.SIGKILL, child.errors()
            kills += 1
            acked += len(ledger.acks)
            await until(lambda: gone(place), 10)
            async with connect(place.url()) as db:
                checked += await assert_kept(db, ledger, run)
                await db.save_entity(ENTITY, {"id": "after", "mark": run})
            await assert_sound(place.onlooker, ENTITY)
        async with connect(place.url()) as db:
            again = 0
            for kill in range(kills):
                again += await assert_kept(db, read_ledger(tmp_path / f"k{kill}.jsonl"), f"k{kill}")
    print(f"{kills} kills, {acked} acknowledged writes, {again} acknowledged saves compared")
    assert again == checked > 0
    assert kills == KILLS or time.monotonic() >= deadline


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_a_process_that_writes_beside_a_killed_one_does_not_notice(postgres_url: str, tmp_path: Path) -> None:
    """One of two writers is killed, once and in the long run 20 times; the other hears of no error."""
    chance = random.Random(20_261_124)
    async with place_on(postgres_url) as place:
        for kill in range(figure(short=1, long=20)):
            doomed, other = f"d{kill}", f"o{kill}"
            with Child("postgres_writer", place.url(pool_timeout=60), other, 500, 8, "b") as survivor:
                with Child("postgres_writer", place.url(pool_timeout=60), doomed, SAVES, 8, "a") as child:
                    killed = record(tmp_path / f"{doomed}.jsonl", killed_after(child, chance.randrange(50, 200)))
                    assert child.wait() == -signal.SIGKILL, child.errors()
                survived = record(tmp_path / f"{other}.jsonl", survivor.lines())
                assert survivor.wait() == 0, survivor.errors()
            assert survived.acks.keys() == survived.intents.keys()
            await until(lambda: gone(place), 10)
            async with connect(place.url()) as db:
                await assert_kept(db, killed, doomed)
                await assert_kept(db, survived, other)
            await assert_sound(place.onlooker, ENTITY)
