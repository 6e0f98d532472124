"""A transaction is one commit or nothing, belongs to one task, and ends in time."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app_kernel.core.context import acting_as
from app_kernel.core.errors import (
    DatabaseClosed,
    InvalidQuery,
    TransactionInOtherTask,
    TransactionTimeout,
    UniqueViolation,
    UnsupportedValue,
)
from app_kernel.core.tables import Index, Table
from app_kernel.db import connect
from tests.conformance.steps import late


class Broken(Exception):
    """What the code inside a transaction raises."""


async def ids(db, name="notes"):
    return [row["id"] for row in await db.find_entities(name)]


async def test_what_is_done_in_a_transaction_is_kept_together(db, place):
    other = await place.open()
    async with db.transaction() as inside:
        await inside.save_entity("notes", {"id": "a", "x": 1})
        await db.save_entity("notes", {"id": "b", "x": 2})
        await db.save_entity("tasks", {"id": "t", "n": 1})
        assert await ids(db) == ["a", "b"]
        assert await ids(other) == []
    assert await ids(other) == ["a", "b"]
    assert await ids(other, "tasks") == ["t"]
    assert await other.count_entities("notes_history") == 2


async def test_nothing_is_kept_of_a_transaction_that_raises(db, place):
    await db.save_entity("notes", {"id": "old", "x": 0})
    with pytest.raises(Broken):
        async with db.transaction():
            await db.save_entity("notes", {"id": "old", "x": 1})
            with late(db):
                await db.save_entity("notes", {"id": "a", "fresh": "column"})
            await db.save_entity("others", {"id": "b"})
            assert await db.delete_entity("notes", "old") is True
            raise Broken
    for handle in (db, await place.open()):
        row = await handle.get_entity("notes", "old")
        assert (row["x"], row["_version"], "fresh" in row) == (0, 1, False)
        assert await ids(handle) == ["old"]
        assert await ids(handle, "others") == []
        assert await handle.count_entities("notes_history") == 1


async def test_what_was_rolled_back_can_be_made_otherwise(db):
    with pytest.raises(Broken):
        async with db.transaction():
            await db.save_entity("notes", {"id": "a", "x": "text"})
            raise Broken
    assert (await db.save_entity("notes", {"id": "a", "x": 7}))["x"] == 7
    # On MySQL the column of text stays that was made, and then holds both.
    clause, value = ("[x] = ?", 7) if db.backend == "mysql" else ("[x] > ?", 6)
    assert await db.find_entities("notes", clause, (value,)) != []


async def test_every_verb_reads_and_writes_inside_the_transaction(db):
    await db.save_entity("notes", {"id": "old", "x": 1})
    async with db.transaction():
        await db.save_entity("notes", {"id": "a", "x": 2}, comment="made")
        await db.delete_entity("notes", "old")
        assert await db.get_entity("notes", "old") is None
        assert await db.count_entities("notes") == 1
        assert (await db.restore_entity("notes", "old"))["x"] == 1
        assert await db.find_entities("notes", "[x] > ?", (1,), order_by="[x] DESC", limit=1) != []
        await db.execute("UPDATE [notes] SET [x] = [x] + ? WHERE [id] = ?", (40, "a"))
        assert (await db.execute("SELECT [x] FROM [notes] WHERE [id] = ?", ("a",)))[0]["x"] == 42
        assert (await db.find_entities("notes_history", "[id] = ?", ("a",)))[0]["_comment"] == "made"
    assert (await db.get_entity("notes", "a"))["x"] == 42


async def test_a_verb_that_fails_takes_back_only_itself(db):
    await db.execute("CREATE TABLE [notes] ([id] VARCHAR(40) PRIMARY KEY, [name] VARCHAR(40) UNIQUE)")
    async with db.transaction():
        await db.save_entity("notes", {"id": "a", "name": "one"})
        with pytest.raises(UniqueViolation):
            await db.save_entity("notes", {"id": "b", "name": "one"})
        with pytest.raises(UnsupportedValue):
            await db.save_entity("notes", {"id": "c", "name": object()})
        with pytest.raises(InvalidQuery):
            await db.execute("SELECT [nothing] FROM [nowhere]")
        await db.save_entity("notes", {"id": "d", "name": "two"})
    assert await ids(db) == ["a", "d"]
    assert await db.count_entities("notes_history") == 2


async def test_a_transaction_inside_another_is_taken_back_alone(db):
    async with db.transaction():
        await db.save_entity("notes", {"id": "a"})
        with pytest.raises(Broken):
            async with db.transaction():
                with late(db):
                    await db.save_entity("notes", {"id": "b", "other": 1})
                async with db.transaction():
                    await db.save_entity("notes", {"id": "c"})
                raise Broken
        assert await ids(db) == ["a"]
        async with db.transaction():
            if db.backend == "mysql":
                await db.save_entity("notes", {"id": "d"})
            with late(db):
                await db.save_entity("notes", {"id": "d", "other": "text now"})
        await db.save_entity("notes", {"id": "e"})
    assert await ids(db) == ["a", "d", "e"]
    assert (await db.get_entity("notes", "d")).get("other") == (None if db.backend == "mysql" else "text now")


async def test_the_outer_transaction_takes_the_inner_one_back(db):
    with pytest.raises(Broken):
        async with db.transaction():
            async with db.transaction():
                await db.save_entity("notes", {"id": "a"})
            raise Broken
    assert await ids(db) == []


async def test_the_kernels_own_handle_joins_the_same_transaction(db):
    with pytest.raises(Broken):
        async with db.transaction():
            await db.privileged.save_entity("kernel_things", {"id": "a"})
            await db.save_entity("notes", {"id": "a"})
            raise Broken
    assert await ids(db.privileged, "kernel_things") == []
    assert await ids(db) == []


async def test_another_database_has_a_transaction_of_its_own(db, tmp_path):
    async with connect(f"sqlite:///{tmp_path}/other.db") as other:
        async with other.transaction():
            with pytest.raises(Broken):
                async with db.transaction():
                    await other.save_entity("notes", {"id": "kept"})
                    await db.save_entity("notes", {"id": "lost"})
                    raise Broken
            assert await ids(other) == ["kept"]
        assert (await ids(other), await ids(db)) == (["kept"], [])


async def test_a_task_started_inside_may_not_use_the_transaction(db):
    async with db.transaction():
        await db.save_entity("notes", {"id": "a"})
        results = await asyncio.gather(
            db.save_entity("notes", {"id": "b"}), db.get_entity("notes", "a"), return_exceptions=True
        )
        assert [type(result) for result in results] == [TransactionInOtherTask] * 2
        if sys.version_info < (3, 12):
            with pytest.raises(TransactionInOtherTask):
                await asyncio.wait_for(db.save_entity("notes", {"id": "c"}), 5)
        async with asyncio.timeout(5):
            await db.save_entity("notes", {"id": "d"})

        async def opens_another() -> None:
            async with db.transaction():
                await db.save_entity("notes", {"id": "e"})

        with pytest.raises(TransactionInOtherTask):
            await asyncio.create_task(opens_another())
    assert await ids(db) == ["a", "d"]


async def test_a_task_started_inside_may_go_on_once_the_transaction_is_over(db):
    over = asyncio.Event()

    async def later() -> str:
        await over.wait()
        return (await db.save_entity("notes", {"id": "later"}))["id"]

    async with db.transaction():
        await db.save_entity("notes", {"id": "a"})
        task = asyncio.create_task(later())
    over.set()
    assert await task == "later"
    assert await ids(db) == ["a", "later"]


async def test_tasks_that_began_before_are_not_part_of_it(db):
    await db.save_entity("notes", {"id": "0"})
    inside, done = asyncio.Event(), asyncio.Event()

    async def reads_beside() -> list[str]:
        await inside.wait()
        seen = await ids(db)
        done.set()
        return seen

    beside = asyncio.create_task(reads_beside())
    async with db.transaction():
        await db.save_entity("notes", {"id": "a"})
        inside.set()
        await done.wait()
    assert await beside == ["0"]


async def test_writes_beside_an_open_transaction_come_after_or_beside_it_and_are_kept(db):
    await db.save_entity("notes", {"id": "0"})
    inside = asyncio.Event()

    async def writes_beside() -> None:
        await inside.wait()
        await db.save_entity("notes", {"id": "beside"})

    beside = asyncio.create_task(writes_beside())
    with pytest.raises(Broken):
        async with db.transaction():
            await db.save_entity("notes", {"id": "a"})
            inside.set()
            await asyncio.sleep(0)
            raise Broken
    await beside
    assert await ids(db) == ["0", "beside"]


@pytest.mark.acceptance("DB11")
async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(db):
    await db.save_entity("notes", {"id": "0"})
    reached = asyncio.Event()

    async def hangs() -> None:
        async with db.transaction():
            await db.save_entity("notes", {"id": "a"})
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hangs())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(4):
        await db.save_entity("notes", {"id": "b"})
    assert await ids(db) == ["0", "b"]


async def test_tasks_cancelled_at_any_await_leave_all_or_nothing(db):
    await db.save_entity("notes", {"id": "0"})
    await db.save_entity("tasks", {"id": "0"})

    async def both(number: int) -> None:
        async with db.transaction():
            await db.save_entity("notes", {"id": f"n{number}"})
            await db.save_entity("tasks", {"id": f"n{number}"})

    for number in range(40):
        task = asyncio.create_task(both(number))
        for _ in range(number % 20):
            await asyncio.sleep(0)
        if number % 3:
            await asyncio.sleep(0.0005 * (number % 7))
        task.cancel()
        await asyncio.wait([task])
        assert await ids(db) == await ids(db, "tasks")
    assert (await db.save_entity("notes", {"id": "after"}))["id"] == "after"


async def test_a_save_that_is_cancelled_has_its_history_or_was_not_made(db):
    """Also where the server goes on with what it was sent, and nobody hears of it any more."""
    await db.save_entity("notes", {"id": "a", "x": 0})
    for number in range(1, 40):
        task = asyncio.create_task(db.save_entity("notes", {"id": "a", "x": number}))
        for _ in range(number % 10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        # A save of its own, so that whatever was under way has ended.
        row = await db.save_entity("notes", {"id": "a", "x": -number})
        kept = await db.find_entities("notes_history", "[id] = ?", ["a"], order_by="[_version]")
        assert [each["_version"] for each in kept] == list(range(1, row["_version"] + 1))


@pytest.mark.acceptance("DB11")
async def test_a_transaction_that_is_open_too_long_is_rolled_back_and_says_so(db):
    await db.save_entity("notes", {"id": "0"})
    with pytest.raises(TransactionTimeout):
        async with db.transaction(seconds=0.2):
            await db.save_entity("notes", {"id": "a"})
            await asyncio.sleep(0.4)
            await db.save_entity("notes", {"id": "b"})
    with pytest.raises(TransactionTimeout):
        async with db.transaction(seconds=0.2):
            await db.save_entity("notes", {"id": "c"})
            await asyncio.sleep(0.4)
    with pytest.raises(TransactionTimeout):
        async with db.transaction(seconds=0.2):
            await db.save_entity("notes", {"id": "d"})
            await asyncio.sleep(0.4)
            try:
                await db.get_entity("notes", "0")
            except TransactionTimeout:
                await db.get_entity("notes", "0")
    async with asyncio.timeout(4):
        await db.save_entity("notes", {"id": "after"})
    assert await ids(db) == ["0", "after"]


async def test_a_statement_that_runs_past_the_end_is_stopped(db, place):
    with pytest.raises(TransactionTimeout):
        async with db.transaction(seconds=0.3):
            await db.save_entity("notes", {"id": "a"})
            await db.execute(place.words["endless"])
    assert await ids(db) == []


@pytest.mark.parametrize("seconds", [0, -1, "5", None, float("nan"), 10**9, True])
async def test_a_time_limit_is_a_sensible_number(db, seconds):
    with pytest.raises(InvalidQuery):
        async with db.transaction(seconds=seconds):
            raise AssertionError


async def test_a_handle_used_after_its_transaction_works_by_itself(db):
    async with db.transaction() as inside:
        await inside.save_entity("notes", {"id": "a"})
    await inside.save_entity("notes", {"id": "b"})
    assert await ids(db) == ["a", "b"]


async def test_created_by_follows_the_actor_inside_a_transaction(db):
    if db.backend == "mysql":
        await db.ensure_fields("notes", {"x": int})
    async with db.transaction():
        with acting_as("alice"):
            await db.save_entity("notes", {"id": "a"})
        with acting_as("bob"):
            await db.save_entity("notes", {"id": "a", "x": 1})
    row = await db.get_entity("notes", "a")
    assert (row["created_by"], row["updated_by"]) == ("alice", "bob")


async def test_callbacks_come_after_the_commit_and_only_then(db, place):
    other = await place.open()
    heard: list[str] = []
    async with db.transaction():
        db.after_commit(lambda: heard.append("first"))
        await db.save_entity("notes", {"id": "a"})
        with pytest.raises(Broken):
            async with db.transaction():
                db.after_commit(lambda: heard.append("taken back"))
                raise Broken
        async with db.transaction():
            db.after_commit(lambda: heard.append("second"))
        assert heard == []
    assert heard == ["first", "second"]
    assert await ids(other) == ["a"]
    with pytest.raises(Broken):
        async with db.transaction():
            db.after_commit(lambda: heard.append("never"))
            raise Broken
    db.after_commit(lambda: heard.append("at once"))
    assert heard == ["first", "second", "at once"]


async def test_columns_made_inside_are_known_outside_after_the_commit(db, place):
    other = await place.open()
    await db.save_entity("notes", {"id": "a", "x": 1})
    assert (await other.get_entity("notes", "a"))["x"] == 1
    async with db.transaction():
        await db.save_entity("notes", {"id": "a", "y": 2})
        with late(db):
            await db.save_entity("notes", {"id": "b", "x": 2.5})
    if db.backend == "mysql":
        await db.save_entity("notes", {"id": "b", "x": 2.5})
    for handle in (db, other):
        row = await handle.get_entity("notes", "a")
        assert (row["x"], row["y"], type(row["x"])) == (1.0, 2, float)
        await handle.save_entity("notes", {"id": "a", "z": True})
    assert await db.count_entities("notes", "[x] < ? AND [y] = ?", (2, 2)) == 1


async def test_a_transaction_meets_a_schema_that_another_process_changed_just_before(db, place):
    await db.save_entity("notes", {"id": "a", "x": 1})
    await db.get_entity("notes", "a")
    other = await place.open()
    await other.save_entity("notes", {"id": "b", "y": "new"})
    async with db.transaction():
        assert (await db.save_entity("notes", {"id": "c", "x": 3}))["y"] is None
        assert (await db.get_entity("notes", "b"))["y"] == "new"
        await db.save_entity("notes", {"x": 4})
    assert await db.count_entities("notes_history", "[y] IS NULL") == 3


@asynccontextmanager
async def cut_short() -> AsyncIterator[None]:
    """The block is cancelled at its next await, and that is not told further."""
    try:
        async with asyncio.timeout(0):
            yield
    except TimeoutError:
        pass


async def test_a_task_that_is_cancelled_where_its_transaction_is_over_already_ends_as_cancelled(db):
    """What a part cannot be taken back for is no news to whoever is to end: taken for a failure, it would go on."""
    await db.save_entity("notes", {"id": "a"})
    reached = asyncio.Event()

    async def hangs(parts: int) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(db.transaction(seconds=1.0))
            for _ in range(parts):
                await stack.enter_async_context(db.transaction())
            await db.save_entity("notes", {"id": "b"})
            reached.set()
            await asyncio.Event().wait()

    for parts in (0, 2):
        task = asyncio.create_task(hangs(parts))
        await reached.wait()
        reached.clear()
        await asyncio.sleep(1.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task
    assert await ids(db) == ["a"]


async def test_a_part_that_was_cancelled_as_it_began_takes_nothing_with_it(db):
    await db.save_entity("notes", {"id": "a", "x": 1})
    async with db.transaction():
        with pytest.raises(Broken):
            async with db.transaction():
                await db.save_entity("notes", {"id": "a", "x": 99})
                async with cut_short(), db.transaction():
                    await db.save_entity("notes", {"id": "b", "x": 99})
                raise Broken
        assert (await db.get_entity("notes", "a"))["x"] == 1
        await db.save_entity("notes", {"id": "c", "x": 2})
    assert [(row["id"], row["x"]) for row in await db.find_entities("notes")] == [("a", 1), ("c", 2)]


async def test_a_part_that_is_cancelled_as_it_is_taken_back_is_taken_back_with_its_columns(db):
    await db.save_entity("notes", {"id": "a", "x": 1})
    async with db.transaction():
        try:
            async with asyncio.timeout(None) as limit, db.transaction():
                await db.save_entity("notes", {"id": "c", "x": "text", "y": 1})
                limit.reschedule(0)
                raise Broken
        except (Broken, TimeoutError):
            pass
        assert (await db.save_entity("notes", {"id": "b", "x": "other"}))["x"] == "other"
    assert [(row["id"], row["x"]) for row in await db.find_entities("notes")] == [("a", 1), ("b", "other")]
    row = await db.get_entity("notes", "a")
    # On MySQL the column stays that was made for it, empty.
    assert row.get("y") is None
    assert "y" not in row or db.backend == "mysql"


async def test_a_verb_that_is_cancelled_inside_takes_back_what_it_did(db):
    await db.save_entity("notes", {"id": "a", "x": 1})
    async with db.transaction():
        async with cut_short():
            await db.save_entity("notes", {"id": "a", "x": 5})
        async with cut_short():
            await db.save_entity("notes", {"id": "b", "fresh": 5})
        async with cut_short():
            await db.get_entity("notes", "a")
        await db.save_entity("notes", {"id": "c", "x": 3})
    rows = await db.find_entities("notes")
    assert [(row["id"], row["x"], row["_version"]) for row in rows] == [("a", 1, 1), ("c", 3, 1)]
    assert await db.count_entities("notes_history") == 2


@pytest.mark.acceptance("DB11")
async def test_parts_and_verbs_cut_short_at_random_leave_what_the_code_was_told(db):
    """What a part or a verb is not known to have done is not there; what it is known to have done is."""
    chance = random.Random(20_261_124)
    await db.save_entity("notes", {"id": "first"})
    for number in range(30):
        expected = {"first"}
        async with db.transaction(seconds=60):
            for part in range(3):
                inside: set[str] = set()
                try:
                    async with asyncio.timeout(chance.uniform(0, 0.02)), db.transaction():
                        for verb in range(3):
                            inside.add((await db.save_entity("notes", {"id": f"{number}-{part}-{verb}"}))["id"])
                        if chance.random() < 0.3:
                            raise Broken
                    expected |= inside
                except (Broken, TimeoutError):
                    kept = {row["id"] for row in await db.find_entities("notes")} - expected
                    # Cut short in its very last step, a part may be kept, but never half of it.
                    assert kept in (set(), inside if len(inside) == 3 else set())
                    expected |= kept
            assert {row["id"] for row in await db.find_entities("notes")} == expected
        for id in expected - {"first"}:
            await db.delete_entity("notes", id, permanent=True)


async def test_what_follows_a_commit_follows_it_also_when_its_task_is_cancelled(db):
    heard: list[str] = []
    await db.save_entity("notes", {"id": "a"})
    try:
        async with asyncio.timeout(None) as limit, db.transaction():
            await db.save_entity("notes", {"id": "b"})
            db.after_commit(lambda: heard.append("told"))
            limit.reschedule(0)
    except TimeoutError:
        pass
    assert (await ids(db) == ["a", "b"]) is (heard == ["told"])
    assert heard == ["told"]


async def test_a_callback_that_raises_harms_neither_the_others_nor_the_caller(db, caplog):
    heard: list[str] = []
    async with db.transaction():
        await db.save_entity("notes", {"id": "a"})
        db.after_commit(lambda: 1 / 0)
        db.after_commit(lambda: heard.append("told"))
    assert heard == ["told"]
    assert "after_commit_failed" in caplog.text


async def test_tables_declared_inside_a_transaction_belong_to_it(db):
    with pytest.raises(Broken):
        async with db.transaction():
            await db.save_entity("notes", {"id": "a", "x": 1})
            await db.ensure_tables([Table("things", {"name": str}, indexes=(Index(("name",)),))])
            await db.save_entity("things", {"name": "one"})
            raise Broken
    assert (await db.count_entities("things"), await ids(db)) == (0, [])


async def test_many_transactions_at_once_each_keep_their_own(db):
    await db.save_entity("counters", {"id": "c", "n": 0})

    async def step(number: int) -> None:
        async with db.transaction(seconds=20):
            await db.save_entity("notes", {"id": f"{number:03}"})
            await db.save_entity("tasks", {"id": f"{number:03}"})
            if number % 4 == 0:
                raise Broken

    results = await asyncio.gather(*(step(number) for number in range(40)), return_exceptions=True)
    assert sum(isinstance(result, Broken) for result in results) == 10, results
    assert [type(result) for result in results if result is not None and not isinstance(result, Broken)] == []
    kept = [f"{number:03}" for number in range(40) if number % 4]
    assert (await ids(db), await ids(db, "tasks")) == (kept, kept)


async def test_a_closed_database_opens_no_transaction(place):
    db = await place.open()
    await db.save_entity("notes", {"id": "a"})
    await place.close()
    with pytest.raises(DatabaseClosed):
        async with db.transaction():
            raise AssertionError


@asynccontextmanager
async def generator_dependency(db) -> AsyncIterator[None]:
    async with db.transaction():
        yield


async def test_a_transaction_can_be_opened_by_a_context_manager_of_the_applications(db):
    with pytest.raises(Broken):
        async with generator_dependency(db):
            await db.save_entity("notes", {"id": "a"})
            raise Broken
    assert await ids(db) == []


async def test_a_part_that_fails_is_taken_back_whole_whatever_was_cancelled_in_it(place, db):
    chance = random.Random(7)
    await db.save_entity("notes", {"id": "a", "x": 0})
    if not place.takes_schema_back:
        # A part that is not cancelled in time would be refused a field of this table.
        await db.ensure_fields("notes", {f"y{number}": int for number in range(5)})
    cancelled = 0
    for number in range(40):
        async with db.transaction():
            with pytest.raises(Broken):
                async with db.transaction():
                    await db.save_entity("notes", {"id": "a", "x": number + 1})
                    try:
                        async with asyncio.timeout(chance.uniform(0, 0.004)):
                            async with db.transaction():
                                await db.save_entity("notes", {"id": "b", f"y{number % 5}": number})
                    except TimeoutError:
                        cancelled += 1
                    assert (await db.get_entity("notes", "a"))["x"] == number + 1
                    raise Broken
            assert (await db.get_entity("notes", "a"))["x"] == 0
            await db.save_entity("notes", {"id": "c", "x": number})
        assert await ids(db) == ["a", "c"]
    assert cancelled
    assert (await db.get_entity("notes", "c"))["_version"] == 40
