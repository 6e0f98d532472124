"""SIGKILL wherever SQLite writes or asks the disk to keep: what was acknowledged is kept, the rest is all or none."""

import signal
from pathlib import Path

import pytest

from app_kernel.db.database import connect
from tests.faults.children import Child
from tests.faults.figures import figure
from tests.faults.invariants import assert_outbox_agrees, assert_sound
from tests.faults.ledger import assert_kept, record
from tests.faults.recorder import ENTITY
from tests.faults.scripted_writer import PAIRED
from tests.faults.strace import SYNCS, count_calls, require_strace, traced


async def kill_at(directory: Path, call: str, number: int) -> int:
    """Runs the script, killed at its N-th call; gives how many writes had been acknowledged."""
    path = directory / f"{call}-{number}.db"
    inject = f"{call}:signal=SIGKILL:when={number}"
    with traced("scripted_writer", path, log=directory / "strace.log", calls=[call], inject=inject) as child:
        ledger = record(directory / f"{call}-{number}.jsonl", child.lines())
        assert child.wait() == -signal.SIGKILL, f"not killed at {call} {number}: {child.errors()}"
    async with connect(f"sqlite:///{path}") as db:
        await assert_kept(db, ledger, "s")
        pair = [row["name"] for row in await db.find_entities(PAIRED)]
        assert pair in ([], ["the other's twin", "one of two"]), "a transaction was kept in part"
        assert (await db.save_entity(ENTITY, {"id": "after", "name": "goes on"}))["_version"] == 1
    assert_sound(path, ENTITY, PAIRED)
    assert_outbox_agrees(path, ENTITY, PAIRED)
    return len(ledger.acks)


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_a_kill_at_any_sync_leaves_acknowledged_saves_and_whole_units_only(tmp_path: Path) -> None:
    """At each fdatasync and fsync of the script from opening to closing; in the short run at every third."""
    require_strace()
    counts = count_calls("scripted_writer", tmp_path / "whole.db", log=tmp_path / "strace.log", calls=SYNCS)
    points = [(call, number) for call in SYNCS for number in range(1, counts[call] + 1)]
    assert len(points) > 15, f"the script syncs only {counts}"
    chosen = points[:: figure(short=3, long=1)]
    acked = [await kill_at(tmp_path, call, number) for call, number in chosen]
    print(f"{len(acked)} of {len(points)} kills at a sync, {sum(acked)} acknowledged writes found")
    assert acked[0] == 0
    assert max(acked) > 10


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
async def test_a_kill_at_any_write_to_the_file_leaves_acknowledged_saves_and_whole_units_only(tmp_path: Path) -> None:
    """At each pwrite64 of the script, so between the pages of one commit too; in the short run at every 25th."""
    require_strace()
    counts = count_calls("scripted_writer", tmp_path / "whole.db", log=tmp_path / "strace.log", calls=["pwrite64"])
    assert counts["pwrite64"] > 100
    chosen = range(1, counts["pwrite64"] + 1, figure(short=25, long=1))
    acked = [await kill_at(tmp_path, "pwrite64", number) for number in chosen]
    print(f"{len(acked)} of {counts['pwrite64']} kills at a write, {sum(acked)} acknowledged writes found")
    assert max(acked) > 10


async def test_the_ledger_and_the_invariants_notice_what_vanished(tmp_path: Path) -> None:
    """The checks themselves: rows taken out of the file behind the store's back are found missing."""
    path = tmp_path / "app.db"
    with Child("scripted_writer", path) as child:
        child.tell("go")
        ledger = record(tmp_path / "ledger.jsonl", child.lines())
        assert child.wait() == 0, child.errors()
    async with connect(f"sqlite:///{path}") as db:
        assert await assert_kept(db, ledger, "s") == len(ledger.acked_rows) == 13
        assert_sound(path, ENTITY, PAIRED)
        assert assert_outbox_agrees(path, ENTITY, PAIRED) == 19
        await db.execute("DELETE FROM items_history WHERE id = 'g1' AND _version = 1")
        with pytest.raises(AssertionError, match="is lost"):
            await assert_kept(db, ledger, "s")
        with pytest.raises(AssertionError, match=r"not 1\.\.n"):
            assert_sound(path, ENTITY)
        await db.execute("DELETE FROM items_history WHERE id = 'g1'")
        with pytest.raises(AssertionError, match="not as their history"):
            assert_sound(path, ENTITY)
        with pytest.raises(AssertionError, match="the outbox and the histories differ"):
            assert_outbox_agrees(path, ENTITY, PAIRED)
