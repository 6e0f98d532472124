"""Four processes and one Redis: together they let through what one would."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app_kernel.core.clock import new_id

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 4
PARALLEL = 500
LIMIT = 100
# The full figure is a minute.
WINDOW = 60 if os.environ.get("APP_KERNEL_SOAK") == "1" else 2
SLACK = 0.1 * WINDOW


class Hit(NamedTuple):
    """A hit as the process saw it that made it; Redis counted it at some instant between the two."""

    sent: float
    answered: float
    allowed: bool
    remaining: int
    reset_after: float


@asynccontextmanager
async def processes(plan: dict[str, Any]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """The processes, all of them connected and waiting for the instant to begin."""
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "limit": 1 << 20}
    command = [sys.executable, "-m", "tests.rate_limit.many_hits", json.dumps(plan)]
    children = [await asyncio.create_subprocess_exec(*command, cwd=ROOT, **pipes) for _ in range(PROCESSES)]
    try:
        async with asyncio.timeout(60):
            for child in children:
                assert await child.stdout.readline() == b"ready\n"
        yield children
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
            await child.wait()


@pytest.mark.soak
@pytest.mark.acceptance("RL2")
async def test_four_processes_at_the_edges_of_windows_let_through_what_one_would(redis_url: str) -> None:
    # At once; just before that window ends; just after; in the middle of the next; at its edge.
    bursts = [0, WINDOW - SLACK, WINDOW + 2 * SLACK, 1.6 * WINDOW, 2 * WINDOW, 2.3 * WINDOW + 2 * SLACK]
    plan = {"redis_url": redis_url, "prefix": f"test:{new_id()}:", "limit": LIMIT, "window": WINDOW}
    plan |= {"parallel": PARALLEL, "bursts": bursts}
    async with processes(plan) as children:
        begin = time.time() + 0.2
        for child in children:
            child.stdin.write(f"{begin}\n".encode())
        rounds: list[list[Hit]] = []
        async with asyncio.timeout(60 + 4 * WINDOW):
            for _ in bursts:
                lines = [await child.stdout.readline() for child in children]
                rounds.append([Hit(*hit) for line in lines for hit in json.loads(line)])
        async with asyncio.timeout(30):
            assert [await child.wait() for child in children] == [0] * PROCESSES

    assert [len(each) for each in rounds] == [PROCESSES * PARALLEL] * len(bursts)
    assert sum(hit.allowed for hit in rounds[0]) == LIMIT
    assert_never_more_than_the_limit(rounds)
    assert_no_room_is_left_unused(rounds)
    assert_waits_are_true(rounds)
    # Each of the first hundred was told another number, from all the processes together.
    assert sorted(hit.remaining for hit in rounds[0] if hit.allowed) == list(range(LIMIT))


def assert_never_more_than_the_limit(rounds: list[list[Hit]]) -> None:
    """Redis counted the n-th hit not before the n-th was sent, and not after the n-th was answered."""
    allowed = [hit for hit in chain(*rounds) if hit.allowed]
    sent = sorted(hit.sent for hit in allowed)
    answered = sorted(hit.answered for hit in allowed)
    too_close = [n for n in range(len(allowed) - LIMIT) if answered[n + LIMIT] - sent[n] < WINDOW]
    assert too_close == []


def assert_no_room_is_left_unused(rounds: list[list[Hit]]) -> None:
    """A hit is refused only if a full number of them may lie in the window before it."""
    allowed = [hit for hit in chain(*rounds) if hit.allowed]
    for refused in [hit for hit in chain(*rounds) if not hit.allowed][::97]:
        before = sum(hit.sent <= refused.answered and hit.answered > refused.sent - WINDOW for hit in allowed)
        assert before >= LIMIT, refused


def assert_waits_are_true(rounds: list[list[Hit]]) -> None:
    """A refused hit is told when the oldest hit that counts then leaves the window, within a second."""
    oldest = min(hit.sent for hit in rounds[0] if hit.allowed)
    refused = [hit for hit in rounds[1] if not hit.allowed and hit.answered < oldest + WINDOW]
    assert refused, "the machine was too slow to ask before the window ended"
    for hit in refused:
        assert abs(hit.answered + hit.reset_after - (oldest + WINDOW)) <= 1, hit
    assert all(0 < hit.reset_after <= WINDOW for hit in chain(*rounds))
