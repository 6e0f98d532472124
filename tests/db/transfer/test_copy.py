"""A copy holds what its source holds, whatever databases the two are, and goes on from there."""

from itertools import pairwise

import pytest

from app_kernel.core.errors import (
    NotEqual,
    TargetNotEmpty,
    TransferError,
    TransferUnderWay,
    UncopiableTable,
    UniqueViolation,
)
from app_kernel.core.jobs import JOB_TOPIC
from app_kernel.db import connect, create_database
from app_kernel.db.transfer.copying import Copy
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.moves import opened_copy
from app_kernel.db.url import make_driver
from tests.db.transfer.places import ENGINES, copy, everything, fill, told
from tests.faults.figures import figure

# The other three ways between two of them are those of the backups.
CHAINS = figure(
    short=[("sqlite", "postgres", "mysql", "sqlite")],
    long=[("sqlite", "postgres", "mysql", "sqlite"), ("sqlite", "mysql", "postgres", "sqlite")],
)


@pytest.mark.acceptance("DB18")
@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
async def test_everything_comes_through_every_database_and_back(place, chain):
    places = [await place(backend) for backend in chain]
    await fill(places[0])
    there = await everything(places[0])
    for source, target in pairwise(places):
        result = await copy(source, target)
        shown = told(result)
        assert shown["people"][0] == 21
        assert shown["edges_history"][0] == 4
        assert await everything(target) == there
    # The last one goes on where the first one stood.
    async with connect(places[-1]) as db:
        made = await db.save_entity("notes", {"title": "later"})
        assert made["id"] == 6
        with pytest.raises(UniqueViolation):
            await db.save_entity("people", {"email": "7@x.org"})
        with pytest.raises(UniqueViolation):
            await db.execute("INSERT INTO [notes] ([title]) VALUES ('note 1')")
        changed = await db.save_entity("people", {"id": "p07", "age": 70})
        assert changed["_version"] == 2
        assert len(await db.find_entities("people", "[age] = ?", [70])) == 1


@pytest.mark.parametrize("backend", figure(short=["sqlite", "postgres"], long=["sqlite", "postgres", "mysql"]))
async def test_a_copy_into_the_same_kind_of_database_is_equal_too(place, backend):
    source, target = await place(backend), await place(backend)
    await fill(source)
    first = told(await copy(source, target))
    assert await everything(target) == await everything(source)
    # Two copies of one database have the same hashes, and so has a copy in another kind of database.
    assert told(await copy(target, await place("sqlite"))) == first


async def test_between_sqlite_files_the_definitions_of_own_tables_stay(place):
    source, target = await place("sqlite"), await place("sqlite")
    async with connect(source) as db:
        await db.execute("CREATE TABLE [owners] ([id] INTEGER PRIMARY KEY, [name] TEXT NOT NULL DEFAULT 'nobody')")
        await db.execute(
            "CREATE TABLE [dogs] ([id] INTEGER PRIMARY KEY, [owner] INTEGER REFERENCES [owners] ([id]),"
            " [age] INTEGER CHECK ([age] >= 0), [twice] INTEGER GENERATED ALWAYS AS ([age] * 2) STORED)"
        )
        await db.execute("CREATE INDEX [old_dogs] ON [dogs] ([age]) WHERE [age] > 10")
        await db.execute("CREATE VIEW [ages] AS SELECT [age] FROM [dogs]")
        await db.execute(
            "CREATE TRIGGER [born] AFTER INSERT ON [dogs] BEGIN UPDATE [dogs] SET [age] = 0 WHERE [age] IS NULL; END"
        )
        await db.execute("INSERT INTO [owners] ([id]) VALUES (1)")
        await db.execute("INSERT INTO [dogs] ([id], [owner], [age]) VALUES (1, 1, 12)")
    result = await copy(source, target)
    assert result.left_out == []
    async with connect(source) as before, connect(target) as after:
        made = "SELECT [type], [name], [sql] FROM [sqlite_master] WHERE [tbl_name] NOT LIKE 'kernel%' ORDER BY [name]"
        assert await after.execute(made) == await before.execute(made)
        assert (await after.execute("SELECT [twice] FROM [dogs]"))[0][0] == 24


async def test_what_another_database_cannot_be_told_is_listed_by_table(place):
    source, target = await place("sqlite"), await place("postgres")
    async with connect(source) as db:
        await db.execute(
            "CREATE TABLE [dogs] ([id] INTEGER PRIMARY KEY, [name] TEXT DEFAULT 'x', [born] DATETIME,"
            " [weight] NUMERIC, [good] BOOLEAN NOT NULL, [twice] INTEGER GENERATED ALWAYS AS ([id] * 2) STORED)"
        )
        await db.execute("CREATE INDEX [heavy] ON [dogs] ([weight]) WHERE [weight] > 10")
        await db.execute("CREATE VIEW [names] AS SELECT [name] FROM [dogs]")
        await db.execute("INSERT INTO [dogs] ([born], [weight], [good]) VALUES ('2020-01-01', 12.5, 1)")
    result = await copy(source, target)
    found = {(each.what.partition(",")[0], each.name, each.table) for each in result.left_out}
    assert found == {
        ("default", "name", "dogs"),
        ("generated column", "twice", "dogs"),
        ("index", "heavy", "dogs"),
        ("view", "names", "names"),
    }
    async with connect(target) as db:
        assert await db.execute("SELECT [born], [weight], [good], [twice] FROM [dogs]") == [
            ("2020-01-01", 12.5, True, 2)
        ]


async def test_a_column_of_several_kinds_is_refused_with_its_name_and_can_be_left_out(place):
    source, target = await place("sqlite"), await place("postgres")
    async with connect(source) as db:
        await db.save_entity("things", {"name": "x"})
        await db.execute("CREATE TABLE [mixed] ([id] INTEGER PRIMARY KEY, [x])")
        await db.execute("INSERT INTO [mixed] ([x]) VALUES (1), ('one')")
    with pytest.raises(UncopiableTable, match=r"\[x\] of your own table 'mixed' .*--skip mixed"):
        await copy(source, target)
    result = await copy(source, target, skip=("mixed",), start_over=True)
    assert "mixed" not in told(result)
    assert told(result)["things"][0] == 1


async def test_a_row_that_the_target_cannot_hold_is_named(place):
    source, target = await place("sqlite"), await place("postgres")
    async with connect(source) as db:
        await db.save_entities("things", [{"id": f"t{n}", "n": n} for n in range(10)])
        await db.execute("UPDATE [things] SET [n] = 'no number' WHERE [id] = 't7'")
    with pytest.raises(UncopiableTable, match=r"A row of 'things' \(id 't7'\) cannot be stored in postgres"):
        await copy(source, target)


@pytest.mark.parametrize("backend", ["sqlite", "postgres", "mysql"])
async def test_a_target_that_holds_anything_is_refused_and_stays_as_it_is(place, backend):
    source, target = await place("sqlite"), await place(backend)
    await fill(source)
    async with connect(target) as db:
        await db.save_entity("mine", {"id": "1"})
    with pytest.raises(TargetNotEmpty, match="it has mine"):
        await copy(source, target)
    # Nor can it be started over: nothing of it was left by a transfer.
    with pytest.raises(TargetNotEmpty, match="it has mine"):
        await copy(source, target, start_over=True)
    async with connect(target) as db:
        assert await db.count_entities("mine") == 1


async def test_a_message_that_waits_makes_a_target_non_empty(place):
    source, target = await place("sqlite"), await place("sqlite")
    await fill(source)
    database = create_database(target)
    await database.open()
    await database.statements.run("INSERT INTO [kernel_inbox] ([id], [received_at]) VALUES ('t 1', '')")
    await database.close()
    with pytest.raises(TargetNotEmpty, match="kernel_inbox"):
        await copy(source, target)


async def test_a_database_is_not_copied_onto_itself(place):
    source = await place("sqlite")
    await fill(source)
    with pytest.raises(TransferError, match="the same database"):
        await copy(source, source + "&")


@pytest.mark.parametrize("backend", ["sqlite", "postgres", "mysql"])
async def test_nobody_opens_a_half_filled_database_and_only_its_own_copy_goes_on(place, backend):
    source, other, target = await place("sqlite"), await place("sqlite"), await place(backend)
    await fill(source)
    await fill(other)
    async with opened_copy(source, target, ENGINES, Options(), lambda step: None) as under_way:
        await under_way.round()
    with pytest.raises(TransferUnderWay, match="Run the same command again"):
        async with connect(target):
            pass
    # Nor is it a source, or the target of something else.
    with pytest.raises(TransferUnderWay):
        await copy(target, await place("sqlite"))
    with pytest.raises(TargetNotEmpty, match="unfinished copy of something else"):
        await copy(other, target)
    with pytest.raises(TargetNotEmpty, match="with other options"):
        await copy(source, target, new_identity=True)
    result = await copy(source, target)
    assert result.resumed
    assert await everything(target) == await everything(source)


async def test_a_table_without_a_key_begins_anew_after_a_stop(place):
    source, target = await place("sqlite"), await place("postgres")
    async with connect(source) as db:
        await db.execute("CREATE TABLE [events] ([n] INTEGER)")
        values = ", ".join(f"({n % 7})" for n in range(1000))
        await db.execute(f"INSERT INTO [events] ([n]) VALUES {values}")

    def stop(step):
        if (step.table, step.rows) == ("events", 750):
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        async with opened_copy(source, target, ENGINES, Options(), stop) as under_way:
            await under_way.finish()
    result = await copy(source, target)
    assert (result.resumed, told(result)["events"][0]) == (True, 1000)


async def test_starting_over_removes_what_an_unfinished_copy_left(place):
    source, other, target = await place("sqlite"), await place("sqlite"), await place("postgres")
    await fill(source)
    async with connect(other) as db:
        await db.save_entity("alone", {"id": "1"})
    async with opened_copy(source, target, ENGINES, Options(), lambda step: None) as under_way:
        await under_way.round()
    assert set(told(await copy(other, target, start_over=True))) == {"alone", "alone_history"}
    async with connect(target) as db:
        assert await db.find_entities("people") == []


async def test_a_copy_is_the_same_database_to_redis_unless_it_is_to_be_another(place):
    source, same, another = await place("sqlite"), await place("sqlite"), await place("sqlite")
    await fill(source)
    database = create_database(source)
    await database.open()
    await database.statements.run("UPDATE [kernel_relay] SET [value] = 'nonce:7' WHERE [name] = 'batch'")
    await database.statements.run("UPDATE [kernel_outbox] SET [batch] = 7, [sent_at] = 'x' WHERE [id] = 'm0'")
    await database.close()
    await copy(source, same)
    await copy(source, another, new_identity=True)
    assert await memory(same) == (await memory(source))
    identity, sent = await memory(another)
    assert identity["database_id"] != (await memory(source))[0]["database_id"]
    assert identity["batch"] != "nonce:7"
    assert sent == ["m1", "m2"]


async def memory(url: str) -> tuple[dict[str, str], list[str]]:
    """Who a database is to Redis, and its messages."""
    database = create_database(url)
    await database.open()
    try:
        await database.statements.database_id()
        rows = await database.statements.fetch("SELECT [name], [value] FROM [kernel_relay]")
        messages = await database.statements.fetch("SELECT [id] FROM [kernel_outbox] ORDER BY [id]")
        return {str(row[0]): str(row[1]) for row in rows}, [str(row[0]) for row in messages]
    finally:
        await database.close()


@pytest.mark.parametrize(("backend", "options"), [("mysql", {}), ("sqlite", {"jobs_leave": True})])
async def test_jobs_leave_through_the_outbox_where_they_go_on_in_redis(place, backend, options):
    source, target = await place("sqlite"), await place(backend)
    await fill(source)
    database = create_database(source)
    await database.open()
    await database.statements.run("UPDATE [kernel_jobs] SET [status] = 'dead' WHERE [id] = 'job9'")
    await database.close()
    result = await copy(source, target, **options)
    # The dead job, and that a queue is paused.
    assert result.jobs_left == 2
    database = create_database(target)
    await database.open()
    rows = await database.statements.fetch("SELECT [id] FROM [kernel_outbox] WHERE [topic] = ?", (JOB_TOPIC,))
    await database.close()
    assert [row[0] for row in rows] == ["job0"]


async def test_rounds_follow_whatever_changes_meanwhile(place):
    source, target = await place("sqlite"), await place("postgres")
    await fill(source)
    async with opened_copy(source, target, ENGINES, Options(), lambda step: None) as under_way:
        first = await under_way.round()
        assert (first.copied > 0, first.changed) == (True, 0)
        assert (await under_way.round()).changed == 0
        await change(source)
        changed = await under_way.round()
        assert changed.changed > 0
        assert (await under_way.round()).changed == 0
        async with connect(source) as db:
            # No version tells of this one; the look at the end finds it.
            await db.execute("UPDATE [people] SET [age] = 1000 WHERE [id] = 'p10'")
        assert (await under_way.round()).changed == 0
        await under_way.finish()
    assert await everything(target) == await everything(source)
    async with connect(target) as db:
        assert (await db.get_entity("people", "p10"))["age"] == 1000
        assert await db.count_entities("fresh") == 1


async def change(url: str) -> None:
    """What may happen to a database in use."""
    async with connect(url) as db:
        await db.save_entity("people", {"id": "p20", "email": "new@x.org"})
        await db.delete_entity("people", "p08", permanent=True, purge_history=True)
        await db.delete_entity("people", "p09", permanent=True)
        # Two rows change what must be unique with each other.
        await db.save_entity("people", {"id": "p01", "email": "free@x.org"})
        await db.save_entity("people", {"id": "p19", "email": "1@x.org"})
        await db.save_entity("people", {"id": "p01", "email": "19@x.org"})
        await db.save_entity("people", {"id": "p02", "nickname": "a new field"})
        await db.save_entity("people", {"id": "p02", "age": "of another kind"})
        await db.save_entity("fresh", {"id": "1", "n": 1})
        await db.execute("DELETE FROM [tags] WHERE [tag] = 'red'")
        await db.execute("UPDATE [events] SET [n] = 5 WHERE [what] IS NULL")
        await db.execute("UPDATE [notes] SET [size] = 0.5 WHERE [id] = 1")


async def test_somebody_who_writes_to_the_target_is_noticed(place):
    source, target = await place("sqlite"), await place("sqlite")
    await fill(source)
    # The source does not change, so what differs is put right again and again.
    other = make_driver(target)

    def spoil(step):
        if step.doing == "compare":
            spoilt.append(step)

    spoilt: list[object] = []
    async with opened_copy(source, target, ENGINES, Options(), spoil) as under_way:
        await under_way.round()
        await other.open()
        await other.run("CREATE TRIGGER [spoil] AFTER INSERT ON [people] BEGIN DELETE FROM [people]; END", ())
        await other.run("DELETE FROM [people] WHERE [id] = 'p00'", ())
        with pytest.raises(NotEqual, match="'people' does not hold the same"):
            await under_way.finish()
        await other.close()
    assert isinstance(under_way, Copy)
    assert spoilt
