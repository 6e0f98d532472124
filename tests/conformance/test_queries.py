"""Clauses, orders and pages find the same on every backend."""

from decimal import Decimal

import pytest

from app_kernel.core.errors import InvalidQuery
from tests.conformance.cases.clauses import CLAUSES, REFUSED, ROWS
from tests.conformance.cases.pages import ORDERS, PAGES, REFUSED_ORDERS, REFUSED_PAGES


@pytest.fixture
async def things(db):
    """The rows of the cases, with one more that is deleted and would match nearly everything."""
    for id, fields in ROWS.items():
        await db.save_entity("things", {"id": id, **fields})
    await db.save_entity("things", {"id": "aa", **ROWS["a"]})
    await db.delete_entity("things", "aa")
    return db


def ids_of(rows):
    return " ".join(row["id"] for row in rows)


def dozens(cases):
    """Looks change nothing, so a database that took longer to fill serves a dozen of them."""
    parts = [cases[start : start + 12] for start in range(0, len(cases), 12)]
    return pytest.mark.parametrize("cases", parts, ids=[f"{12 * number}-" for number in range(len(parts))])


@dozens(CLAUSES)
async def test_a_clause_finds_and_counts_its_rows(things, cases):
    for clause, params, expected in cases:
        assert ids_of(await things.find_entities("things", clause, params)) == expected, (clause, params)
        count = await things.count_entities("things", clause, list(params))
        assert count == len(expected.split()), (clause, params)


@dozens(REFUSED)
async def test_a_clause_that_makes_no_sense_is_refused(things, cases):
    for clause, params in cases:
        with pytest.raises(InvalidQuery):
            pytest.fail(f"{clause!r} {params} found {await things.find_entities('things', clause, params)}")
        with pytest.raises(InvalidQuery):
            pytest.fail(f"{clause!r} {params} counted {await things.count_entities('things', clause, params)}")
        assert await things.count_entities("things") == 5, (clause, params)


@pytest.mark.acceptance("DB15")
@dozens(ORDERS)
async def test_an_order_puts_none_first_and_breaks_ties_by_id(things, cases):
    for order, expected in cases:
        assert ids_of(await things.find_entities("things", order_by=order)) == expected, order
        paged = [await things.find_entities("things", order_by=order, limit=1, offset=at) for at in range(5)]
        assert ids_of(row for page in paged for row in page) == expected, order


@pytest.mark.acceptance("DB15")
@dozens(PAGES)
async def test_a_page_is_the_same_everywhere(things, cases):
    for page, expected in cases:
        assert ids_of(await things.find_entities("things", **page)) == expected, page


@pytest.mark.acceptance("DB15")
@dozens(REFUSED_PAGES)
async def test_a_page_that_makes_no_sense_is_refused(things, cases):
    for page in cases:
        with pytest.raises(InvalidQuery, match=next(iter(page))):
            pytest.fail(f"{page} found {await things.find_entities('things', **page)}")


@dozens(REFUSED_ORDERS)
async def test_an_order_that_makes_no_sense_is_refused(things, cases):
    for order in cases:
        with pytest.raises(InvalidQuery):
            pytest.fail(f"{order!r} found {await things.find_entities('things', order_by=order)}")


async def test_pages_of_equal_rows_hold_each_row_once(db):
    for number in range(40):
        await db.save_entity("things", {"id": f"{number * 7 % 40:02}", "same": 1, "few": number % 3})
    for order in ("[same]", "[same] DESC", "[few]", "[few] DESC", "[nope]", None):
        pages = [await db.find_entities("things", None, None, order, 7, at) for at in range(0, 42, 7)]
        found = [row["id"] for page in pages for row in page]
        assert len(found) == len(set(found)) == 40
        assert found == [row["id"] for row in await db.find_entities("things", order_by=order)]


async def test_text_sorts_by_bytes(db):
    words = ["", " ", "!", "1", "10", "2", "A", "Z", "_", "a", "b", "z", "~", "é", "ß", "Ω", "あ", "\uffff", "🙂"]
    for number, word in enumerate(reversed(words)):
        await db.save_entity("things", {"id": f"{number:02}", "s": word})
    found = [row["s"] for row in await db.find_entities("things", order_by="[s]")]
    assert found == sorted(words, key=str.encode)
    for word in words:
        assert [row["s"] for row in await db.find_entities("things", "[s] = ?", (word,))] == [word]


async def test_instants_and_their_text_are_compared_as_instants(db):
    from datetime import UTC, datetime, timedelta, timezone

    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    await db.save_entity("things", {"id": "a", "t": noon})
    same = noon.astimezone(timezone(timedelta(hours=-7)))
    assert ids_of(await db.find_entities("things", "[t] = ?", (same,))) == "a"
    assert ids_of(await db.find_entities("things", "[t] < ?", (same + timedelta(microseconds=1),))) == "a"
    assert ids_of(await db.find_entities("things", "[t] < ?", (same,))) == ""


async def test_a_list_of_thousands_of_ids_can_be_asked_for(db):
    for number in range(3):
        await db.save_entity("things", {"id": str(number)})
    many = [str(number) for number in range(5000)]
    assert ids_of(await db.find_entities("things", "[id] IN (?)", (many,))) == "0 1 2"


async def test_params_are_neither_changed_nor_kept(db):
    await db.save_entity("things", {"id": "a", "n": 1})
    params = [[1, 2]]
    await db.find_entities("things", "[n] IN (?)", params)
    assert params == [[1, 2]]
    params[0].clear()
    assert await db.find_entities("things", "[n] IN (?)", params) == []


SLIGHT = [
    ("[n] = ?", (5e-324,), ""),
    ("[n] < ?", (1e-300,), "z"),
    ("[n] > ?", (-1e-300,), "z"),
    ("[d] = ?", (1e-300,), ""),
    ("[d] < ?", (5e-324,), "z"),
    ("[d] > ?", (-5e-324,), "z"),
    ("[d] IN (?)", ([1e-300, -1e-300],), ""),
    ("[f] = [n]", (), ""),
    ("[f] > [n]", (), "z"),
    ("[j.f] = 0", (), ""),
    ("[j.f] > 0", (), "z"),
    ("[j.less] < 0", (), "z"),
    ("[j.less] >= [n]", (), ""),
    ("[j.f] > [n]", (), "z"),
    ("[j.zero] = 0", (), "z"),
]


async def test_what_is_hardly_more_than_nothing_is_more_than_nothing(db):
    row = {"n": 0, "d": Decimal(0), "f": 1e-40, "j": {"f": 1e-40, "less": -5e-324, "zero": 0}}
    await db.save_entity("things", {"id": "z", **row})
    for clause, params, expected in SLIGHT:
        assert ids_of(await db.find_entities("things", clause, params)) == expected, (clause, params)


@pytest.mark.parametrize("clause", ["-[n] = 1", "0 - [n] < 5", "[zero] - [n] < 5", "ABS([n]) = 1", "[n] - 1 < 0"])
async def test_what_the_smallest_integer_leaves_no_room_for_is_refused(db, clause):
    await db.save_entity("things", {"id": "a", "n": -(2**63), "zero": 0})
    with pytest.raises(InvalidQuery):
        await db.find_entities("things", clause)


async def test_a_difference_that_just_fits_is_found(db):
    await db.save_entity("things", {"id": "a", "n": -(2**63), "one": -1})
    clause = "[one] - [n] = 9223372036854775807 AND [n] - 0 = [n] AND [n] - [one] < 0"
    assert ids_of(await db.find_entities("things", clause)) == "a"
