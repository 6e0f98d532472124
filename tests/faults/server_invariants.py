"""What must hold in a place on a server whatever was done to it, looked at by plain SQL."""

import json

from app_kernel.db.table import HISTORY_FIELDS
from tests.db.server_tools import ServerPlace


async def assert_sound(place: ServerPlace, *entities: str) -> None:
    """The rows of these entities agree with their history, and the catalog with the columns."""
    for entity in entities:
        columns = await place.columns(entity)
        if not columns:
            assert not await place.columns(f"{entity}_history"), "a history without its table"
            continue
        await _assert_versions(place, entity)
        await _assert_row_is_last_history(place, entity, columns)
        await _assert_catalog(place, entity, columns)


async def assert_outbox_agrees(place: ServerPlace, *entities: str, but: str = "after") -> int:
    """For every change in the histories there is one message, in the order of versions, and no other; counts them.

    `but` is the id of the row that a test saves by a handle without recorders.
    """
    bodies = [json.loads(row[0]) for row in await place.look("SELECT body FROM kernel_outbox ORDER BY batch, seq")]
    sent = [(body["entity"], body["id"], body["version"], body["action"]) for body in bodies]
    made = [
        (entity, *row)
        for entity in entities
        for row in await place.look(f"SELECT id, _version, _action FROM \"{entity}_history\" WHERE id <> '{but}'")
    ]
    assert sorted(sent) == sorted(made), "the outbox and the histories differ"
    versions: dict[tuple[str, str], int] = {}
    for entity, id, version, _ in sent:
        assert version > versions.get((entity, id), 0), f"messages of {entity} {id} are out of order"
        versions[entity, id] = version
    return len(sent)


async def _assert_versions(place: ServerPlace, entity: str) -> None:
    gaps = await place.look(
        f'SELECT id FROM "{entity}_history" GROUP BY id'
        " HAVING min(_version) <> 1 OR max(_version) <> count(*) OR count(DISTINCT _version) <> count(*) LIMIT 5"
    )
    assert not gaps, f"the history's versions are not 1..n for {gaps}"


async def _assert_row_is_last_history(place: ServerPlace, entity: str, columns: dict[str, str]) -> None:
    same = " AND ".join(place.same(f'h."{name}"', f't."{name}"') for name in columns)
    bad_rows = await place.look(
        f'SELECT t.id FROM "{entity}" t WHERE NOT EXISTS'
        f' (SELECT 1 FROM "{entity}_history" h WHERE h.id = t.id AND h._version = t._version AND {same}) LIMIT 5'
    )
    assert not bad_rows, f"rows that are not as their history says: {bad_rows}"
    newest = f'(SELECT id, max(_version) AS _version FROM "{entity}_history" GROUP BY id)'
    ahead = await place.look(
        f'SELECT h.id, h._version FROM "{entity}_history" h JOIN {newest} n ON n.id = h.id AND n._version = h._version'
        f" LEFT JOIN \"{entity}\" t ON t.id = h.id WHERE CASE h._action WHEN 'purge' THEN t.id IS NOT NULL"
        f" ELSE NOT {place.same('t._version', 'h._version')} END LIMIT 5"
    )
    assert not ahead, f"history that its row does not have: {ahead}"


async def _assert_catalog(place: ServerPlace, entity: str, columns: dict[str, str]) -> None:
    rows = await place.look(f"SELECT field FROM kernel_catalog WHERE entity = '{entity}' AND kind <> 'unknown'")
    missing = {row[0] for row in rows} - columns.keys()
    assert not missing, f"the catalog has fields that the table lacks: {missing}"
    history = await place.columns(f"{entity}_history")
    assert history == columns | {name: history.get(name) for name in HISTORY_FIELDS}, "table and history differ"
