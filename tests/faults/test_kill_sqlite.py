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
from tests.faults.invariants import assert_sound
from tests.faults.ledger import assert_kept, read_ledger, record
from tests.faults.recorder import ENTITY

SAVES = 10_000
"""In one run of the writer; it is killed before it is through."""
TASKS = 32
KILLS = figure(short=8, long=50)
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
    path, ledger_path = tmp_path / "app.db", tmp_path / "ledger.jsonl"
    chance = random.Random(20_261_122)
    deadline = time.monotonic() + figure(short=SHORT_SECONDS, long=1800)
    kills = checked = 0
    while kills < KILLS and (time.monotonic() < deadline or kills < 2):
        run = f"k{kills}"
        with Child("mixed_writer", path, run, SAVES, TASKS) as child:
            ledger = record(ledger_path, killed_after(child, chance.randrange(SAVES - 1000)))
            assert child.wait() == -signal.SIGKILL, child.errors()
        kills += 1
        assert len(ledger.acks) < SAVES, "the writer was through before it was killed"
        async with connect(f"sqlite:///{path}") as db:
            checked += await assert_kept(db, ledger, run)
            await db.save_entity(ENTITY, {"id": "after", "mark": run})
        assert_sound(path, ENTITY)
    everything = read_ledger(ledger_path)
    async with connect(f"sqlite:///{path}") as db:
        again = 0
        for kill in range(kills):
            again += await assert_kept(db, everything, f"k{kill}")
    print(f"{kills} kills, {len(everything.acks)} acknowledged writes, {again} acknowledged saves compared")
    assert again == checked == len(everything.acked_rows) > 0
    assert kills == KILLS or time.monotonic() >= deadline
