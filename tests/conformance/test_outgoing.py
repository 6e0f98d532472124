"""What a change sends out is written with it, and only with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import ReservedName, UnsupportedValue
from app_kernel.core.outbox import Message
from app_kernel.db import create_database


class Recorder:
    """Remembers what it was told, and sends one message for each change."""

    def __init__(self, *topics):
        self.topics = topics or ("admin:changes",)
        self.told = []

    def __call__(self, change):
        self.told.append(change)
        body = {"entity": change.entity, "id": change.id, "version": change.version, "action": change.action}
        return [Message(topic, body, key=f"{change.entity}/{change.id}") for topic in self.topics]


@asynccontextmanager
async def recorded(place, *recorders) -> AsyncIterator:
    database = create_database(place.url, recorders=recorders)
    await database.open()
    try:
        yield database.connection()
    finally:
        await database.close()


async def sent(db):
    rows = await db.execute("SELECT [topic], [key], [body] FROM [kernel_outbox] ORDER BY [seq]")
    return [(row["topic"], row["key"], json.loads(row["body"])["action"]) for row in rows]


async def test_every_change_of_an_entity_is_recorded_with_it(place):
    recorder = Recorder()
    async with recorded(place, recorder) as db:
        await db.save_entity("notes", {"id": "a", "x": 1})
        await db.save_entity("notes", {"id": "a", "x": 2}, comment="why")
        await db.save_entity("notes", {"id": "a", "x": 2})
        await db.delete_entity("notes", "a")
        await db.restore_entity("notes", "a")
        await db.delete_entity("notes", "a", permanent=True)
        await db.delete_entity("notes", "a", permanent=True)
        assert await sent(db) == [
            ("admin:changes", "notes/a", action) for action in ("create", "update", "delete", "restore", "purge")
        ]
    told = recorder.told
    assert [change.version for change in told] == [1, 2, 3, 4, 5]
    assert [change.comment for change in told] == [None, "why", None, None, None]
    assert told[0].before is None
    assert told[0].after["x"] == 1
    assert told[1].changes == {"x": [1, 2]}
    assert (told[1].before["_version"], told[1].after["_version"]) == (1, 2)
    assert list(told[2].changes) == ["deleted_at"]
    assert (told[4].before["x"], told[4].after) == (2, None)


async def test_a_change_through_the_handle_of_a_workspace_carries_that_workspace(place):
    recorder = Recorder()
    async with recorded(place, recorder) as db:
        with in_context(Context(workspace_id="of the request")):
            await db.in_workspace("w").save_entity("notes", {"id": "a", "x": 1})
            await db.in_workspace("w").save_entities("notes", [{"id": "a", "x": 2}, {"id": "b"}])
            await db.in_workspace("w").delete_entities("notes", ["a", "b"])
            await db.save_entity("notes", {"id": "c"})
    assert [change.workspace_id for change in recorder.told] == ["w"] * 5 + ["of the request"]


async def test_a_change_carries_who_asked_for_it_and_where(place):
    recorder = Recorder()
    context = Context(request_id="r-1", address="10.0.0.1", actor_id="alice", workspace_id="w")
    async with recorded(place, recorder) as db:
        with in_context(context):
            await db.save_entity("notes", {"id": "a", "tags": ["x"]})
        await db.delete_entity("notes", "a")
    first, second = recorder.told
    assert (first.actor_id, first.request_id, first.address, first.workspace_id) == ("alice", "r-1", "10.0.0.1", "w")
    assert (second.actor_id, second.request_id, second.address, second.workspace_id) == (None, None, None, None)
    assert first.after["tags"] == ["x"]
    assert first.at == first.after["updated_at"]


async def test_an_entity_removed_with_its_history_is_recorded_too(place):
    recorder = Recorder()
    async with recorded(place, recorder) as db:
        await db.save_entity("notes", {"id": "a", "x": 1})
        await db.delete_entity("notes", "a", permanent=True, purge_history=True)
    assert [(change.action, change.version) for change in recorder.told] == [("create", 1), ("purge", 2)]


async def test_the_kernels_own_tables_are_not_recorded(place):
    recorder = Recorder()
    async with recorded(place, recorder) as db:
        await db.privileged.save_entity("kernel_things", {"id": "a", "x": 1})
        assert await sent(db) == []
    assert recorder.told == []


async def test_several_recorders_and_messages_keep_their_order(place):
    async with recorded(place, Recorder("admin:one", "admin:two"), Recorder("app:three")) as db:
        await db.save_entity("notes", {"id": "a"})
        await db.save_entity("notes", {"id": "b"})
        topics = [row[0] for row in await sent(db)]
    assert topics == ["admin:one", "admin:two", "app:three"] * 2


async def test_messages_leave_exactly_if_the_transaction_commits(place):
    async with recorded(place, Recorder()) as db:
        with pytest.raises(RuntimeError):
            async with db.transaction():
                await db.save_entity("notes", {"id": "a"})
                await db.privileged.send_messages([Message("app:mine", {"action": "mine"})])
                assert len(await sent(db)) == 2
                raise RuntimeError
        assert await sent(db) == []
        async with db.transaction():
            await db.save_entity("notes", {"id": "a"})
            await db.privileged.send_messages([Message("app:mine", {"action": "mine"})])
        assert [row[0] for row in await sent(db)] == ["admin:changes", "app:mine"]


async def test_a_recorder_that_raises_refuses_the_change(place):
    class Refuses(Exception):
        pass

    def recorder(change):
        if change.after and change.after.get("x") == 2:
            raise Refuses
        return ()

    async with recorded(place, recorder) as db:
        await db.save_entity("notes", {"id": "a", "x": 1})
        with pytest.raises(Refuses):
            await db.save_entity("notes", {"id": "a", "x": 2})
        with pytest.raises(Refuses):
            await db.save_entity("notes", {"x": 2})
        assert [(row["id"], row["x"], row["_version"]) for row in await db.find_entities("notes")] == [("a", 1, 1)]
        assert await db.count_entities("notes_history") == 1


async def test_a_message_that_is_no_json_refuses_the_change(place):
    async with recorded(place, lambda change: [Message("app:x", {"value": object()})]) as db:
        with pytest.raises(UnsupportedValue):
            await db.save_entity("notes", {"id": "a"})
        with pytest.raises(UnsupportedValue):
            await db.privileged.send_messages([Message("app:x", {"value": {1, 2}})])
        assert await db.count_entities("notes") == 0


async def test_only_the_kernels_features_write_to_the_outbox(db):
    with pytest.raises(ReservedName):
        await db.send_messages([Message("app:x", {})])
    await db.privileged.send_messages([])
    assert await sent(db) == []


async def test_a_thousand_messages_at_once_keep_their_order(db):
    messages = [Message("app:x", {"action": number}) for number in range(1000)]
    await db.privileged.send_messages(messages)
    assert [row[2] for row in await sent(db)] == list(range(1000))


@pytest.mark.acceptance("DB7")
async def test_of_writers_that_race_the_messages_of_one_entity_stand_in_the_order_of_its_versions(place):
    async with recorded(place, Recorder()) as db:
        await db.save_entity("notes", {"id": "a", "n": -1})
        await asyncio.gather(*(db.save_entity("notes", {"id": "a", "n": number}) for number in range(50)))
        rows = await db.execute("SELECT [body] FROM [kernel_outbox] ORDER BY [seq]")
    assert [json.loads(row[0])["version"] for row in rows] == list(range(1, 52))
