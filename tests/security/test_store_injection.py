"""No text that a caller gives ever becomes SQL: not as a name, an order, a page, an id or a value."""

import re

import pytest

from app_kernel.core.context import acting_as
from app_kernel.core.errors import InvalidName, InvalidQuery, UnsupportedValue
from tests.conformance.backends import BACKENDS
from tests.security.injection_corpus import CORPUS

pytestmark = pytest.mark.acceptance("DB1")

LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
READS = ("get_entity", "find_entities", "count_entities")
WRITES = ("save_entity", "delete_entity", "restore_entity")
MANY_READS = ("get_entities", "iterate_entities")
MANY_WRITES = ("save_entities", "delete_entities", "increment", "ensure_fields", "ensure_index")


class Watched:
    """A database with a canary in it, whose statements are counted."""

    def __init__(self, place, db):
        self.place, self.db, self.calls = place, db, []
        for verb in ("fetch", "write", "run", "define", "execute"):
            self._watch(verb)

    def _watch(self, verb):
        driver = self.db._driver
        original = getattr(driver, verb)

        def watched(*args, **kwargs):
            self.calls.append((verb, args))
            return original(*args, **kwargs)

        setattr(driver, verb, watched)

    async def expect_unharmed(self):
        """The canary is whole and there is nothing that was not there before."""
        rows = await self.db.execute("SELECT [id], [x] FROM [canary]")
        assert rows == [("alive", 1)]
        assert await self.db.execute(self.place.words["objects"]) == self.objects
        assert await self.db.count_entities("notes") == 1
        assert (await self.db.get_entity("notes", "a"))["x"] == 1


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


def arguments(verb, name):
    """A call of the verb with everything in order but the name."""
    return {
        "save_entity": (name, {"id": "a", "x": 2}),
        "find_entities": (name, "[x] = ?", (1,), "[x]", 1, 0),
        "count_entities": (name, "[x] = ?", (1,)),
        "save_entities": (name, [{"id": "a", "x": 2}]),
        "get_entities": (name, ["a"]),
        "delete_entities": (name, ["a"]),
        "increment": (name, "a", "x"),
        "ensure_fields": (name, {"x": int}),
        "ensure_index": (name, ["x"]),
        "iterate_entities": (name, "[x] = ?", (1,)),
    }.get(verb, (name, "a"))


async def run(db, verb, *args, **kwargs):
    """Calls a verb and waits for whatever it gives."""
    given = getattr(db, verb)(*args, **kwargs)
    return [row async for row in given] if verb == "iterate_entities" else await given


def test_the_corpus_is_large_and_holds_no_legal_name():
    assert len(CORPUS) >= 300
    legal = {text[:20] for text in CORPUS if LEGAL_NAME.fullmatch(text) and len(text) <= 55}
    assert {name.lower() for name in legal if not name.lower().startswith("sqlite_")} == {"ctid", "xmin", "tableoid"}


@pytest.mark.parametrize("verb", [*READS, *WRITES, *MANY_READS, *MANY_WRITES])
async def test_no_entity_name_becomes_sql(watched, verb):
    for text in CORPUS:
        with pytest.raises(InvalidName):
            await run(watched.db, verb, *arguments(verb, text))
        with pytest.raises(InvalidName):
            await run(watched.db.privileged, verb, *arguments(verb, text))
        if not LEGAL_NAME.fullmatch(f"{text}_history"):
            with pytest.raises(InvalidName):
                await run(watched.db, verb, *arguments(verb, f"{text}_history"))
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_field_name_becomes_sql(watched):
    for text in CORPUS:
        for value in (1, None, "x", {"a": 1}):
            with pytest.raises(InvalidName):
                await watched.db.save_entity("notes", {"id": "a", text: value})
            with pytest.raises(InvalidName):
                await watched.db.save_entity("fresh", {text: value})
            with pytest.raises(InvalidName):
                await watched.db.save_entities("fresh", [{"x": 1}, {text: value}])
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_field_that_is_named_becomes_sql(watched):
    for text in CORPUS:
        for call in (
            lambda db, text: db.save_entity("notes", {"x": 1, "id": "a"}, match_by=[text]),
            lambda db, text: db.save_entity("notes", {text: 1}, match_by=["x", text]),
            lambda db, text: db.save_entities("notes", [{"x": 1}], match_by=[text]),
            lambda db, text: db.increment("notes", "a", text),
            lambda db, text: db.ensure_fields("notes", {text: int}),
            lambda db, text: db.ensure_fields("fresh", {"x": int, text: str}),
            lambda db, text: db.ensure_index("notes", [text]),
            lambda db, text: db.ensure_index("notes", ["x", text], unique=True),
        ):
            with pytest.raises(InvalidName):
                await call(watched.db, text)
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_number_or_option_of_the_verbs_over_many_becomes_sql(watched):
    for text in CORPUS:
        for call in (
            lambda db, text: db.increment("notes", "a", "x", text),
            lambda db, text: db.ensure_fields("notes", {"y": text}),
            lambda db, text: db.ensure_index("notes", ["x"], unique=text),
            lambda db, text: db.ensure_index("notes", text),
            lambda db, text: db.save_entity("notes", {"x": 1}, match_by=text),
            lambda db, text: run(db, "iterate_entities", "notes", batch_size=text),
            lambda db, text: db.get_entities("notes", text),
            lambda db, text: db.delete_entities("notes", text),
        ):
            with pytest.raises((InvalidQuery, UnsupportedValue)):
                await call(watched.db, text)
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_no_field_name_inside_brackets_becomes_sql(watched):
    for text in CORPUS:
        if LEGAL_NAME.fullmatch(text) and len(text) <= 63:
            continue
        for clause in (f"[{text}] = 1", f"[j.{text}] = 1", f"[{text}.k] = 1"):
            await refused_or_nothing(watched, clause, ())
        await refused_order(watched, f"[{text}]")
    await watched.expect_unharmed()


async def test_no_clause_runs_anything_but_its_own_grammar(watched):
    for text in CORPUS:
        for clause in (text, f"[x] = {text}", f"[x] = 1 {text}", f"[x] = '{text}", f"([x] = 1 AND {text})"):
            await refused_or_nothing(watched, clause, ())
    await watched.expect_unharmed()


async def refused_or_nothing(watched, clause, params):
    """A clause is refused, or it is one that the grammar knows, and then it tells nothing of other tables."""
    try:
        rows = await watched.db.find_entities("notes", clause, params)
    except InvalidQuery:
        with pytest.raises(InvalidQuery):
            await watched.db.count_entities("notes", clause, params)
    else:
        assert all(row["id"] == "a" for row in rows)


async def refused_order(watched, order):
    try:
        rows = await watched.db.find_entities("notes", order_by=order)
    except InvalidQuery:
        with pytest.raises(InvalidQuery):
            await watched.db.find_entities("nothing", order_by=order)
    else:
        assert [row["id"] for row in rows] == ["a"]


async def test_no_order_becomes_sql(watched):
    for text in CORPUS:
        await refused_order(watched, text)
        await refused_order(watched, f"[x] {text}")
        await refused_order(watched, f"[x], {text}")
    statements = [args[0] for verb, args in watched.calls if verb == "fetch"]
    assert not [sql for sql in statements if "canary" in sql or ";" in sql or "--" in sql]
    await watched.expect_unharmed()


@pytest.mark.parametrize("page", ["limit", "offset"])
async def test_no_limit_or_offset_becomes_sql(watched, page):
    for text in CORPUS:
        with pytest.raises(InvalidQuery, match=page):
            await watched.db.find_entities("notes", **{page: text})
        with pytest.raises(InvalidQuery, match=page):
            await watched.db.find_entities("nothing", **{page: text})
    assert watched.calls == []
    await watched.expect_unharmed()


async def test_an_id_is_never_more_than_a_value(watched):
    for text in CORPUS:
        assert await watched.db.get_entity("notes", text) is None
        assert await watched.db.delete_entity("notes", text) is False
        assert await watched.db.delete_entity("notes", text, permanent=True, purge_history=True) is False
        assert await watched.db.restore_entity("notes", text) is None
        assert await watched.db.get_entity("nothing", text) is None
        assert await watched.db.increment("notes", text, "x") is None
    assert await watched.db.get_entities("notes", CORPUS, include_deleted=True) == []
    assert await watched.db.delete_entities("notes", CORPUS) == 0
    assert await watched.db.delete_entities("notes", CORPUS, permanent=True) == 0
    assert all(not set(CORPUS) & set(args[:1]) for _, args in watched.calls)
    await watched.expect_unharmed()


async def test_an_id_is_kept_as_it_is_or_refused(watched):
    kept = []
    for text in CORPUS:
        if not 1 <= len(text) <= 191 or re.search("[\x00\ud800-\udfff]", text):
            with pytest.raises(UnsupportedValue, match=r"\[id\]"):
                await watched.db.save_entity("papers", {"id": text, "x": 1})
        else:
            kept.append((await watched.db.save_entity("papers", {"id": text, "x": 1}))["id"])
            assert kept[-1] == text
    rows = await watched.db.find_entities("papers", order_by="[id]")
    assert [row["id"] for row in rows] == sorted(kept, key=str.encode)
    assert len(kept) > 300
    assert [row["id"] async for row in watched.db.iterate_entities("papers", batch_size=7)] == [r["id"] for r in rows]
    assert [row["id"] for row in await watched.db.get_entities("papers", kept)] == list(dict.fromkeys(kept))
    again = await watched.db.save_entities("papers", [{"id": text, "x": 2} for text in kept])
    assert [row["id"] for row in again] == kept
    assert await watched.db.delete_entities("papers", kept) == len(set(kept))
    await watched.db.execute("DROP TABLE [papers]")
    await watched.db.execute("DROP TABLE [papers_history]")
    await watched.expect_unharmed()


async def test_a_value_is_never_more_than_a_value(watched):
    db = watched.db
    await db.save_entity("papers", {"id": "p", "text": "", "j": {}})
    for text in CORPUS:
        if "\x00" in text or re.search("[\ud800-\udfff]", text):
            continue
        with acting_as(text):
            saved = await db.save_entity("papers", {"id": "p", "text": text, "j": {text: text}}, comment=text)
            saved = await db.save_entity("papers", {"id": "p", "n": 1})
        assert (saved["text"], saved["j"], saved["updated_by"]) == (text, {text: text}, text)
        found = await db.find_entities("papers", "[text] = ? AND [updated_by] = ?", (text, text))
        assert len(found) == 1
        for match in (["text"], ["text", "n"]):
            upserted = await db.save_entities("papers", [{"text": text, "n": 1}], match_by=match)
            assert (upserted[0]["id"], upserted[0]["text"]) == ("p", text)
        assert (await db.save_entity("papers", {"text": text, "n": 1}, match_by=["text"]))["id"] == "p"
        assert await db.count_entities("papers", "[text] IN (?)", ([text, "other"],)) == 1
        pattern = re.sub(r"([\\%_])", r"\\\1", text[:1000])
        assert await db.count_entities("papers", "[text] LIKE ?", (f"{pattern}%",)) == 1
        rows = await db.execute("SELECT [text] FROM [papers] WHERE [text] = ?", (text,))
        assert rows == [(text,)]
    for table in ("papers", "papers_history"):
        await db.execute(f"DROP TABLE [{table}]")
    await watched.expect_unharmed()


@pytest.mark.acceptance("DB13")
@pytest.mark.parametrize("verb", [*READS, *WRITES, *MANY_READS, *MANY_WRITES])
async def test_the_kernels_own_tables_are_out_of_reach(watched, verb):
    for name in ("kernel_users", "Kernel_Catalog", "KERNEL_META", "kernel_meta", "kernel_users_history", "kernel_x"):
        with pytest.raises(InvalidName, match="kernel"):
            await run(watched.db, verb, *arguments(verb, name))
    assert watched.calls == []
    await watched.expect_unharmed()


@pytest.mark.acceptance("DB13")
@pytest.mark.parametrize("name", ["x_history", "notes_history", "NOTES_HISTORY", "WIDGETS_HISTORY", "Notes_History"])
async def test_a_history_is_read_and_never_written(watched, name):
    for verb in (*WRITES, *MANY_WRITES):
        with pytest.raises(InvalidName, match="history"):
            await getattr(watched.db, verb)(*arguments(verb, name))
    with pytest.raises(InvalidName, match="history"):
        await watched.db.delete_entity(name, "a", permanent=True, purge_history=True)
    assert watched.calls == []
    expected = 1 if name == "notes_history" else 0
    assert len(await watched.db.find_entities(name)) == expected
    assert await watched.db.count_entities(name) == expected
    with pytest.raises(InvalidQuery, match="find_entities"):
        await watched.db.get_entity(name, "a")
    await watched.expect_unharmed()


@pytest.mark.acceptance("DB13")
async def test_a_name_like_that_of_a_meta_table_is_an_entity_like_any_other(watched):
    before = await watched.db.execute("SELECT * FROM [kernel_meta] WHERE [key] <> 'generation'")
    await watched.db.save_entity("X_META", {"id": "a", "value": 7})
    assert (await watched.db.get_entity("X_META", "a"))["value"] == 7
    assert await watched.db.execute("SELECT * FROM [kernel_meta] WHERE [key] <> 'generation'") == before
