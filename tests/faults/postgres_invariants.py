"""What must hold in a PostgreSQL schema whatever was done to it, looked at by plain SQL."""

import asyncpg

from app_kernel.db.table import HISTORY_FIELDS


async def assert_sound(connection: asyncpg.Connection, *entities: str) -> None:
    """The rows of these entities agree with their history, and the catalog with the columns; the search path is set."""
    for entity in entities:
        columns = await _columns(connection, entity)
        if not columns:
            assert not await _columns(connection, f"{entity}_history"), "a history without its table"
            continue
        await _assert_versions(connection, entity)
        await _assert_row_is_last_history(connection, entity, columns)
        await _assert_catalog(connection, entity, columns)


async def _columns(connection: asyncpg.Connection, table: str) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped",
        table,
    )
    return {row[0]: row[1] for row in rows}


async def _assert_versions(connection: asyncpg.Connection, entity: str) -> None:
    gaps = await connection.fetch(
        f'SELECT id FROM "{entity}_history" GROUP BY id'
        " HAVING min(_version) <> 1 OR max(_version) <> count(*) OR count(DISTINCT _version) <> count(*) LIMIT 5"
    )
    assert not gaps, f"the history's versions are not 1..n for {gaps}"


async def _assert_row_is_last_history(connection: asyncpg.Connection, entity: str, columns: dict[str, str]) -> None:
    same = " AND ".join(f'h."{name}" IS NOT DISTINCT FROM t."{name}"' for name in columns)
    bad_rows = await connection.fetch(
        f'SELECT t.id FROM "{entity}" t WHERE NOT EXISTS'
        f' (SELECT 1 FROM "{entity}_history" h WHERE h.id = t.id AND h._version = t._version AND {same}) LIMIT 5'
    )
    assert not bad_rows, f"rows that are not as their history says: {bad_rows}"
    newest = f'(SELECT id, max(_version) AS _version FROM "{entity}_history" GROUP BY id)'
    ahead = await connection.fetch(
        f'SELECT h.id, h._version FROM "{entity}_history" h JOIN {newest} n ON n.id = h.id AND n._version = h._version'
        f' LEFT JOIN "{entity}" t ON t.id = h.id'
        " WHERE CASE h._action WHEN 'purge' THEN t.id IS NOT NULL ELSE t._version IS DISTINCT FROM h._version END"
        " LIMIT 5"
    )
    assert not ahead, f"history that its row does not have: {ahead}"


async def _assert_catalog(connection: asyncpg.Connection, entity: str, columns: dict[str, str]) -> None:
    rows = await connection.fetch("SELECT field FROM kernel_catalog WHERE entity = $1 AND kind <> 'unknown'", entity)
    missing = {row[0] for row in rows} - columns.keys()
    assert not missing, f"the catalog has fields that the table lacks: {missing}"
    history = await _columns(connection, f"{entity}_history")
    assert history == columns | {name: history.get(name) for name in HISTORY_FIELDS}, "table and history differ"
