"""A field's kind changes with what is saved into it; no stored value does."""

import logging

import pytest

from tests.conformance.cases.kinds import MIXED, PAIRS, SAMPLES, WIDENED
from tests.conformance.steps import expect_same

pytestmark = pytest.mark.acceptance("DB4")

CHANGES = [*WIDENED, *MIXED, *PAIRS]


@pytest.fixture
def change(request, place):
    """A change as it is shown on the backend of the place."""
    return request.param.on(place.backend)


async def save_all(db, change):
    for number, value in enumerate(change.given):
        await db.save_entity("things", {"id": str(number), "v": value})


async def read_all(db):
    return [row["v"] for row in await db.find_entities("things", order_by="[id]")]


@pytest.mark.parametrize("change", CHANGES, ids=str, indirect=True)
async def test_no_stored_value_changes_with_the_kind_of_its_field_and_a_mix_is_told_once(place, change, caplog):
    db, other = await place.open(), await place.open()
    with caplog.at_level(logging.WARNING, logger="app_kernel.db"):
        await save_all(db, change)
    # With entity, field and kinds; a field that widens tells nobody.
    told = [(record.entity, record.field, tuple(record.kinds)) for record in caplog.records]
    assert told == ([("things", "v", change.mixes)] if change.mixes else [])
    expect_same(await read_all(db), list(change.read))
    expect_same(await read_all(other), list(change.read))
    kept = await other.find_entities("things_history", order_by="[id]")
    expect_same([row["v"] for row in kept], list(change.read))
    # Old and new values are found by value.
    for number, value in enumerate(change.given):
        clause, params = ("[v] = ?", (value,)) if value is not None else ("[v] IS NULL", ())
        found = [row["id"] for row in await db.find_entities("things", clause, params)]
        assert str(number) in found
    await place.close()
    expect_same(await read_all(await place.open()), list(change.read))


@pytest.mark.parametrize("change", CHANGES, ids=str, indirect=True)
async def test_the_rest_of_a_row_stays_as_it_is_while_a_field_changes_kind(db, change):
    rest = {f"rest_{kind}": value for kind, value in SAMPLES.items()}
    before = await db.save_entity("things", {"id": "0", "v": change.given[0], **rest})
    for number, value in enumerate(change.given[1:]):
        await db.save_entity("things", {"id": f"x{number}", "v": value})
    after = await db.get_entity("things", "0")
    expect_same({**after, "v": None}, {**before, "v": None})
    expect_same(after["v"], change.read[0])


@pytest.mark.parametrize("unique", [False, True], ids=["plain", "unique"])
@pytest.mark.parametrize("change", WIDENED[:13], ids=str, indirect=True)
async def test_an_index_survives_the_change_of_its_field(db, place, change, unique):
    await db.save_entity("things", {"id": "0", "v": change.given[0], "w": 1})
    kind = "UNIQUE INDEX" if unique else "INDEX"
    await db.execute(f"CREATE {kind} [my_index] ON [things] ([v], [w])")
    for number, value in enumerate(change.given[1:], start=1):
        await db.save_entity("things", {"id": str(number), "v": value, "w": 1})
    expect_same(await read_all(db), list(change.read))
    with pytest.raises(Exception, match="my_index"):
        await db.execute("CREATE INDEX [my_index] ON [things] ([w])")


async def test_a_unique_index_still_refuses_after_its_field_changed_kind(db):
    from app_kernel.core.errors import UniqueViolation

    await db.save_entity("things", {"id": "a", "v": 1})
    await db.execute("CREATE UNIQUE INDEX [one_v] ON [things] ([v])")
    await db.save_entity("things", {"id": "b", "v": 1.5})
    with pytest.raises(UniqueViolation) as failure:
        await db.save_entity("things", {"id": "c", "v": 1})
    assert failure.value.field == "v"
    assert await db.count_entities("things") == 2


async def test_the_longest_text_of_an_index_stays_when_its_field_changes_kind(db):
    long = "'\\\n" * 85
    await db.save_entity("things", {"id": "a", "v": long, "x": b"\xff" * 255})
    await db.ensure_index("things", ["v"], unique=True)
    await db.ensure_index("things", ["x", "id"])
    await db.save_entity("things", {"id": "b", "v": 5, "x": 5})
    expect_same(await read_all(db), [long, 5])
    expect_same((await db.get_entity("things", "a"))["x"], b"\xff" * 255)


async def test_two_fields_may_change_kind_in_one_save(db):
    await db.save_entity("things", {"id": "a", "v": 1, "w": 1, "x": 1})
    await db.save_entity("things", {"id": "b", "v": 0.5, "w": "text", "x": 2, "y": True})
    rows = await db.find_entities("things", order_by="[id]")
    expect_same(
        [[row[name] for name in ("v", "w", "x", "y")] for row in rows], [[1.0, 1, 1, None], [0.5, "text", 2, True]]
    )


async def test_a_view_and_a_trigger_of_the_applications_do_not_stop_a_field_from_changing(db, place):
    await db.save_entity("things", {"id": "a", "v": 1, "w": 1})
    await db.execute("CREATE VIEW [seen] AS SELECT [id], [v] FROM [things]")
    await db.save_entity("things", {"id": "b", "v": "text"})
    expect_same(await read_all(db), [1, "text"])
    assert len(await db.execute("SELECT [id] FROM [seen]")) == 2


async def test_the_value_that_failed_to_be_saved_changes_no_kind(db):
    from app_kernel.core.errors import VersionConflict

    await db.save_entity("things", {"id": "a", "v": 5})
    with pytest.raises(VersionConflict):
        await db.save_entity("things", {"id": "a", "v": 6}, expected_version=9)
    expect_same((await db.get_entity("things", "a"))["v"], 5)
