"""A service is killed anywhere in a transaction that does everything at once: all of it is there, or nothing."""

import asyncio
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.audit_killed import Killed
from tests.faults.durable_redis import durable_redis
from tests.faults.figures import figure
from tests.faults.outbox_places import outbox_urls

KILLS = figure(short=6, long=500)
PAIRS = figure(short=["sqlite", "postgres+redis"], long=["sqlite", "postgres", "sqlite+redis", "postgres+redis"])
LONGEST_LIFE = 0.2
"""Seconds between a service's first word and a kill from outside."""
KINDS = {"row", "history", "audit", "event", "usage", "cents", "job"}


async def kill_all(killed: Killed, chance: random.Random) -> None:
    """Services that are killed from outside at a random moment, or by themselves before or right after a commit."""
    await killed.prepare()
    for number in range(KILLS):
        when = ("never", "inside", "after")[number % 3]
        process, log = await killed.start(f"r{number}", when)
        if when == "never":
            await asyncio.sleep(chance.uniform(0, LONGEST_LIFE))
        await killed.end(process, log, kill=when == "never")
    await killed.deliver()


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV3")
@pytest.mark.parametrize("pair", PAIRS)
async def test_of_a_killed_transaction_everything_is_there_or_nothing(
    pair: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """EV3: 6 kills, in the long run 500: row, history, audit, job, webhook event and usage, both ways."""
    backend, _, with_redis = pair.partition("+")
    server = request.getfixturevalue("postgres_url") if backend == "postgres" else None

    def run() -> tuple[Killed, dict[str, set[str]]]:
        with ExitStack() as stack:
            files = (f"sqlite:///{tmp_path / 'app.db'}", f"sqlite:///{tmp_path / 'admin.db'}")
            urls = stack.enter_context(outbox_urls(server)) or files
            redis = stack.enter_context(durable_redis(tmp_path / "redis", "always")) if with_redis else None
            killed = Killed(tmp_path, urls, redis)
            asyncio.run(kill_all(killed, random.Random(20_261_131)))
            return killed, killed.found()

    killed, found = await asyncio.to_thread(run)
    rows = found["row"]
    print(f"{pair}: {KILLS} kills, {len(rows)} transactions, {len(killed.acked)} acknowledged, all of each or nothing")
    assert found.keys() == KINDS
    for kind, ids in found.items():
        assert ids == rows, f"without {kind}: {sorted(rows - ids)[:5]}; {kind} alone: {sorted(ids - rows)[:5]}"
    assert rows >= killed.acked
    assert not rows & killed.undone
    assert killed.undone
    assert len(killed.acked) >= KILLS
