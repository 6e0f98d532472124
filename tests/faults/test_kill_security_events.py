"""A service is killed between a change and its security event: both are there, or neither."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest

from app_kernel.db import connect
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS
from tests.faults.event_process import POINTS
from tests.faults.figures import figure
from tests.faults.nursery import Nursery
from tests.security.event_world import TOPIC

KILLS = figure(short=1, long=60)
MOST_EVENTS = 12
KILLED = -9

TABLES = {
    "auth.registered": ("kernel_users", "id"),
    "auth.login": ("kernel_sessions", "user_id"),
    "flag.changed": ("kernel_flags", "id"),
    "api_key.created": ("kernel_api_keys", "id"),
    "workspace.created": ("kernel_workspaces", "id"),
}
SUBJECTS = {"flag.changed": "flag", "api_key.created": "key_id", "workspace.created": "workspace_id"}
"""What the detail of an event calls the row; the others are about an account."""


async def found(url: str) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """The events that were recorded, and those that the rows ask for."""
    async with connect(url) as db:
        bodies = await db.privileged.execute(f"SELECT [body] FROM [kernel_outbox] WHERE [topic] = '{TOPIC}'")
        events = [orjson.loads(row[0]) for row in bodies]
        rows = {
            name: [row[field] async for row in db.privileged.iterate_entities(table)]
            for name, (table, field) in TABLES.items()
        }
    told = Counter(
        (each["name"], each["detail"][SUBJECTS[each["name"]]] if each["name"] in SUBJECTS else each["user_id"])
        for each in events
    )
    return told, Counter((name, subject) for name, subjects in rows.items() for subject in subjects)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("backend", SERVICE_BACKENDS)
async def test_a_kill_leaves_a_change_and_its_event_or_neither(backend: str, point: str, tmp_path: Path):
    """EV3: on either side of the commit, a change of each kind."""
    chance = random.Random(f"{backend} {point}")
    async with BACKENDS[backend]() as place:
        total = 0
        with Nursery() as nursery:
            for _ in range(KILLS):
                at = chance.randint(1, MOST_EVENTS)
                process = nursery.fork(
                    "tests.faults.event_process", [place.url, point, str(at)], {}, tmp_path / "service.log"
                )
                ended = await asyncio.to_thread(process.wait, 60)
                assert ended == KILLED, (tmp_path / "service.log").read_text()
                total += at if point == "after_commit" else at - 1
        told, there = await found(place.url)
    assert told == there
    assert told.total() == total
