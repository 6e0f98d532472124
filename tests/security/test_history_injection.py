"""No text that a caller gives to the verbs on the past ever becomes SQL, nor does anything of a dataclass."""

import re
from dataclasses import make_dataclass

import pytest

from app_kernel.core.errors import InvalidName, InvalidQuery
from tests.conformance.backends import BACKENDS
from tests.security.injection_corpus import CORPUS
from tests.security.test_store_injection import Watched

pytestmark = pytest.mark.acceptance("DB1")

SOON = "2999-01-01T00:00:00Z"


@pytest.fixture(params=BACKENDS)
async def watched(request):
    async with BACKENDS[request.param]() as place:
        db = await place.open()
        await db.save_entity("canary", {"id": "alive", "x": 1})
        await db.save_entity("notes", {"id": "a", "x": 1, "j": {"k": 1}})
        made = Watched(place, db)
        made.objects = await db.execute(place.words["objects"])
        made.calls.clear()
        yield made


async def test_no_entity_name_becomes_sql(watched):
    db = watched.db
    for text in CORPUS:
        for call in (
            db.get_entity_history(text, "a"),
            db.get_entity_version(text, "a", 1),
            db.revert(text, "a", 1),
            db.get_entity(text, "a", as_of=SOON),
            db.find_entities(text, as_of=SOON),
            db.count_entities(text, as_of=SOON),
        ):
            with pytest.raises(InvalidName):
                await call
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_word_of_a_dataclass_becomes_sql(watched):
    db = watched.db
    for text in CORPUS:
        cls = make_dataclass("Thing", [("x", int)], namespace={"__entity__": text})
        for call in (
            db.save_entity(cls(1)),
            db.get_entity(cls, "a"),
            db.find_entities(cls),
            db.count_entities(cls),
            db.delete_entity(cls, "a"),
            db.restore_entity(cls, "a"),
            db.get_entity_history(cls, "a"),
            db.revert(cls, "a", 1),
        ):
            with pytest.raises(InvalidName):
                await call
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_instant_becomes_sql(watched):
    db = watched.db
    for text in CORPUS:
        for call in (
            db.get_entity("notes", "a", as_of=text),
            db.find_entities("notes", as_of=text),
            db.count_entities("notes", as_of=text),
            db.revert("notes", "a", as_of=text),
        ):
            with pytest.raises(InvalidQuery, match="as_of"):
                await call
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_version_or_page_becomes_sql(watched):
    db = watched.db
    for text in CORPUS:
        for call in (
            db.get_entity_version("notes", "a", text),
            db.revert("notes", "a", text),
            db.get_entity_history("notes", "a", text),
            db.get_entity_history("notes", "a", offset=text),
        ):
            with pytest.raises(InvalidQuery, match=r"version|limit|offset"):
                await call
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_an_id_is_never_more_than_a_value(watched):
    db = watched.db
    for text in CORPUS:
        assert await db.get_entity_history("notes", text) == []
        assert await db.get_entity_version("notes", text, 1) is None
        assert await db.get_entity("notes", text, as_of=SOON) is None
        assert await db.revert("notes", text, 1) is None
    assert all(not set(CORPUS) & set(args[:1]) for _, args in watched.calls)
    await watched.expect_unharmed()


async def test_no_clause_or_order_looks_beyond_the_rows_of_an_instant(watched):
    db = watched.db
    await db.save_entity("notes", {"id": "a", "x": 2})
    await db.save_entity("notes", {"id": "b", "x": 5})
    await db.delete_entity("notes", "b")
    for text in CORPUS:
        for clause in (text, f"[x] = 2 OR {text}", f"[x] = '{text}", f"[x] = 1) OR ({text}", f"([x] = 1 OR {text})"):
            await expect_rows_of_now(db, clause)
        try:
            rows = await db.find_entities("notes", order_by=text, as_of=SOON)
        except InvalidQuery:
            continue
        assert [(row["id"], row["x"]) for row in rows] == [("a", 2)]
    # Neither the rows before nor the deleted ones are behind an OR.
    await expect_rows_of_now(db, "1 = 1 OR [x] = 1")
    await expect_rows_of_now(db, "[deleted_at] IS NOT NULL OR [_version] = 1 OR 1 = 1")
    await db.delete_entity("notes", "b", permanent=True, purge_history=True)
    await db.save_entity("notes", {"id": "a", "x": 1})
    await watched.expect_unharmed()


async def expect_rows_of_now(db, clause):
    try:
        rows = await db.find_entities("notes", clause, as_of=SOON)
    except InvalidQuery:
        return
    assert [(row["id"], row["x"]) for row in rows] in ([], [("a", 2)])


async def test_a_comment_of_a_revert_is_never_more_than_a_value(watched):
    db = watched.db
    await db.save_entity("notes", {"id": "a", "x": 2})
    kept = [text for text in CORPUS if not re.search("[\x00\ud800-\udfff]", text)]
    for number, text in enumerate(kept):
        await db.revert("notes", "a", 1 + number % 2, comment=text)
    entries = await db.get_entity_history("notes", "a")
    assert [entry["comment"] for entry in entries[2:]] == kept
    await db.save_entity("notes", {"id": "a", "x": 1})
    await watched.expect_unharmed()


async def test_a_field_name_of_a_dataclass_is_checked_as_a_key_is(watched):
    for name in ("stra\u00dfe", "_hidden", "ctid", "rowid", "x" * 64):
        with pytest.raises(InvalidName):
            await watched.db.save_entity("notes", make_dataclass("Thing", [(name, int)])(1))
    await watched.expect_unharmed()


@pytest.mark.acceptance("DB13")
async def test_the_past_of_the_kernels_own_tables_is_out_of_reach(watched):
    db = watched.db
    for name in ("kernel_users", "Kernel_Catalog", "KERNEL_META", "kernel_users_history"):
        for call in (
            db.get_entity_history(name, "a"),
            db.get_entity_version(name, "a", 1),
            db.revert(name, "a", 1),
            db.get_entity(name, "a", as_of=SOON),
            db.find_entities(name, as_of=SOON),
            db.count_entities(name, as_of=SOON),
        ):
            with pytest.raises(InvalidName, match="kernel"):
                await call
    assert watched.calls == []
    await watched.expect_unharmed()
