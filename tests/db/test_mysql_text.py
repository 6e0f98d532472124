"""Values that are written into a statement for MySQL are values, whatever they hold, and come back equal."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.db.database import connect
from app_kernel.db.dialects.mysql_marks import AS_DATE, AS_DATETIME, Values, mark, then
from app_kernel.db.drivers.mysql_text import literal, render
from tests.db.mysql_tools import place_on

CORPUS = [
    "'", "''", "'''", '"', "`", "\\", "\\\\", "\\'", "\\\\'", "'\\", "\\\"", "' OR '1'='1",
    "'; DROP TABLE notes; -- ", "\\'; DROP TABLE notes; # ", "/*", "*/", "/*! 1 */", "-- ", "#", ";", "%", "_", "\\%",
    "\\_", "%s", "%(a)s", "?", "??", "$1", ":a", "{}", "[id]", "\n", "\r\n", "\t", "\x1a", "\b", "\x7f", "\u2028",
    "\ufeff", "ß", "İ", "\u0131", "e\u0301", "é", "\U0001f600", "\U0001f468\u200d\U0001f469", "\u5c5c", "\u855c'",
    "\u8a31'; --", "\uff07", "\u02bc", "\xbf'", "\xbf\\'", "\u4e0a\\", "x" * 70_000, "'" * 3_000, "\\" * 3_001, "a ",
    " a", "a", "A", "NULL", "0x41", "1e5", "\ufffd", "\ue000",
]  # fmt: skip
"""Of 0x5c, the backslash, some have it as the second byte in another character set; 0xbf 0x27 is a quote in GBK."""


@pytest.fixture
async def place(mysql_url):
    async with place_on(mysql_url) as fresh:
        yield fresh


def test_quotes_are_doubled_and_nothing_else_is_touched():
    assert literal("it's") == "'it''s'"
    assert literal("\\'") == "'\\'''"
    assert render(f"SELECT {mark(1)}", ("\\",)) == "SELECT '\\'"


def test_each_kind_of_value_is_a_literal_of_its_own():
    assert render(then([f"A {mark(2)}", f"B {mark(1)}"]), (1, None)) == "A NULL; B 1"
    assert literal(True) == "1"
    assert literal(1.5) == "1.5e0"
    assert literal(1e300) == "1e+300"
    assert literal(Decimal("1E+3")) == "1000"
    assert literal(b"\\'") == "x'5c27'"
    assert literal(Values(["a'", 1])) == "'a''', 1"
    assert literal(Values()) == "NULL"
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert render(mark(1, AS_DATETIME), (moment,)) == "TIMESTAMP'2026-01-02 03:04:05.000006'"
    assert render(mark(1, AS_DATE), (date(1, 1, 1),)) == "DATE'0001-01-01'"


@pytest.mark.parametrize("value", ["' OR 1 -- ", "2026-01-02T03:04:05' OR 1 -- ", "'''''''''''''''''''''''''''''''"])
def test_a_text_in_the_place_of_an_instant_cannot_end_it(value):
    for form, word in ((AS_DATETIME, "TIMESTAMP"), (AS_DATE, "DATE")):
        text = render(mark(1, form), (value,))
        inner = text.removeprefix(f"{word}'").removesuffix("'")
        assert "'" not in inner.replace("''", "")


def test_what_is_no_value_and_a_wrong_number_of_them_are_refused():
    class Sly(str):
        __slots__ = ()

        def replace(self, *_):
            return self

    for value in (object(), [1], {"a": 1}, Sly("'")):
        with pytest.raises(InvalidQuery, match="cannot be written"):
            literal(value)
    for params in ((), (1, 2)):
        with pytest.raises(InvalidQuery, match="number of params"):
            render(f"SELECT {mark(1)}", params)


def test_a_value_that_looks_like_a_mark_is_none():
    assert render(f"{mark(1)}, {mark(2)}", (mark(2), "x")) == f"'{mark(2)}', 'x'"


@pytest.mark.acceptance("DB10")
async def test_the_corpus_comes_back_equal_as_value_id_pattern_list_json_and_raw_param(place):
    async with connect(place.url()) as db:
        await db.save_entity("notes", {"id": "first", "t": "first", "j": {}})
        rows = [{"id": f"n{at}", "t": text, "j": {"k": text, text[:99]: [text]}} for at, text in enumerate(CORPUS)]
        await db.save_entities("notes", rows[::2])
        for row in rows[1::2]:
            await db.save_entity("notes", row)
        for row in rows:
            found = await db.get_entity("notes", row["id"])
            assert (found["t"], found["j"]) == (row["t"], row["j"])
        for at, text in enumerate(CORPUS):
            expected = {f"n{other}" for other, same in enumerate(CORPUS) if same == text}
            assert {row["id"] for row in await db.find_entities("notes", "[t] = ?", (text,))} == expected
            assert {row["id"] for row in await db.find_entities("notes", "[t] IN (?, ?)", (text, text))} == expected
            escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            found = await db.find_entities("notes", "[t] LIKE ?", (escaped,)) if len(text) < 9_000 else expected
            assert {row["id"] if isinstance(row, dict) else row for row in found} == expected
            select = "SELECT ?, ? = [t] FROM [notes] WHERE [id] = ?"
            assert [tuple(row) for row in await db.execute(select, (text, text, f"n{at}"))] == [(text, 1)]
        assert await db.count_entities("notes") == len(CORPUS) + 1


@pytest.mark.acceptance("DB10")
async def test_the_corpus_as_ids_actors_and_comments(place):
    ids = [text for text in CORPUS if len(text) < 100]
    async with connect(place.url()) as db:
        taken = []
        for id in ids:
            try:
                await db.save_entity("notes", {"id": id, "t": id}, comment=id)
            except UnsupportedValue:
                continue
            taken.append(id)
        assert len(taken) > 40
        for id in taken:
            assert (await db.get_entity("notes", id))["t"] == id
            (entry,) = await db.find_entities("notes_history", "[id] = ?", (id,))
            assert entry["_comment"] == id
        assert len(await db.get_entities("notes", taken)) == len(taken)
        assert await db.delete_entities("notes", taken) == len(taken)
        assert await db.count_entities("notes") == 0


@pytest.mark.acceptance("DB10")
async def test_a_nul_in_text_is_refused_and_in_bytes_it_is_kept(place):
    async with connect(place.url()) as db:
        data = bytes(range(256)) * 20
        row = await db.save_entity("notes", {"id": "a", "b": data, "t": "x"})
        assert row["b"] == data
        assert (await db.find_entities("notes", "[b] = ?", (data,)))[0]["id"] == "a"
        for call in (
            lambda: db.save_entity("notes", {"id": "a", "t": "a\0b"}),
            lambda: db.find_entities("notes", "[t] = ?", ("a\0b",)),
            lambda: db.execute("SELECT ?", ("a\0b",)),
            lambda: db.execute(f"SELECT {mark(1)}"),
            lambda: db.execute("SELECT '\0;\0'"),
        ):
            with pytest.raises((UnsupportedValue, InvalidQuery)):
                await call()
        million = "\\'" * 500_000
        assert (await db.save_entity("notes", {"id": "m", "t": million}))["t"] == million
