"""Acknowledged writes survive SIGKILL of their process, at whatever instant it strikes."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel.db.database import connect
from tests.faults.children import Child
from tests.faults.figures import figure
from tests.faults.invariants import assert_outbox_agrees, assert_sound
from tests.faults.ledger import assert_kept, read_ledger, record
from tests.faults.recorder import ENTITY

SAVES = 10_000
"""In one run of the writer; it is killed before it is through."""
TASKS = 32
KILLS = figure(short=5, long=50)
SHORT_SECONDS = 25
"""A short run stops here, so that a busy machine kills less often rather than taking longer."""


def killed_after(child: Child, acks: int) -> Iterator[dict[str, Any]]:
    """The child's lines; at the given number of acknowledgements it is killed, and what it had said still comes."""
    count = 0
    for line in child.lines():
        yield line
        count += "ack" in line
        if count >= acks and ("ack" in line or "ready" in line):
            child.kill()
            acks = SAVES * 2


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_no_acknowledged_save_is_lost_when_the_writer_is_killed_at_random_moments(tmp_path: Path) -> None:
    """10,000 saves by 32 tasks, killed in the middle; 50 times in the long run, in the short one 8 times or 25 s."""
    path = tmp_path / "app.db"
    chance = random.Random(20_261_122)
    deadline = time.monotonic() + figure(short=SHORT_SECONDS, long=1800)
    kills = acked = checked = 0
    while kills < KILLS and (time.monotonic() < deadline or kills < 2):
        run = f"k{kills}"
        with Child("mixed_writer", path, run, SAVES, TASKS, "a") as child:
            ledger = record(tmp_path / f"{run}.jsonl", killed_after(child, chance.randrange(SAVES - 1000)))
            assert child.wait() == -signal.SIGKILL, child.errors()
        kills += 1
        acked += len(ledger.acks)
        assert len(ledger.acks) < SAVES, "the writer was through before it was killed"
        async with connect(f"sqlite:///{path}") as db:
            checked += await assert_kept(db, ledger, run)
            await db.save_entity(ENTITY, {"id": "after", "mark": run})
        assert_sound(path, ENTITY)
        assert_outbox_agrees(path, ENTITY)
    async with connect(f"sqlite:///{path}") as db:
        again = 0
        for kill in range(kills):
            again += await assert_kept(db, read_ledger(tmp_path / f"k{kill}.jsonl"), f"k{kill}")
    print(f"{kills} kills, {acked} acknowledged writes, {again} acknowledged saves compared")
    assert again == checked > 0
    assert kills == KILLS or time.monotonic() >= deadline


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_a_process_that_writes_beside_a_killed_one_does_not_notice(tmp_path: Path) -> None:
    """One of two writers is killed, 2 times and in the long run 20; the other, with 1,000 saves, hears of no error."""
    path = tmp_path / "app.db"
    chance = random.Random(20_261_123)
    kills = figure(short=2, long=20)
    for kill in range(kills):
        doomed, other = f"d{kill}", f"o{kill}"
        with Child("mixed_writer", path, other, 1000, 8, "b") as survivor:
            with Child("mixed_writer", path, doomed, SAVES, 8, "a") as child:
                killed = record(tmp_path / f"{doomed}.jsonl", killed_after(child, chance.randrange(100, 600)))
                assert child.wait() == -signal.SIGKILL, child.errors()
            survived = record(tmp_path / f"{other}.jsonl", survivor.lines())
            assert survivor.wait() == 0, survivor.errors()
        assert survived.acks.keys() == survived.intents.keys()
        async with connect(f"sqlite:///{path}") as db:
            found = await assert_kept(db, killed, doomed), await assert_kept(db, survived, other)
        assert found == (len(killed.acked_rows), len(survived.acked_rows))
        assert_sound(path, ENTITY)
        assert_outbox_agrees(path, ENTITY)
