"""The portable spelling of raw SQL, as a table of strings."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from app_kernel.core.errors import UnsupportedValue
from app_kernel.db.dialects.sqlite import SqliteDialect
from app_kernel.db.portable import compile_raw, encode_raw


class Numbered(SqliteDialect):
    """Spells parameters as PostgreSQL and names as MySQL do."""

    def quote(self, name):
        return f"`{name}`"

    def placeholder(self, position):
        return f"${position}"


SPELLED = [
    ("SELECT 1", "SELECT 1"),
    ("SELECT [a] FROM [order]", "SELECT `a` FROM `order`"),
    ("SELECT ?, ?, ?", "SELECT $1, $2, $3"),
    ("SELECT ??", "SELECT ?"),
    ("SELECT ????", "SELECT ??"),
    ("SELECT ???", "SELECT ?$1"),
    ("SELECT a ?? 'k' AND b = ?", "SELECT a ? 'k' AND b = $1"),
    ("SELECT '?', '[a]', '??'", "SELECT '?', '[a]', '??'"),
    ("SELECT 'it''s ? [a]', ?", "SELECT 'it''s ? [a]', $1"),
    ("SELECT '', ?", "SELECT '', $1"),
    ('SELECT "[a] ?", ?', 'SELECT "[a] ?", $1'),
    ('SELECT "a""?", ?', 'SELECT "a""?", $1'),
    ("SELECT 1 -- ? [a]\n, ?", "SELECT 1 -- ? [a]\n, $1"),
    ("SELECT 1 -- it's\n, ?", "SELECT 1 -- it's\n, $1"),
    ("SELECT 1 -- ?", "SELECT 1 -- ?"),
    ("SELECT /* ? [a] ' */ ?", "SELECT /* ? [a] ' */ $1"),
    ("SELECT /* one */ ? /* two */", "SELECT /* one */ $1 /* two */"),
    ("SELECT 1 - -1, 4 / 2", "SELECT 1 - -1, 4 / 2"),
    ("SELECT '--', ?", "SELECT '--', $1"),
    ("SELECT '/*', ?, '*/'", "SELECT '/*', $1, '*/'"),
    ("SELECT -- [a]\n[b]", "SELECT -- [a]\n`b`"),
    ("SELECT x[1], y[a:b]", "SELECT x[1], y[a:b]"),
    ("SELECT [a b]", "SELECT [a b]"),
    ("SELECT [é]", "SELECT [é]"),
]


@pytest.mark.parametrize(("sql", "expected"), SPELLED)
def test_raw_sql_is_spelled_as_the_database_has_it(sql, expected):
    assert compile_raw(sql, Numbered()) == expected


def test_sqlite_has_its_own_spelling():
    assert compile_raw("SELECT [a], ?, ??, '?' FROM [t]", SqliteDialect()) == 'SELECT "a", ?, ?, \'?\' FROM "t"'


ENCODED = [
    (None, None),
    ("x", "x"),
    (5, 5),
    (2**63, "9223372036854775808"),
    (1.5, 1.5),
    (True, 1),
    (Decimal("1.50"), "1.50"),
    ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
    (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00.000000Z"),
    (datetime(2024, 1, 1, tzinfo=UTC).date(), "2024-01-01"),
    (b"x", b"x"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(("value", "expected"), ENCODED)
def test_a_parameter_is_stored_as_a_value_of_its_kind_is(value, expected):
    encoded = encode_raw(value, SqliteDialect())
    assert (encoded, type(encoded)) == (expected, type(expected))


@pytest.mark.parametrize("value", [float("nan"), "\x00", object(), (1,), {1}, datetime(2024, 1, 1)])  # noqa: DTZ001
def test_a_parameter_that_cannot_be_kept_is_refused(value):
    with pytest.raises(UnsupportedValue, match="param"):
        encode_raw(value, SqliteDialect())
