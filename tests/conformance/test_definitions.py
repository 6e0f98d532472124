"""Fields and indexes can be made before they are needed, and clauses use the indexes."""

import asyncio
import contextlib

import pytest

from app_kernel.core.errors import InvalidName, InvalidQuery, SchemaLimit, UniqueViolation
from app_kernel.core.tables import Index
from app_kernel.db.indexes import index_names
from tests.conformance.cases import definitions
from tests.conformance.steps import check_case, check_case_in_transaction


@pytest.mark.parametrize("case", [*definitions.FIELDS, *definitions.INDEXES], ids=str)
async def test_a_definition_does_what_it_says(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", [*definitions.FIELDS[:1], *definitions.FIELDS[4:7], *definitions.INDEXES[:8]], ids=str)
async def test_it_does_so_inside_a_transaction_too(place, case):
    await check_case_in_transaction(place, case)


async def test_a_transaction_takes_its_fields_and_indexes_back(place):
    db = await place.open()
    await db.ensure_fields("people", {"email": str})
    before = await db.execute(place.words["objects"])
    with contextlib.suppress(ZeroDivisionError):
        async with db.transaction():
            await db.ensure_fields("people", {"name": str})
            await db.ensure_fields("fresh", {"name": str})
            await db.ensure_index("people", ["email"], unique=True)
            raise ZeroDivisionError
    if not place.takes_schema_back:
        # What was made stays, without a row; MySQL commits each definition by itself.
        assert await db.find_entities("fresh") == []
        with pytest.raises(UniqueViolation):
            await db.save_entities("people", [{"email": "x"}, {"email": "x"}])
        assert await db.count_entities("people") == 0
        return
    assert await db.execute(place.words["objects"]) == before
    await db.save_entities("people", [{"email": "x"}, {"email": "x"}])
    with pytest.raises(UniqueViolation):
        await db.ensure_index("people", ["email"], unique=True)
    with pytest.raises(InvalidQuery, match="name"):
        await db.ensure_index("people", ["name"])


@pytest.mark.acceptance("DB8")
async def test_many_handles_declare_the_same_at_the_same_time(place):
    handles = [await place.open() for _ in range(4)]
    await asyncio.gather(
        *(handles[number % 4].ensure_fields("people", {"email": str, f"f{number}": int}) for number in range(12))
    )
    await handles[0].save_entities("people", [{"email": f"{number}@x", "f0": number} for number in range(200)])
    await asyncio.gather(*(handle.ensure_index("people", ["email"], unique=True) for handle in handles))
    await asyncio.gather(*(handles[n].ensure_index("people", ["f0"]) for n in range(4)))
    row = await handles[1].save_entity("people", {"email": "new"})
    assert {f"f{number}" for number in range(12)} <= set(row)
    for handle in handles:
        with pytest.raises(UniqueViolation):
            await handle.save_entity("people", {"email": "new"})


@pytest.mark.acceptance("DB8")
async def test_others_write_while_an_index_is_made_and_nothing_is_lost(place):
    db, other = await place.open(), await place.open()
    await db.save_entities("people", [{"email": f"{number}@x"} for number in range(2000)])
    done = asyncio.Event()

    async def write():
        written = 0
        while not done.is_set() or not written:
            await other.save_entity("people", {"email": f"w{written}@x"})
            written += 1
        return written

    writer = asyncio.create_task(write())
    await db.ensure_index("people", ["email"], unique=True)
    done.set()
    written = await writer
    assert await db.count_entities("people") == 2000 + written
    with pytest.raises(UniqueViolation):
        await other.save_entity("people", {"email": "w0@x"})


@pytest.mark.parametrize("inside", [True, False], ids=["in a transaction", "alone"])
async def test_an_index_is_made_also_where_a_table_has_its_name(db, inside):
    await db.save_entity("ux_things_name", {"a": 1})
    await db.save_entity("things", {"name": "n"})
    for _ in range(2):
        async with db.transaction() if inside else contextlib.nullcontext():
            await db.ensure_index("things", ["name"], unique=True)
    with pytest.raises(UniqueViolation):
        await db.save_entity("things", {"name": "n"})
    assert await db.count_entities("ux_things_name") == 1


async def test_an_index_is_refused_where_other_objects_have_every_name_that_it_could_have(db, place):
    index = Index(("name",), unique=True)
    await db.save_entity("things", {"name": "n", "n": 1})
    for name in index_names("things", index):
        await db.execute(place.words["taken"].replace("NAME", name))
    with pytest.raises(InvalidQuery, match="taken by other objects"):
        await db.ensure_index("things", ["name"], unique=True)
    async with db.transaction():
        with pytest.raises(InvalidQuery, match="taken by other objects"):
            await db.ensure_index("things", ["name"], unique=True)


def _watched_definitions(db, monkeypatch):
    """The changes of the schema from now on, each as the statements that it ran."""
    changes = []
    define = db._driver.define

    def watched(unit):
        statements = []
        changes.append(statements)

        def work():
            steps = unit()
            rows = None
            try:
                while True:
                    sql, params = steps.send(rows)
                    statements.append(sql)
                    rows = yield sql, params
            except StopIteration as done:
                return done.value

        return define(work)

    monkeypatch.setattr(db._driver, "define", watched)
    return changes


async def test_many_new_fields_are_made_without_reading_the_table_again_for_each(db, monkeypatch):
    await db.save_entity("wide", {"id": "a", "first": 1})
    changes = _watched_definitions(db, monkeypatch)
    given = {f"f{number}": number for number in range(300)} | {"none": None}
    row = await db.save_entity("wide", {"id": "a", **given})
    assert {field: row[field] for field in given} == given
    (statements,) = changes
    assert sum(sql.startswith("SELECT") for sql in statements) <= 10
    assert sum("kernel_catalog" in sql and sql.startswith("INSERT") for sql in statements) == 1
    assert (await db.get_entity_history("wide", "a"))[-1]["entity"]["f299"] == 299
    await db.save_entity("wide", {"id": "a", "f0": "text", "f1": 1.5, "more": 1, "none": "some"})
    again = await db.get_entity("wide", "a")
    assert [again[field] for field in ("f0", "f1", "f2", "more", "none")] == ["text", 1.5, 2, 1, "some"]


async def test_new_fields_of_one_save_may_not_differ_in_case_only_nor_pass_the_limit(db):
    with pytest.raises(InvalidName, match="case"):
        await db.save_entity("wide", {"name": 1, "NAME": 2})
    with pytest.raises(SchemaLimit):
        await db.save_entity("wide", {f"f{number}": number for number in range(501)})
    assert await db.find_entities("wide") == []
    await db.save_entity("wide", {f"f{number}": number for number in range(400)})


async def test_tasks_that_need_the_same_new_fields_make_them_once(place, monkeypatch):
    db = await place.open()
    changes = _watched_definitions(db, monkeypatch)
    fresh = [
        db.save_entity("fresh", {"id": f"{number}", "a": number, "b": "x", f"own{number % 3}": 1})
        for number in range(60)
    ]
    declared = [db.ensure_fields("fresh", {"a": int, "c": str}) for _ in range(20)]
    rows = await asyncio.gather(*fresh, *declared)
    assert [row["a"] for row in rows[:60]] == list(range(60))
    assert len(changes) <= 6
    assert await db.count_entities("fresh", "[own2] = 1") == 20
    await asyncio.gather(*(db.save_entity("fresh", {"id": f"{number}", "a": "text"}) for number in range(30)))
    assert len(changes) <= 7
    # A definition that fails leaves the next one to try for itself.
    results = await asyncio.gather(
        *(db.save_entity("fresh", {"A": 1}) for _ in range(5)),
        db.save_entity("fresh", {"z": 1}),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == ["InvalidName"] * 5 + ["dict"]


QUERIES = [
    ("[email] = ?", ("7@x",), None, "ix_people_email"),
    ("[email] IN (?)", (["7@x", "8@x"],), None, "ix_people_email"),
    ("[email] > ?", ("999",), "[email]", "ix_people_email"),
    (None, None, "[email]", "ix_people_email"),
    ("[created_by] = ?", ("u7",), None, "ix_people_created_by"),
    ("[created_by] = ?", ("u7",), "[created_at] DESC", "ix_people_created_by"),
    ("[n] = ?", (7,), None, "ix_people_n"),
    ("[n] BETWEEN ? AND ?", (7, 9), None, "ix_people_n"),
    ("[team] = ? AND [n] > ?", ("t7", 5), "[n]", "ix_people_team_n"),
    ("[slug] = ?", ("s7",), None, "ux_people_slug"),
    ("[at] > ?", (None,), None, "ix_people_at"),
    ("[uid] = ?", (None,), None, "ix_people_uid"),
    ("[price] = ?", (0.5,), None, "ix_people_price"),
]


@pytest.fixture
async def indexed(place):
    """A table that is large enough for an index to be worth it."""
    from datetime import UTC, datetime, timedelta
    from uuid import UUID

    from app_kernel.core.context import acting_as

    db = await place.open()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for user in range(40):
        with acting_as(f"u{user}"):
            await db.save_entities(
                "people",
                [
                    {
                        "email": f"{n}@x",
                        "n": n,
                        "team": f"t{n % 50}",
                        "slug": f"s{n}",
                        "at": start + timedelta(hours=n),
                        "uid": UUID(int=n),
                        "price": n / 4,
                    }
                    for n in range(user * 100, user * 100 + 100)
                ],
            )
    for fields in (["email"], ["created_by", "created_at"], ["n"], ["team", "n"], ["at"], ["uid"], ["price"]):
        await db.ensure_index("people", fields)
    await db.ensure_index("people", ["slug"], unique=True)
    await db.execute(f"{place.words['analyze']} [people]")
    return db, {"at": start + timedelta(hours=3990), "uid": UUID(int=7)}


def _told(backend, row):
    """What a row of a plan says; MySQL tells of all indexes that would do, and then of the one that is used."""
    if backend == "mysql":
        return str(row[5 if len(row) == 10 else 6])
    return str(row[-1])


async def test_the_queries_of_clauses_and_orders_use_the_indexes(place, indexed):
    db, values = indexed
    explain = "EXPLAIN QUERY PLAN " if place.backend == "sqlite" else "EXPLAIN "
    asked = []
    driver, fetch = db._driver, db._driver.fetch

    def watched(sql, params, **kwargs):
        asked.append((sql, params))
        return fetch(sql, params, **kwargs)

    driver.fetch = watched
    for clause, given, order, index in QUERIES:
        params = (values[clause[1 : clause.index("]")]],) if given == (None,) else given
        await db.find_entities("people", clause, params, order, limit=None if clause else 5)
        sql, bound = asked[-1]
        plan = "\n".join(_told(place.backend, row) for row in await fetch(explain + sql, bound))
        assert index in plan, (clause, order, plan)
