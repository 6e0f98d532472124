"""Every change of every entity is told of, with what differs, and only if it is committed."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app_kernel.audit import TABLES, enable_audit, record
from app_kernel.audit.sink import write_events
from app_kernel.audit.tables import TOPIC
from app_kernel.core.context import Context, acting_as, in_context
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from tests.audit.trails import APP, Trail, audited_in_memory

Entries = list[dict[str, Any]]


def told(entries: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Action, id, version and changes, but for instants."""
    return [
        (entry["action"], entry["entity_id"], entry["version"], {**entry["changes"], "deleted_at": None})
        for entry in entries
    ]


def line(action: str, id: str, version: int, **changes: Any) -> tuple[Any, ...]:
    return action, id, version, {**changes, "deleted_at": None}


@pytest.mark.acceptance("EV6")
async def test_each_verb_is_told_with_what_differs(trail: Trail) -> None:
    """EV6: the event is there with the right difference; what changes nothing has none."""
    db = trail.db
    await db.save_entity("books", {"id": "a", "title": "Ada", "pages": 1}, comment="arrived")
    await db.save_entity("books", {"id": "a", "title": "Ada", "pages": 1})  # nothing new
    await db.save_entity("books", {"id": "a", "pages": 2})
    await db.increment("books", "a", "pages", 5)
    await db.save_entity("books", {"title": "Ada", "isbn": "i-1"}, match_by=["title"])
    await db.save_entity("books", {"title": None, "id": "a"})
    await db.revert("books", "a", version=1)
    assert await db.delete_entity("books", "a")
    assert not await db.delete_entity("books", "a")
    await db.restore_entity("books", "a")
    assert await db.delete_entity("books", "a", permanent=True)
    entries = await trail.entries(entity="books")
    assert told(entries) == [
        line("create", "a", 1, title=[None, "Ada"], pages=[None, 1]),
        line("update", "a", 2, pages=[1, 2]),
        line("update", "a", 3, pages=[2, 7]),
        line("update", "a", 4, isbn=[None, "i-1"]),
        line("update", "a", 5, title=["Ada", None]),
        line("update", "a", 6, title=[None, "Ada"], pages=[7, 1], isbn=["i-1", None]),
        line("delete", "a", 7),
        line("restore", "a", 8),
        (
            *line("purge", "a", 9)[:3],
            {"title": ["Ada", None], "pages": [1, None], "deleted_at": None, **_made(entries[-1])},
        ),
    ]
    assert entries[0]["reason"] == "arrived"
    assert entries[6]["changes"]["deleted_at"][0] is None
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    assert {entry["app"] for entry in entries} == {APP}


def _made(purged: dict[str, Any]) -> dict[str, Any]:
    """When it was made is a fact of the row, which is gone with it."""
    return {"created_at": purged["changes"]["created_at"]}


async def test_what_is_changed_in_bulk_is_told_row_by_row(trail: Trail) -> None:
    db = trail.db
    rows = await db.save_entities("books", [{"id": f"b{n:03}", "n": n} for n in range(250)])
    await db.save_entities("books", [{"id": "b000", "n": 0}, {"id": "b001", "n": -1}])
    await db.save_entities("books", [{"n": -1, "isbn": "x"}, {"n": 7, "isbn": "y"}], match_by=["n"])
    assert await db.delete_entities("books", ["b000", "b001", "nobody"]) == 2
    assert await db.delete_entities("books", ["b002"], permanent=True) == 1
    entries = await trail.entries()
    assert [entry["entity_id"] for entry in entries[:250]] == [row["id"] for row in rows]
    assert [(entry["action"], entry["entity_id"]) for entry in entries[250:]] == [
        ("update", "b001"),
        ("update", "b001"),
        ("update", "b007"),
        ("delete", "b000"),
        ("delete", "b001"),
        ("purge", "b002"),
    ]
    assert entries[250]["changes"] == {"n": [1, -1]}


async def test_what_is_rolled_back_is_not_told(trail: Trail) -> None:
    db = trail.db
    with pytest.raises(KeyError):
        async with db.transaction():
            await db.save_entity("books", {"id": "never"})
            raise KeyError
    async with db.transaction():
        await db.save_entity("books", {"id": "a"})
        with pytest.raises(KeyError):
            async with db.transaction():
                await db.save_entity("books", {"id": "b"})
                await db.delete_entity("books", "a")
                raise KeyError
        async with db.transaction():
            await db.save_entity("books", {"id": "c"})
    assert [(entry["action"], entry["entity_id"]) for entry in await trail.entries()] == [
        ("create", "a"),
        ("create", "c"),
    ]


ODD: dict[str, Any] = {
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "day": datetime(2026, 1, 2, tzinfo=UTC).date(),
    "price": Decimal("12.50"),
    "blob": b"\x00\xff",
    "big": 2**80,
    "far": -(2**63),
    "text": "é\u2028😀" + "x" * 20,
    "tree": {"a": [1, {"b": None}], "2": "two"},
    "rate": 0.1,
    "on": True,
}
AS_JSON: dict[str, Any] = {
    **ODD,
    "at": "2026-01-02T03:04:05.000000Z",
    "day": "2026-01-02",
    "price": "12.50",
    "blob": "AP8=",
    "big": str(2**80),
}


@pytest.mark.acceptance("EV6")
async def test_values_of_every_kind_arrive_as_json(trail: Trail) -> None:
    """EV6: datetime, bytes, Decimal and the rest, and a text of 1 MB, old and new."""
    long = "long text " * 105_000
    await trail.db.save_entity("books", {"id": "a", **ODD})
    await trail.db.save_entity("books", {"id": "a", "text": long, "tree": {"deep": long}})
    first, second = await trail.entries()
    # A Decimal of MySQL is the same number without the zeros at its end.
    told = {**AS_JSON, "price": "12.5"} if trail.db.backend == "mysql" else AS_JSON
    assert first["changes"] == {name: [None, value] for name, value in told.items()}
    assert second["changes"] == {"text": [ODD["text"], long], "tree": [ODD["tree"], {"deep": long}]}


async def test_ids_of_any_length_are_told(trail: Trail) -> None:
    """The longest id; and of a user and a workspace that only the application knows at least the beginning."""
    id, user, workspace = "\u20ac" * 191, "u" * 400, "w" * 400
    with acting_as(user):
        await trail.db.save_entity("books", {"id": id, "workspace_id": workspace})
    (entry,) = await trail.entries(entity="books", entity_id=id)
    assert entry["entity_id"] == id
    longest = 255 if trail.db.backend == "mysql" else 400
    assert (entry["user_id"], entry["workspace_id"]) == (user[:longest], workspace[:longest])


async def test_the_event_says_who_did_it_and_through_what(small_trail: Trail) -> None:
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    contexts = {
        "request": Context(actor_id="u1", request_id="r1", address="192.0.2.7", traceparent=trace),
        "job": Context(actor_id="u1", job_id="j1", request_id="r1"),
        "command": Context(command="users create"),
        "code": Context(),
    }
    key = Context(actor_id="u1", request_id="r2")
    key.api_key_id = "k1"
    for source, context in {**contexts, "api_key": key}.items():
        with in_context(context):
            await small_trail.db.save_entity("books", {"id": source})
    found = {entry["source"]: entry for entry in await small_trail.entries()}
    assert found.keys() == {"request", "job", "command", "code", "api_key"}
    assert all(source == entry["entity_id"] for source, entry in found.items())
    names = ("user_id", "request_id", "address", "trace_id", "job_id", "command", "api_key_id")
    assert [found["request"][name] for name in names] == ["u1", "r1", "192.0.2.7", "ab" * 16, None, None, None]
    assert [found["job"][name] for name in names] == ["u1", "r1", None, None, "j1", None, None]
    assert [found["command"][name] for name in names] == [None, None, None, None, None, "users create", None]
    assert found["api_key"]["api_key_id"] == "k1"


async def test_an_entry_belongs_to_the_workspace_of_its_row(small_trail: Trail) -> None:
    db = small_trail.db
    with acting_as("u1", "w-context"):
        await db.save_entity("books", {"id": "own", "workspace_id": "w1"})
        await db.save_entity("books", {"id": "none"})
        await db.save_entity("shelves", {"id": "without"})
    await db.in_workspace("w2").save_entity("books", {"id": "bound"})
    found = {entry["entity_id"]: entry["workspace_id"] for entry in await small_trail.entries()}
    # A row that is in no workspace, where others are, is nobody's but the service's.
    assert found == {"own": "w1", "none": None, "without": "w-context", "bound": "w2"}


async def test_whatever_is_said_of_it_a_change_arrives(small_trail: Trail) -> None:
    with acting_as(7):  # type: ignore[arg-type]  # an application's ids may be numbers
        await small_trail.db.save_entity("books", {"id": "a"}, comment="long " * 400_001)
        meta = {"x": "x" * 1_999_999, "y": "y" * 1_999_000}
        await record("book.read", ("books", "a"), meta, reason="z" * 9_000, db=small_trail.db)
    saved, read = await small_trail.entries()
    assert (saved["user_id"], saved["reason"]) == ("7", "[omitted: 2000005 characters]")
    assert (read["user_id"], read["reason"]) == ("7", "z" * 9_000)


async def test_excluded_entities_and_the_kernels_own_are_not_told() -> None:
    async with audited_in_memory(exclude=["caches"]) as trail:
        await trail.db.save_entity("caches", {"id": "a"})
        await trail.db.privileged.save_entity("kernel_things", {"id": "a"})
        await trail.db.save_entity("books", {"id": "a"})
        assert [entry["entity"] for entry in await trail.entries()] == ["books"]


@pytest.mark.acceptance("EV9")
async def test_an_event_that_arrives_late_has_the_time_of_its_change(small_trail: Trail) -> None:
    """EV9: late delivery, told at the time of the change."""
    row = await small_trail.db.save_entity("books", {"id": "a"})
    before = datetime.now(UTC)
    [entry] = await small_trail.entries()
    assert entry["timestamp"] == row["created_at"]
    assert datetime.fromisoformat(entry["timestamp"]) < before
    [written] = await small_trail.admin_db.find_entities("audit_logs")
    assert datetime.fromisoformat(written["created_at"]) > before


async def test_two_apps_in_one_admin_database_do_not_mix(small_trail: Trail) -> None:
    async with audited_in_memory() as other:
        other.admin, other.admin_db = small_trail.admin, small_trail.admin_db
        enable_audit(other.db, None, app="films")
        await small_trail.db.save_entity("books", {"id": "same"})
        await other.db.save_entity("books", {"id": "same"})
        [of_films], [of_books] = await other.entries("films"), await small_trail.entries()
    assert (of_films["app"], of_books["app"]) == ("films", "books")
    assert not await small_trail.entries("nothing")


async def test_what_is_carried_twice_is_written_once(small_trail: Trail) -> None:
    body = {"app": APP, "action": "create", "entity": "books", "entity_id": "a", "timestamp": "2026-01-01T00:00:00Z"}
    message = Message(TOPIC, body, id="m1")
    for _ in range(2):
        async with small_trail.admin_db.transaction():
            await write_events(small_trail.admin_db, [message, message])
    assert [entry["id"] for entry in await small_trail.entries()] == ["m1"]


async def test_the_table_is_made_once_and_found_again(small_trail: Trail) -> None:
    await small_trail.admin.ensure_tables(TABLES)
    db: EntityStore = small_trail.admin_db
    assert await db.count_entities("audit_logs") == 0
