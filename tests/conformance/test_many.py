"""Many entities in one call, upserts by fields, counters, and walks through a whole table."""

import asyncio
import contextlib
import resource
from dataclasses import dataclass

import pytest

from app_kernel.core.errors import (
    AmbiguousMatch,
    EntityDeleted,
    InvalidName,
    InvalidQuery,
    UniqueViolation,
    UnsupportedValue,
)
from app_kernel.core.outbox import Message
from app_kernel.db import create_database
from tests.conformance.cases import many
from tests.conformance.processes import Process
from tests.conformance.steps import check_case, check_case_in_transaction, expect_same
from tests.faults.figures import figure


@pytest.mark.acceptance("DB5")
@pytest.mark.parametrize("case", [*many.UPSERTS, *many.SAVES, *many.READS, *many.DELETES, *many.COUNTERS], ids=str)
async def test_a_verb_over_many_does_what_it_says(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", [*many.SAVES[:6], *many.DELETES[:2], *many.COUNTERS[:1], many.UPSERTS[-1]], ids=str)
async def test_it_does_so_inside_a_transaction_too(place, case):
    await check_case_in_transaction(place, case)


@contextlib.asynccontextmanager
async def taken_back(db):
    """A transaction that fails in the end."""
    with contextlib.suppress(ZeroDivisionError):
        async with db.transaction():
            yield
            raise ZeroDivisionError


async def test_a_transaction_that_fails_takes_every_entity_back(db):
    await db.save_entities("notes", [{"id": "a", "n": 1}, {"id": "b", "n": 1}])
    async with taken_back(db):
        await db.save_entities("notes", [{"id": "a", "n": 2}, {"id": "c", "n": 2, "fresh": 1}])
        await db.increment("notes", "a", "n")
        await db.delete_entities("notes", ["b"])
        await db.save_entity("notes", {"n": 3, "id": "a"}, match_by=["n"])
        assert [row["n"] async for row in db.iterate_entities("notes")] == [3, 2]
    rows = await db.get_entities("notes", ["a", "b", "c"])
    assert [(row["n"], row["_version"]) for row in rows] == [(1, 1), (1, 1)]
    assert await db.count_entities("notes_history") == 2


async def test_a_constraint_refuses_all_and_the_error_names_the_entity(db):
    await db.ensure_fields("people", {"email": str})
    await db.ensure_index("people", ["email"], unique=True)
    await db.save_entity("people", {"id": "a", "email": "a@x"})
    entities = [{"email": f"{number}@x"} for number in range(300)]
    entities[217]["email"] = "a@x"
    with pytest.raises(UniqueViolation, match=r"entities\[217\].*\[email\]") as failure:
        await db.save_entities("people", entities)
    assert failure.value.field == "email"
    assert await db.count_entities("people") == 1
    entities[217]["email"] = "b@x"
    with pytest.raises(UniqueViolation, match=r"entities\[301\]"):
        await db.save_entities("people", [*entities, {"email": "c@x"}, {"email": "b@x"}])
    async with db.transaction():
        with pytest.raises(UniqueViolation, match=r"entities\[1\]"):
            await db.save_entities("people", [{"email": "new@x"}, {"email": "a@x"}])
        await db.save_entities("people", [{"email": "new@x"}])
    assert await db.count_entities("people") == 2


async def test_values_may_change_places_where_they_must_be_unique(db):
    await db.ensure_fields("people", {"seat": int})
    await db.ensure_index("people", ["seat"], unique=True)
    await db.save_entities("people", [{"id": id, "seat": seat} for seat, id in enumerate("abc")])
    with pytest.raises(UniqueViolation, match=r"entities\[0\]"):
        await db.save_entities("people", [{"id": "a", "seat": 1}, {"id": "b", "seat": 0}])
    moved = await db.save_entities("people", [{"id": "a", "seat": 9}, {"id": "b", "seat": 0}, {"id": "a", "seat": 1}])
    assert [row["seat"] for row in moved] == [9, 0, 1]


async def test_ten_thousand_entities_go_in_one_call_and_come_back_equal(db):
    given = [{"n": number, "name": f"n{number}", "tags": [number]} for number in range(10_000)]
    saved = await db.save_entities("notes", given)
    assert [{field: row[field] for field in ("n", "name", "tags")} for row in saved] == given
    ids = [row["id"] for row in saved]
    assert ids == sorted(set(ids))
    assert await db.count_entities("notes_history", "[_action] = ?", ("create",)) == 10_000
    expect_same(await db.get_entities("notes", ids), saved)
    changed = await db.save_entities("notes", [{"id": id, "n": -number} for number, id in enumerate(ids)])
    assert [row["n"] for row in changed] == [-number for number in range(10_000)]
    assert {row["_version"] for row in changed} == {1, 2}
    assert await db.count_entities("notes_history") == 19_999
    assert await db.delete_entities("notes", ids[::2]) == 5000
    assert await db.count_entities("notes") == 5000


async def test_what_is_returned_may_be_changed_and_says_nothing_of_the_others(db):
    saved = await db.save_entities("notes", [{"id": "a", "tags": [1]}, {"id": "a"}, {"id": "a"}])
    saved[0]["tags"].append(2)
    saved[1]["id"] = "other"
    assert saved[2]["tags"] == [1]
    assert (await db.get_entities("notes", ["a"]))[0]["tags"] == [1]


@dataclass
class Part:
    """A dataclass as entities are read and saved by it."""

    item: str
    left: int = 0
    id: str | None = None


async def test_a_dataclass_is_taken_and_given_by_every_verb_over_many(db):
    saved = await db.save_entities(Part, [Part("bolt", 3), Part("nut", id="n")])
    assert [(part.item, part.left) for part in saved] == [("bolt", 3), ("nut", 0)]
    assert saved[1].id == "n"
    assert await db.get_entities(Part, ["n", saved[0].id]) == saved[::-1]
    again = await db.save_entities(Part, [Part("nut", 7), Part("gear")], match_by=["item"])
    assert again[0] == Part("nut", 7, "n")
    assert await db.increment(Part, "n", "left", -2) == Part("nut", 5, "n")
    assert await db.save_entity(Part("nut", 9), match_by=["item"]) == Part("nut", 9, "n")
    assert [part.item async for part in db.iterate_entities(Part, "[left] > ?", (2,))] == ["bolt", "nut"]
    await db.ensure_index(Part, ["item"])
    await db.ensure_fields(Part, {"shelf": str})
    with pytest.raises(UnsupportedValue, match=r"entities\[1\]"):
        await db.save_entities(Part, [Part("x"), Part(5)])
    assert await db.delete_entities(Part, ["n"]) == 1
    assert await db.increment(Part, "n", "left") is None


class Recorded:
    """A recorder that keeps what it hears, and sends one message for each change."""

    def __init__(self):
        self.changes = []

    def __call__(self, change):
        self.changes.append(change)
        return [Message("test", {"id": change.id, "version": change.version, "changes": list(change.changes)})]


@contextlib.asynccontextmanager
async def recorded(place):
    """A handle whose changes are recorded."""
    recorder = Recorded()
    database = create_database(place.url, recorders=[recorder])
    await database.open()
    try:
        yield database.connection(), recorder
    finally:
        await database.close()


async def sent(db):
    """How many messages wait in the outbox."""
    return (await db.privileged.execute("SELECT COUNT(*) FROM [kernel_outbox]"))[0][0]


async def test_recorders_hear_of_every_row_once(place):
    async with recorded(place) as (db, recorder):
        await db.save_entities("notes", [{"id": f"{number:03}", "n": 1} for number in range(250)], comment="why")
        assert [(change.id, change.action, change.version) for change in recorder.changes] == [
            (f"{number:03}", "create", 1) for number in range(250)
        ]
        assert {change.comment for change in recorder.changes} == {"why"}
        recorder.changes.clear()
        await db.save_entities(
            "notes", [{"id": "001", "n": 2}, {"id": "002", "n": 1}, {"id": "new"}, {"id": "001", "n": 3}]
        )
        heard = {(change.id, change.version): change for change in recorder.changes}
        assert set(heard) == {("001", 2), ("new", 1), ("001", 3)}
        assert heard["001", 3].changes == {"n": [2, 3]}
        recorder.changes.clear()
        await db.delete_entities("notes", ["001", "002", "nobody"])
        await db.delete_entities("notes", ["002", "003"], permanent=True)
        await db.increment("notes", "004", "n", 5)
        await db.save_entity("notes", {"n": 6, "t": "x"}, match_by=["n"])
        assert [(change.id, change.action, change.version) for change in recorder.changes] == [
            ("001", "delete", 4),
            ("002", "delete", 2),
            ("002", "purge", 3),
            ("003", "purge", 2),
            ("004", "update", 2),
            ("004", "update", 3),
        ]
        assert recorder.changes[2].before is not None
        assert recorder.changes[2].after is None
        assert await sent(db) == 250 + 3 + 6


async def test_what_is_refused_leaves_no_message(place):
    async with recorded(place) as (db, _):
        await db.ensure_fields("people", {"email": str})
        await db.ensure_index("people", ["email"], unique=True)
        with pytest.raises(UniqueViolation):
            await db.save_entities("people", [{"email": "a"}, {"email": "b"}, {"email": "a"}])
        assert await sent(db) == 0


@pytest.mark.acceptance("DB7")
async def test_fifty_writers_on_two_handles_increment_one_row_and_none_is_lost(place):
    handles = [await place.open(), await place.open()]
    await handles[0].save_entity("counters", {"id": "a", "n": 0})
    rows = await asyncio.gather(*(handles[number % 2].increment("counters", "a", "n") for number in range(50)))
    assert sorted(row["n"] for row in rows) == list(range(1, 51))
    assert sorted(row["_version"] for row in rows) == list(range(2, 52))
    history = await handles[0].find_entities("counters_history", order_by="[_version]")
    assert [(row["_version"], row["n"]) for row in history] == [(n + 1, n) for n in range(51)]


@pytest.mark.acceptance("DB7")
async def test_fifty_upserts_of_one_key_on_two_handles_make_one_row(place):
    handles = [await place.open(), await place.open()]
    saves = (
        handles[number % 2].save_entity("people", {"email": "a@x", f"f{number % 5}": number}, match_by=["email"])
        for number in range(50)
    )
    saved = await asyncio.gather(*saves)
    assert len({row["id"] for row in saved}) == 1
    assert await handles[0].count_entities("people") == 1
    versions = [row["_version"] for row in await handles[1].find_entities("people_history", order_by="[_version]")]
    assert versions == list(range(1, 51))


async def test_batches_that_overlap_in_opposite_orders_all_succeed_and_no_key_is_made_twice(place):
    handles = [await place.open(), await place.open()]
    keys = list(range(120))
    await asyncio.gather(
        *(
            handle.save_entities(
                "stock",
                [{"item": key, "by": number} for key in (keys if number % 2 else reversed(keys))],
                match_by=["item"],
            )
            for number, handle in enumerate(handles * 4)
        )
    )
    rows = await handles[0].find_entities("stock", order_by="[item]")
    assert [row["item"] for row in rows] == keys
    assert {row["_version"] for row in rows} == {8}


async def test_batches_of_the_same_new_ids_in_opposite_orders_all_succeed(place):
    handles = [await place.open(), await place.open()]
    ids = [f"{number:03}" for number in range(120)]
    await asyncio.gather(
        *(
            handle.save_entities("notes", [{"id": id, f"f{number}": 1} for id in (ids if number % 2 else ids[::-1])])
            for number, handle in enumerate(handles * 3)
        )
    )
    rows = await handles[0].find_entities("notes")
    assert [row["id"] for row in rows] == ids
    assert all(row[f"f{number}"] == 1 for row in rows for number in range(6))
    assert {row["_version"] for row in rows} == {6}


async def test_the_loser_of_a_race_for_a_unique_value_changes_the_winners_row(place):
    one, other = await place.open(), await place.open()
    await one.ensure_fields("people", {"email": str})
    await one.ensure_index("people", ["email"], unique=True)
    for number in range(10):
        email = f"{number}@x"
        results = await asyncio.gather(
            one.save_entity("people", {"email": email, "a": 1}),
            other.save_entity("people", {"email": email, "b": 1}, match_by=["email"]),
            return_exceptions=True,
        )
        assert not isinstance(results[1], BaseException)
        assert isinstance(results[0], dict | UniqueViolation)
        assert await one.count_entities("people", "[email] = ?", (email,)) == 1


@pytest.mark.acceptance("DB7")
async def test_processes_that_upsert_and_count_at_the_same_time_lose_nothing_and_double_nothing(place):
    db = await place.open()
    await db.save_entity("counters", {"id": "a", "n": 0})
    processes = [await Process().start("upserting_process", place.url) for _ in range(3)]
    for process in processes:
        assert await process.said() == b"ready\n"
    for process in processes:
        process.tell(b"go\n")
    assert await asyncio.gather(*(process.stop() for process in processes)) == [0, 0, 0]
    assert (await db.get_entity("counters", "a"))["n"] == 75
    assert await db.count_entities("people") == 25


async def walked(*args, **kwargs):
    """What a walk gives, as a list of ids."""
    db, *rest = args
    return [row["id"] async for row in db.iterate_entities(*rest, **kwargs)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 500])
async def test_a_walk_gives_every_entity_that_matches_once_in_the_order_of_ids(db, batch_size):
    await db.save_entities("notes", [{"id": id, "n": n} for n, id in enumerate("gcafbed")])
    await db.delete_entity("notes", "c")
    assert await walked(db, "notes", batch_size=batch_size) == list("abdefg")
    assert await walked(db, "notes", "[n] < ? OR [n] = ?", (2, 6), batch_size=batch_size) == ["d", "g"]
    assert await walked(db, "notes", "[n] IN (?)", [[0, 2, 4]], batch_size=batch_size) == ["a", "b", "g"]
    assert await walked(db, "notes", "[unknown] = ?", (1,), batch_size=batch_size) == []
    assert await walked(db, "nothing", batch_size=batch_size) == []
    history = [row async for row in db.iterate_entities("notes_history", batch_size=batch_size)]
    assert [(row["id"], row["_version"]) for row in history if row["id"] in "bcd"] == [
        ("b", 1),
        ("c", 1),
        ("c", 2),
        ("d", 1),
    ]


async def test_ids_are_walked_in_the_order_of_their_bytes(db):
    ids = ["Z", "a", "é", "\U0001f600", "~", "10", "9", "a b"]
    await db.save_entities("notes", [{"id": id} for id in ids])
    assert await walked(db, "notes", batch_size=2) == sorted(ids, key=str.encode)


async def test_a_table_with_numbers_as_ids_is_walked_in_their_order(place):
    db = await place.open()
    await db.execute(f"CREATE TABLE [papers] ([id] {place.words['serial']}, [t] {place.words['text']})")
    await db.save_entities("papers", [{"t": "x"} for _ in range(12)])
    assert await walked(db, "papers", batch_size=5) == list(range(1, 13))


async def test_the_loop_may_write_and_the_schema_may_change_meanwhile(place):
    db, other = await place.open(), await place.open()
    await db.save_entities("notes", [{"id": f"{number:03}", "n": number} for number in range(50)])
    seen = []
    async for row in db.iterate_entities("notes", batch_size=7):
        seen.append(row["id"])
        if row["n"] % 10 != 5:
            await db.save_entity("notes", {"id": row["id"], "n": row["n"] + 0.5})
        if row["n"] % 10 == 0:
            await other.save_entity("notes", {"id": f"000{row['id']}", f"f{row['id']}": 1})
            await other.delete_entity("notes", f"{int(row['n']) + 5:03}")
    assert seen == sorted(set(seen))
    assert len(seen) >= 45
    assert len([id for id in seen if len(id) == 3]) >= 45


async def test_a_walk_that_is_left_early_holds_nothing(db):
    await db.save_entities("notes", [{"id": str(number)} for number in range(10)])
    walk = db.iterate_entities("notes", batch_size=2)
    async for _ in walk:
        break
    await walk.aclose()
    await db.delete_entities("notes", [str(number) for number in range(10)], permanent=True)
    assert await walked(db, "notes") == []


async def test_a_walk_inside_a_transaction_sees_what_the_transaction_wrote(place):
    db, other = await place.open(), await place.open()
    await db.save_entity("notes", {"id": "a"})
    async with db.transaction():
        await db.save_entities("notes", [{"id": id} for id in "bcd"])
        assert await walked(db, "notes", batch_size=2) == list("abcd")
    assert await walked(other, "notes", batch_size=2) == list("abcd")


@pytest.mark.acceptance("DB2")
async def test_no_clause_escapes_the_page_or_the_filter_on_deleted_entities(db):
    await db.save_entities("notes", [{"id": id, "n": 1} for id in "abc"])
    await db.delete_entity("notes", "b")
    assert await walked(db, "notes", "[n] = 1 OR 1 = 1", batch_size=1) == ["a", "c"]
    for clause in ("[n] = 1) OR (1 = 1", "[n] = 1 --", "[n] = 1; SELECT 1", "[id] IN (SELECT 1)", "[n] = ?"):
        with pytest.raises(InvalidQuery):
            await walked(db, "notes", clause)


@pytest.mark.parametrize("size", [0, -1, 10_001, 1.5, "10", None, True])
async def test_a_batch_size_is_a_number_of_rows(db, size):
    with pytest.raises(InvalidQuery, match="batch_size"):
        db.iterate_entities("notes", batch_size=size)


async def test_a_walk_checks_names_and_clauses_as_a_find_does(db):
    with pytest.raises(InvalidName):
        db.iterate_entities("bad name")
    with pytest.raises(InvalidName):
        db.iterate_entities("kernel_meta")
    for args in (("nothing", "[n] ="), ("nothing", "[n] = ?"), ("nothing", 5), ("nothing", "[n] = ?", "x")):
        with pytest.raises(InvalidQuery):
            await walked(db, *args)


@pytest.mark.slow
async def test_a_walk_keeps_little_in_memory_however_many_there_are(db):
    rows = figure(short=30_000 if db.backend == "mysql" else 60_000, long=60_000)
    for start in range(0, rows, 10_000):
        await db.save_entities("notes", [{"n": start + number, "text": "x" * 200} for number in range(10_000)])
    await walked(db, "notes", "[n] < ?", (1000,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 0
    async for _ in db.iterate_entities("notes"):
        count += 1
    assert count == rows
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 30


async def test_errors_of_upserts_say_what_to_do(db):
    await db.save_entities("people", [{"id": "a", "email": "x"}, {"id": "b", "email": "x"}])
    with pytest.raises(AmbiguousMatch) as failure:
        await db.save_entity("people", {"email": "x"}, match_by=["email"])
    assert failure.value.status == 409
    await db.delete_entity("people", "a")
    with pytest.raises(EntityDeleted):
        await db.save_entity("people", {"id": "a", "email": "y"}, match_by=["email"])
    with pytest.raises(UnsupportedValue, match="expected_version"):
        await db.save_entity("people", {"email": "x"}, match_by=["email"], expected_version="1")
