"""What must hold in a database file whatever was done to it.

Looked at with the SQLite that the store uses too: a second copy of SQLite in one process, such as the standard
library's, would drop the locks of the first when it closes the file.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from app_kernel.db.dialects.sqlite import SqliteDialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, OWNED_FIELDS


def assert_sound(path: Path, *entities: str) -> None:
    """The file is whole, the rows of these entities agree with their history, and the catalog with the columns."""
    with closing(apsw.Connection(str(path))) as file:
        assert _rows(file, "PRAGMA integrity_check") == [("ok",)]
        for entity in entities:
            if _columns(file, entity):
                _assert_versions(file, entity)
                _assert_row_is_last_history(file, entity)
                _assert_catalog(file, entity)
            else:
                assert not _columns(file, f"{entity}_history"), "a history without its table"


def assert_outbox_agrees(path: Path, *entities: str, but: str = "after") -> int:
    """For every change in the histories there is one message, in the order of versions, and no other; counts them.

    `but` is the id of the row that a test saves by a handle without recorders.
    """
    with closing(apsw.Connection(str(path))) as file:
        if not _columns(file, "kernel_outbox"):
            return 0
        bodies = [json.loads(row[0]) for row in _rows(file, "SELECT body FROM kernel_outbox ORDER BY seq")]
        sent = [(body["entity"], body["id"], body["version"], body["action"]) for body in bodies]
        made = [
            (entity, *row)
            for entity in entities
            if _columns(file, entity)
            for row in _rows(file, f'SELECT id, _version, _action FROM "{entity}_history" WHERE id <> ?', but)
        ]
    assert sorted(sent) == sorted(made), "the outbox and the histories differ"
    versions: dict[tuple[str, str], int] = {}
    for entity, id, version, _ in sent:
        assert version == versions.get((entity, id), 0) + 1, f"messages of {entity} {id} are out of order"
        versions[entity, id] = version
    return len(sent)


def _rows(file: apsw.Connection, sql: str, *params: object) -> list[tuple[Any, ...]]:
    return file.execute(sql, params).fetchall()


def _columns(file: apsw.Connection, table: str) -> dict[str, str]:
    return {row[0]: row[1] for row in _rows(file, "SELECT name, type FROM pragma_table_info(?)", table)}


def _assert_versions(file: apsw.Connection, entity: str) -> None:
    gaps = _rows(
        file,
        f'SELECT id FROM "{entity}_history" GROUP BY id'
        " HAVING min(_version) <> 1 OR max(_version) <> count(*) OR count(DISTINCT _version) <> count(*) LIMIT 5",
    )
    assert not gaps, f"the history's versions are not 1..n for {gaps}"


def _assert_row_is_last_history(file: apsw.Connection, entity: str) -> None:
    same = " AND ".join(f'h."{name}" IS t."{name}"' for name in _columns(file, entity))
    newest = f'(SELECT id, max(_version) AS _version FROM "{entity}_history" GROUP BY id)'
    last = f'"{entity}_history" h JOIN {newest} n ON n.id = h.id AND n._version = h._version'
    bad_rows = _rows(
        file,
        f'SELECT t.id FROM "{entity}" t WHERE NOT EXISTS'
        f' (SELECT 1 FROM "{entity}_history" h WHERE h.id = t.id AND h._version = t._version AND {same}) LIMIT 5',
    )
    assert not bad_rows, f"rows that are not as their history says: {bad_rows}"
    ahead = _rows(
        file,
        f'SELECT h.id, h._version FROM {last} LEFT JOIN "{entity}" t ON t.id = h.id'
        " WHERE CASE h._action WHEN 'purge' THEN t.id IS NOT NULL ELSE t._version IS NOT h._version END LIMIT 5",
    )
    assert not ahead, f"history that its row does not have: {ahead}"


def _assert_catalog(file: apsw.Connection, entity: str) -> None:
    types = SqliteDialect.types
    kinds = dict(_rows(file, "SELECT field, kind FROM kernel_catalog WHERE entity = ? AND field <> 'id'", entity))
    expected = {field: types[Kind(kind)] for field, kind in kinds.items() if kind != Kind.UNKNOWN}
    owned = {"id": "TEXT"} | {field: types[kind] for field, kind in OWNED_FIELDS.items()}
    recorded = {field: types[kind] for field, kind in HISTORY_FIELDS.items()}
    assert _columns(file, entity) == expected | owned, "the catalog and the table differ"
    assert _columns(file, f"{entity}_history") == expected | owned | recorded, "the catalog and the history differ"
