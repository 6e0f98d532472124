"""Databases that older versions made open with this one, with all rows and histories, and go on; also when killed."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import UniqueViolation, VersionConflict
from app_kernel.db import connect
from app_kernel.jobs import jobs_of
from app_kernel.testing import kernel_client
from tests.db.upgrade.make import PASSWORD, USER, as_json, read
from tests.db.upgrade.places import MADE_BY, expected, has_jobs, has_messages, restored
from tests.faults import upgrading_service
from tests.faults.figures import figure
from tests.faults.strace import count_calls, require_strace, traced
from tests.faults.upgrading_service import upgraded

OPENER = "upgrading_service"
SERVED = figure(short=("sqlite_first", "sqlite_jobs", "postgres_jobs"), long=tuple(MADE_BY))


@pytest.fixture(params=MADE_BY)
def old(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(old: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    server = request.getfixturevalue("postgres_url") if old.startswith("postgres") else None
    async with restored(old, tmp_path, server) as url:
        yield url


async def kernel_rows(db: Any, *tables: str) -> dict[str, list[dict[str, Any]]]:
    return {table: await db.privileged.find_entities(table, order_by="[id]") for table in tables}


@pytest.mark.acceptance("DB19")
async def test_every_row_and_every_version_is_there_and_opening_again_changes_nothing(old: str, url: str) -> None:
    found = await read(url)
    assert found == expected(old)
    assert {name: len(kept["history"]) for name, kept in found.items()} == {
        "everything": 4, "parts": 17, "visits": 5, "gone": 5, "books": 3, "tickets": 5, "wide": 1, "places": 2,
    }  # fmt: skip
    assert await read(url) == expected(old)


@pytest.mark.acceptance("DB19")
async def test_saves_and_the_past_go_on_where_the_older_version_stopped(old: str, url: str) -> None:
    kept = expected(old)["everything"]
    async with connect(url) as db:
        changed = await db.save_entity("everything", {"id": "e1", "text": "now", "fresh": [1]}, expected_version=3)
        assert (changed["_version"], changed["fresh"], changed["settings"]["theme"]) == (4, [1], "dark")
        with pytest.raises(VersionConflict):
            await db.save_entity("everything", {"id": "e1", "text": "late"}, expected_version=3)
        history = await db.get_entity_history("everything", "e1")
        assert [entry["version"] for entry in history] == [1, 2, 3, 4]
        assert history[0]["comment"] == "first"
        assert history[3]["changes"] == {"text": [None, "now"], "fresh": [None, [1]]}
        first = await db.get_entity("everything", "e1", as_of=kept["history"][0]["_at"])
        assert {name: as_json(first[name]) for name in kept["rows"][0]} == {
            name: value for name, value in kept["history"][0].items() if name in kept["rows"][0]
        }
        back = await db.revert("everything", "e1", 1)
        assert back["_version"] == 5
        assert (back["price"], back["raw"]) == (first["price"], bytes(range(256)))
        with pytest.raises(UniqueViolation):
            await db.save_entity("parts", {"id": "new", "code": "C-1"})
        assert (await db.restore_entity("parts", "p10"))["_version"] == 3
        adopted = await db.save_entity("books", {"id": "b2", "title": "Touched"})
        assert [(entry['action'], entry['version']) for entry in await db.get_entity_history("books", "b2")] == [
            ("adopt", adopted["_version"] - 1), ("update", adopted["_version"]),
        ]  # fmt: skip
        assert (await db.save_entity("tickets", {"subject": "four"}))["id"] == 4
        assert (await db.save_entity("visits", {"id": "v-str", "at": 3}))["at"] == 3
        assert (await db.save_entity("gone", {"id": "g3", "name": "once more"}))["_version"] == 3


@pytest.mark.acceptance("DB19")
@pytest.mark.parametrize("old", SERVED, indirect=True)
async def test_a_whole_service_starts_on_it_with_its_accounts_jobs_and_messages(old: str, url: str) -> None:
    upgrading_service.ran.clear()
    objects = []
    for _ in range(2):
        async with kernel_client(upgraded(url), database=None) as client:
            answer = await client.post("/auth/login", json={"email": USER, "password": PASSWORD})
            assert (answer.status_code, answer.json()["user"]["role"]) == (200, "admin")
            assert await kernel_rows(client.db, "kernel_webhooks", "kernel_flags") == {
                "kernel_webhooks": [], "kernel_flags": [],
            }  # fmt: skip
            ended = [
                (job.id, job.status) for job in await jobs_of(client.kernel).drain() if job.task_name == "upgrade.waits"
            ]
            assert ended == ([("j1", "completed")] if has_jobs(old) and not objects else [])
            outbox = await client.db.execute("SELECT [id], [body] FROM [kernel_outbox] WHERE [topic] = 'upgrade'")
            assert [tuple(row) for row in outbox] == ([("m1", '{"kept":[1,"ü"]}')] if has_messages(old) else [])
            dead = await client.db.execute("SELECT [id], [reason] FROM [kernel_dead_letters]")
            assert [tuple(row) for row in dead] == ([("d1", "nobody took it")] if has_messages(old) else [])
            columns = await client.db.execute("SELECT [entity], [field], [kind] FROM [kernel_catalog] ORDER BY 1, 2")
            objects.append([tuple(row) for row in columns])
        assert await read(url) == expected(old)
    assert objects[0] == objects[1]
    assert upgrading_service.ran == ([1] if has_jobs(old) else [])


async def assert_as_it_was(name: str, url: str) -> None:
    """After a kill: nothing is lost, the next start makes what is missing, and all is as it was."""
    assert await read(url) == expected(name)
    async with kernel_client(upgraded(url), database=None) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert await kernel_rows(client.db, "kernel_webhooks") == {"kernel_webhooks": []}
        assert (await client.db.save_entity("gone", {"id": "after", "name": "goes on"}))["_version"] == 1


@pytest.mark.soak
@pytest.mark.acceptance("DB19")
@pytest.mark.parametrize(
    ("old", "call", "points"),
    figure(
        short=[("sqlite_first", "pwrite64", 3)],
        long=[("sqlite_first", "pwrite64", 60), ("postgres_first", "sendto", 60)],
    ),
)
async def test_a_service_that_is_killed_while_it_upgrades_leaves_what_the_next_one_completes(
    old: str, call: str, points: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At each of so many calls, spread evenly from opening to serving: writes to the file, or words to the server."""
    require_strace()
    log = tmp_path / "strace.log"
    server = request.getfixturevalue("postgres_url") if old.startswith("postgres") else None
    async with restored(old, tmp_path, server) as url:
        calls = count_calls(OPENER, url, log=log, calls=[call])[call]
    assert calls > 30, "it upgrades nothing"
    unserved = 0
    for point in range(1, points + 1):
        number = max(1, calls * point // (points + 1))
        async with restored(old, tmp_path, server) as url:
            inject = f"{call}:signal=SIGKILL:when={number}"
            with traced(OPENER, url, log=log, calls=[call], inject=inject) as child:
                said = list(child.lines())
                assert child.wait() == -signal.SIGKILL, f"not killed at {call} {number}: {child.errors()}"
            unserved += {"served": True} not in said
            await assert_as_it_was(old, url)
    assert unserved >= points / 2, "it was killed after the upgrade, not in it"


def test_the_dumps_are_of_the_versions_that_are_named() -> None:
    """The first has no outbox yet, and none has the tables of later features."""
    for name in (each for each in MADE_BY if each.startswith("sqlite")):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript((Path(__file__).parent / f"{name}.sql").read_text())
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert ("kernel_outbox" in tables, "kernel_jobs" in tables) == (has_messages(name), has_jobs(name))
        assert not tables & {"kernel_flags", "kernel_webhooks"}
