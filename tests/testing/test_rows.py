"""What the proof of tenant isolation reads of a database: every row, whatever is in it, and which ones changed."""

from types import SimpleNamespace
from typing import Any

import pytest

from app_kernel.testing.rows import RowReader, Snapshot
from tests.outbox.carrying import BACKENDS, opened_on

KINDS: dict[str, Any] = {
    "text": 'it\'s \\ "quoted" € 𝄞\n',
    "long": "x" * 100_000,
    "blob": b"\x00\xff",
    "tree": {"a": [1, None]},
    "number": 7,
    "real": 1.5,
    "on": True,
    "none": None,
}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_rows_are_read_whole_and_those_that_changed_are_told(
    backend: str, request: pytest.FixtureRequest
) -> None:
    async with opened_on(backend, request) as (app, _):
        db = app.connection()
        await db.save_entity("things", {"id": "a", **KINDS})
        await db.save_entity("things", {"id": "b", "text": "other"})
        reader: Any = RowReader(SimpleNamespace(db=app))  # type: ignore[arg-type]  # all that it asks of a kernel
        first = await reader.read(Snapshot())
        row = first.find("a")
        assert row is not None
        assert (row["text"], row["long"], row["number"], row["real"]) == (KINDS["text"], KINDS["long"], 7, 1.5)
        assert ("things", "b") in first.rows
        assert ("things_history", "a:1") in first.rows
        await db.save_entity("things", {"id": "b", "text": "changed", "workspace_id": "w"})
        await db.delete_entity("things", "a")
        second = await reader.read(first)
        assert {key for key in second.changed_since(first) if key[0] == "things"} == {("things", "a"), ("things", "b")}
        assert second.find("a") is None
        assert second.rows["things", "b"]["workspace_id"] == "w"
