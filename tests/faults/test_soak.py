"""Something breaks all the time: what was acknowledged is kept, whole and once, and nothing grows."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.figures import SOAK, figure
from tests.faults.soak_clients import Clients
from tests.faults.soak_faults import Deck
from tests.faults.soak_growth import Growth, Sample, rise, slope
from tests.faults.soak_places import Opener, Running, on_a_file, on_servers
from tests.faults.soak_reconcile import reconcile, settled

SECONDS = float(os.environ.get("APP_KERNEL_SOAK_SECONDS", figure(short="110", long="1800")))
EVERY = figure(short=6.0, long=20.0)
"""Seconds from the begin of one fault to that of the next one, unless that lasts longer."""
FAULT_SECONDS = figure(short=2.0, long=4.0)
LANES, PACE = 6, 0.25
"""Some 20 requests a second."""
WARM_UP_SECONDS = figure(short=3.0, long=20.0)
"""Before the first fault; in the long run what is normal is measured then."""
BACK_SECONDS = figure(short=90.0, long=30.0)
"""At most from the end of a fault to the next write that succeeds; a machine full of other tests takes its time."""
NORMAL_SECONDS = 10.0
"""After this time answers are to take as long as usual again."""
NORMAL_FACTOR, NORMAL_P99 = 3.0, 0.25
"""As usual is so many times as long as before the first fault, and in any case so many seconds."""
SETTLE_SECONDS = 120.0
SEED = 20_261_128

MEASURES: dict[str, Callable[[Sample], float]] = {
    "megabytes": lambda sample: sample.megabytes,
    "resident": lambda sample: sample.resident,
    "descriptors": lambda sample: sample.descriptors,
    "connections": lambda sample: sample.connections,
}
LEAST_LIFE, WARM = figure(short=(20.0, 10.0), long=(120.0, 60.0))
"""Seconds that a process must have lived to be looked at, and those of them in which it may grow."""
_MEGABYTES = figure(short=60.0, long=30.0)
MOST_RISE = {"megabytes": _MEGABYTES, "resident": _MEGABYTES, "descriptors": 30.0, "connections": 30.0}
"""Of any process in its life. Pools are as large as what they are used for, at most 8 and 6 more on PostgreSQL."""
MOST_SLOPE = {"megabytes": 0.5, "resident": 0.5, "descriptors": 0.5, "connections": 0.5}
"""A minute, of the process that is spared in the second half of a long run."""


@dataclass(frozen=True)
class Struck:
    """A fault that is over."""

    name: str
    began: float
    ended: float
    back: float
    """Seconds from its end to the next write that succeeded."""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("OP9")
@pytest.mark.parametrize("opener", [on_servers, on_a_file], ids=["servers", "file"])
async def test_what_was_acknowledged_while_everything_broke_is_kept_whole_and_once(
    opener: Opener, tmp_path: Path
) -> None:
    """Each fault once, one every 6 s; in the long run half an hour with one every 20 s."""
    chance = random.Random(SEED)
    async with opener(tmp_path, chance, FAULT_SECONDS) as running:
        growth = Growth(lambda: [(part.name, part.process.pid) for part in running.fleet.parts if part.process])
        async with working(running, tmp_path / "ledger.jsonl") as clients, looking(growth):
            began = time.monotonic()
            await asyncio.sleep(WARM_UP_SECONDS)
            struck = await strike(running, clients, chance, began)
        waited = await settled(running.place, SETTLE_SECONDS)
        running.fleet.assert_alive()
        assert clients.ledger.wrong == []
        told = await asyncio.to_thread(reconcile, running.place, clients.ledger)
    growth.write(tmp_path / "processes.jsonl")
    statuses = [request.status for request in clients.requests]
    print(
        f"\n{opener.__name__}: {struck[-1].ended - began:.0f} s, {len(struck)} faults, {len(statuses)} requests,"
        f" {sum(status in (200, 201, 409) for status in statuses)} done; {told}; settled {waited:.1f} s after the end"
    )
    assert_back(struck, clients, began)
    assert_no_growth(growth)


@asynccontextmanager
async def working(running: Running, ledger: Path) -> AsyncIterator[Clients]:
    """Clients at work inside the block; at its end each has its last answer."""
    clients = Clients(running.ports, ledger, SEED)
    lanes = asyncio.create_task(clients.run(LANES, PACE))
    try:
        yield clients
    finally:
        clients.enough.set()
        await lanes
        await clients.close()


@asynccontextmanager
async def looking(growth: Growth) -> AsyncIterator[None]:
    """Looks at every process inside the block."""
    watching = asyncio.create_task(growth.watch(figure(short=0.5, long=2.0)))
    try:
        yield
    finally:
        watching.cancel()


async def strike(running: Running, clients: Clients, chance: random.Random, began: float) -> list[Struck]:
    """One fault after the other; after each, writes must succeed again."""
    deck, struck = Deck(running.kinds, chance), list[Struck]()
    while (at := time.monotonic()) - began < SECONDS and (SOAK or len(struck) < len(running.kinds)):
        if SOAK and running.faults.spared is None and at - began > SECONDS / 2:
            running.faults.spared = running.fleet.parts[0]
        fault = deck.draw()
        clients.note(fault=fault.name, at=at)
        await fault.act()
        ended = time.monotonic()
        struck.append(Struck(fault.name, at, ended, await clients.next_write(ended, BACK_SECONDS)))
        await asyncio.sleep(max(0.0, at + EVERY - time.monotonic()))
    return struck


def assert_back(struck: list[Struck], clients: Clients, began: float) -> None:
    """Writes succeeded soon after each fault; in the long run they soon took as long as usual."""
    slowest = max(struck, key=lambda each: each.back)
    print(f"a write succeeded {slowest.back:.2f} s after the end of a fault at the latest ({slowest.name})")
    assert slowest.back < BACK_SECONDS
    if not SOAK:
        return
    usual = p99(clients, began + WARM_UP_SECONDS / 2, struck[0].began)
    after = [
        # What begins within the last second may have to do with the next fault.
        (p99(clients, each.ended + NORMAL_SECONDS, following.began - 1), each.name)
        for each, following in itertools.pairwise(struck)
        if following.began - each.ended > NORMAL_SECONDS + 3
    ]
    worst, name = max(after)
    print(f"p99 {usual * 1000:.0f} ms before the first fault, {worst * 1000:.0f} ms at most 10 s after one ({name})")
    assert worst < max(NORMAL_P99, NORMAL_FACTOR * usual)


def p99(clients: Clients, since: float, until: float) -> float:
    """Of what began between two instants, but for sign-ins, which are slow on purpose."""
    taken = sorted(
        each.seconds for each in clients.requests if since <= each.at < until and not each.kind.startswith("sign")
    )
    assert taken, "nobody asked for anything"
    return taken[int(len(taken) * 0.99)]


def assert_no_growth(growth: Growth) -> None:
    """No process that lived for a while grew by more than pools and caches that fill."""
    stretches = growth.stretches(LEAST_LIFE, WARM)
    assert {name.partition("-")[0] for name, _ in stretches} >= {"web"}
    longest = max(stretches, key=lambda key: len(stretches[key]))
    told = list[tuple[str, float, float]]()
    for measure, of in MEASURES.items():
        risen = {key: rise(samples, of) for key, samples in stretches.items()}
        most = max(risen, key=lambda key: risen[key])
        steady, highest = slope(stretches[longest], of), max(of(each) for found in stretches.values() for each in found)
        told.append((measure, risen[most], steady))
        print(
            f"{measure}: at most {highest:.0f}, {risen[most]:+.1f} in the life of"
            f" {most[0]}, {steady:+.2f} a minute in {longest[0]}, the longest"
        )
    for measure, most_risen, steady in told:
        assert most_risen < MOST_RISE[measure], measure
        assert not SOAK or steady < MOST_SLOPE[measure], measure
