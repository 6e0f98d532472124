"""An upsert of many that meets another transaction on the row it means."""

import asyncio
import contextvars

import pytest


@pytest.mark.parametrize("change", ["deleted", "moved away"])
async def test_an_upsert_of_many_makes_a_new_row_where_its_match_is_gone_by_the_time_it_may_write(place, change):
    db, other = await place.open(), await place.open()
    await db.save_entities("people", [{"id": "a", "email": "x", "n": 0}, {"id": "b", "email": "z", "n": 0}])
    await other.get_entity("people", "a")
    given = [{"email": "x", "n": 1}, {"email": "z", "n": 1}]
    async with other.transaction():
        if change == "deleted":
            await other.delete_entity("people", "a")
        else:
            await other.save_entity("people", {"id": "a", "email": "y"})
        # A task of its own, which has no part in the transaction.
        upsert = contextvars.Context().run(asyncio.create_task, db.save_entities("people", given, match_by=["email"]))
        await asyncio.sleep(0.5)
        assert not upsert.done()
    made, kept = await upsert
    assert (made["email"], made["n"], made["_version"], kept["id"], kept["n"]) == ("x", 1, 1, "b", 1)
    assert made["id"] != "a"
    before = await db.get_entity("people", "a", include_deleted=True)
    assert (before["email"], before["n"], before["_version"]) == ("x" if change == "deleted" else "y", 0, 2)
