"""Fields and indexes can be made before they are needed, and clauses use the indexes."""

import asyncio
import contextlib

import pytest

from app_kernel.core.errors import InvalidQuery, UniqueViolation
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
    await db.execute("ANALYZE [people]")
    return db, {"at": start + timedelta(hours=3990), "uid": UUID(int=7)}


async def test_the_queries_of_clauses_and_orders_use_the_indexes(place, indexed):
    db, values = indexed
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN "}[place.backend]
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
        plan = "\n".join(str(row[-1]) for row in await fetch(explain + sql, bound))
        assert index in plan, (clause, order, plan)
