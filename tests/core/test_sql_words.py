"""What is said to each database, as text; that it does what it says is seen wherever the kernel writes."""

import pytest

from app_kernel.core.sql_words import added, bytes_of, insert_once, remove_some, text_param, upsert

WORDS = {
    "sqlite": (
        " ON CONFLICT DO NOTHING",
        " ON CONFLICT ([id]) DO UPDATE SET [n] = [t].[n] + excluded.[n], [at] = excluded.[at]",
        "CAST(? AS TEXT)",
        "LENGTH([body])",
    ),
    "postgres": (
        " ON CONFLICT DO NOTHING",
        " ON CONFLICT ([id]) DO UPDATE SET [n] = [t].[n] + excluded.[n], [at] = excluded.[at]",
        "CAST(? AS TEXT)",
        "OCTET_LENGTH([body])",
    ),
    "mysql": (
        " ON DUPLICATE KEY UPDATE [t].[id] = [t].[id]",
        " ON DUPLICATE KEY UPDATE [n] = [t].[n] + VALUES([n]), [at] = VALUES([at])",
        "?",
        "OCTET_LENGTH([body])",
    ),
}


class Spoken:
    """Writes statements down, and answers as if there were seven rows."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.said: list[tuple[str, tuple[object, ...]]] = []

    async def execute(self, sql: str, params: object) -> list[tuple[int]]:
        assert isinstance(params, tuple)
        self.said.append((sql, params))
        return [(7,)] if "COUNT" in sql else [(1,)] * 7


@pytest.mark.parametrize("backend", WORDS)
def test_each_database_has_its_own_words(backend: str) -> None:
    changes = [f"[n] = [t].[n] + {added(backend, 'n')}", f"[at] = {added(backend, 'at')}"]
    said = (
        insert_once(backend, "t", "id"),
        upsert(backend, "id", changes),
        text_param(backend),
        bytes_of(backend, "body"),
    )
    assert said == WORDS[backend]


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_some_rows_are_removed_by_one_statement(backend: str) -> None:
    db = Spoken(backend)
    assert await remove_some(db, "t", "[at] < ?", ("now",), 10, order_by="at", key="seq") == 7
    chosen = "SELECT [seq] FROM [t] WHERE [at] < ? ORDER BY [at] LIMIT ?"
    assert db.said == [(f"DELETE FROM [t] WHERE [seq] IN ({chosen}) RETURNING [seq]", ("now", 10))]


async def test_mysql_counts_what_it_is_to_remove_and_removes_no_more() -> None:
    db = Spoken("mysql")
    assert await remove_some(db, "t", "[at] < ?", ("now",), 10, order_by="at") == 7
    assert db.said == [
        ("SELECT COUNT(*) FROM (SELECT 1 FROM [t] WHERE [at] < ? LIMIT ?) AS found", ("now", 10)),
        ("DELETE FROM [t] WHERE [at] < ? ORDER BY [at] LIMIT ?", ("now", 7)),
    ]
