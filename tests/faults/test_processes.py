"""Several processes on one SQLite file: nobody is told that it is locked, nothing is lost, versions have no gaps."""

import asyncio
import itertools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app_kernel.db.database import connect
from tests.faults.children import children
from tests.faults.contending_writer import NEW_FIELDS
from tests.faults.figures import SOAK, figure
from tests.faults.invariants import assert_sound

Row = dict[str, Any]


@dataclass
class Outcome:
    """What the processes' ledgers and last words say together."""

    rows: list[Row]
    errors: list[str]
    conflicts: int
    slowest: float

    def add_last_words(self, said: Row) -> None:
        """What a process says when it is through."""
        self.conflicts += said["conflicts"]
        self.slowest = max(self.slowest, said["slowest"])

    def add_ledger(self, path: Path) -> None:
        """What was acknowledged to a process, and what was not."""
        for line in path.read_text().splitlines():
            said = json.loads(line)
            if "row" in said:
                self.rows.append(said["row"])
            else:
                self.errors.append(f"{said['error']}: {said['message']}")

    def versions_of(self, id: str) -> list[int]:
        """The versions that were acknowledged for one row, in order."""
        return sorted(row["_version"] for row in self.rows if row["id"] == id)


async def contend(path: Path, *, processes: int, tasks: int, rounds: int, work: str) -> Outcome:
    """Starts the processes, lets them go at one instant, and waits until all are through."""
    names = [f"p{number}" for number in range(processes)]

    def run() -> Outcome:
        outcome = Outcome([], [], 0, 0.0)
        with children("contending_writer", [(path, name, tasks, rounds, work) for name in names]) as running:
            for child in running:
                child.expect("ready")
            for child in running:
                child.tell("go")
            for child in running:
                outcome.add_last_words(child.expect("finished"))
        for name in names:
            outcome.add_ledger(Path(f"{path}.{name}.jsonl"))
        return outcome

    return await asyncio.to_thread(run)


async def assert_all_there(path: Path, rows: list[Row], entity: str = "items") -> None:
    """Each acknowledged row is in the history, at its version, as it was acknowledged."""
    async with connect(f"sqlite:///{path}") as db:
        history = await db.find_entities(f"{entity}_history")
    found = {(row["id"], row["_version"]): row for row in history}
    for row in rows:
        kept = found.get((row["id"], row["_version"]), {})
        wrong = {name: (value, kept.get(name)) for name, value in row.items() if kept.get(name) != value}
        assert not wrong, f"acknowledged and not kept: {wrong}"
    assert_sound(path, entity)


WRITERS = [pytest.param(2, 8, figure(short=200, long=1500), id="2 processes of 8 tasks")]
WRITERS += [pytest.param(16, 1, 600, id="16 processes")] if SOAK else []


@pytest.mark.soak
@pytest.mark.acceptance("OP12")
@pytest.mark.parametrize(("processes", "tasks", "rounds"), WRITERS)
async def test_sixteen_writers_in_several_processes_never_hear_that_the_database_is_locked(
    tmp_path: Path, processes: int, tasks: int, rounds: int
) -> None:
    """3,200 saves by 2 processes of 8 tasks; in the long run 24,000, and 9,600 by 16 processes."""
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "hot", "mark": "first"})
    outcome = await contend(path, processes=processes, tasks=tasks, rounds=rounds, work="mixed")
    print(f"{processes} processes: {len(outcome.rows)} saves, the slowest took {outcome.slowest:.3f} s")
    assert outcome.errors == []
    assert len(outcome.rows) == processes * tasks * rounds
    assert outcome.versions_of("hot") == list(range(2, processes * tasks * (rounds // 2) + 2))
    assert outcome.slowest < 10, "a writer waited too long for its turn"
    await assert_all_there(path, outcome.rows)


@pytest.mark.soak
@pytest.mark.acceptance("DB7")
async def test_fifty_writers_on_one_row_give_versions_without_gap_or_double(tmp_path: Path) -> None:
    """2 processes of 25 tasks, 10 saves each; in the long run 200."""
    path = tmp_path / "app.db"
    rounds = figure(short=10, long=200)
    outcome = await contend(path, processes=2, tasks=25, rounds=rounds, work="blind")
    assert outcome.errors == []
    assert outcome.versions_of("hot") == list(range(1, 50 * rounds + 1))
    await assert_all_there(path, outcome.rows)


@pytest.mark.soak
@pytest.mark.acceptance("DB7")
async def test_fifty_writers_that_expect_a_version_lose_no_update(tmp_path: Path) -> None:
    """2 processes of 25 tasks add one to a counter twice each (long: 20 times) and read again after VersionConflict."""
    path = tmp_path / "app.db"
    rounds = figure(short=2, long=20)
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "counter", "count": 0, "mark": "first"})
    outcome = await contend(path, processes=2, tasks=25, rounds=rounds, work="counted")
    print(f"{len(outcome.rows)} increments, {outcome.conflicts} stale versions refused")
    assert outcome.errors == []
    assert outcome.conflicts > 0
    assert sorted(row["count"] for row in outcome.rows) == list(range(1, 50 * rounds + 1))
    assert outcome.versions_of("counter") == list(range(2, 50 * rounds + 2))
    await assert_all_there(path, outcome.rows)


@pytest.mark.soak
@pytest.mark.acceptance("DB8")
async def test_processes_that_create_file_entity_and_columns_at_one_instant_lose_no_field(tmp_path: Path) -> None:
    """6 processes, in the long run 20, each adding 20 columns of its own and 20 that all add."""
    path = tmp_path / "app.db"
    processes = figure(short=6, long=20)
    outcome = await contend(path, processes=processes, tasks=2, rounds=2, work="grow")
    assert outcome.errors == []
    assert len(outcome.rows) == processes * 4
    own = {f"p{number}_{field}" for number in range(processes) for field in range(NEW_FIELDS)}
    shared = {f"shared_{field}" for field in range(NEW_FIELDS)}
    async with connect(f"sqlite:///{path}") as db:
        rows = await db.find_entities("grown")
    assert own | shared <= rows[0].keys()
    assert len(rows) == processes * 4
    for row in rows:
        name = row["id"].partition("-")[0]
        given = {f"{name}_{field}": f"{name} {field}" for field in range(NEW_FIELDS)}
        assert {field: row[field] for field in own if row[field] is not None} == given
        assert all(row[f"shared_{field}"] == field for field in range(NEW_FIELDS))
    await assert_all_there(path, outcome.rows, "grown")


@pytest.mark.soak
@pytest.mark.acceptance("OP12")
async def test_processes_that_open_and_close_the_file_all_the_time_do_not_lock_each_other_out(tmp_path: Path) -> None:
    """4 processes open, save 4 rows, close; 12 times each, 250 in the long run. The last to close removes the log."""
    path = tmp_path / "app.db"
    rounds = figure(short=12, long=250)
    outcome = await contend(path, processes=4, tasks=4, rounds=rounds, work="visit")
    assert outcome.errors == []
    assert len(outcome.rows) == 16 * rounds
    assert not os.path.exists(f"{path}-wal"), "the last to close left the log behind"  # noqa: PTH110, ASYNC240
    await assert_all_there(path, outcome.rows)


@pytest.mark.soak
@pytest.mark.acceptance("DB8")
def test_processes_that_make_the_same_new_file_at_one_instant_all_get_it_open(tmp_path: Path) -> None:
    """3 processes and 100 files, 1,000 in the long run: SQLite itself refuses about one in fifty of them."""
    files = figure(short=100, long=1000)
    with children("opener", [(tmp_path, files, 0.03)] * 3) as running:
        for child in running:
            child.expect("ready")
        start = time.time() + 0.1
        for child in running:
            child.tell(str(start))
        errors = [error for child in running for error in child.expect("finished")["errors"]]
    assert errors == []
    assert len(list(tmp_path.glob("*.db"))) == files


@pytest.mark.acceptance("OP12")
async def test_reads_stay_quick_and_the_loop_free_while_another_process_writes(tmp_path: Path) -> None:
    """4,000 saves by 16 tasks of another process, and reads in this one all the while."""
    path = tmp_path / "app.db"
    reads: list[float] = []
    lags: list[float] = []
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "hot", "mark": "first"})
        other = asyncio.create_task(contend(path, processes=1, tasks=16, rounds=250, work="mixed"))
        for turn in itertools.count():
            if other.done():
                break
            began = time.perf_counter()
            row = await (db.get_entity("items", "hot") if turn % 8 else _first(db.find_entities("items", limit=20)))
            between = time.perf_counter()
            assert row is not None
            await asyncio.sleep(0)
            reads.append(between - began)
            lags.append(time.perf_counter() - between)
            if turn % 50 == 0:
                await asyncio.sleep(0.001)
        outcome = await other
    reads.sort()
    lags.sort()
    print(f"{len(reads)} reads: p50 {_at(reads, 0.5)}, p99 {_at(reads, 0.99)}, max {_at(reads, 1)}; lag {_at(lags, 1)}")
    assert outcome.errors == []
    assert len(reads) > 1000
    assert reads[int(len(reads) * 0.99)] < 0.02
    assert reads[-1] < 1


async def _first(find: Any) -> Row | None:
    rows = await find
    return rows[0] if rows else None


def _at(times: list[float], share: float) -> str:
    return f"{times[min(int(len(times) * share), len(times) - 1)] * 1000:.2f} ms"
