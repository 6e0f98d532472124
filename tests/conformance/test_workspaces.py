"""What a handle that is bound to a workspace reads and writes, beside handles of other workspaces and of none."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from app_kernel.core import clock
from app_kernel.core.errors import (
    EntityDeleted,
    InvalidName,
    InvalidQuery,
    OutsideWorkspace,
    UniqueViolation,
    UnsupportedTable,
    UnsupportedValue,
    VersionConflict,
)

pytestmark = pytest.mark.acceptance("AZ2")


@pytest.fixture
def a(db):
    return db.in_workspace("a")


@pytest.fixture
def b(db):
    return db.in_workspace("b")


async def ids(handle, *args, **kwargs):
    return [row["id"] for row in await handle.find_entities(*args, **kwargs)]


async def test_what_is_saved_belongs_to_the_workspace_whether_it_says_so_or_not(db, a):
    saved = [
        await a.save_entity("notes", {"x": 1}),
        await a.save_entity("notes", {"x": 2, "workspace_id": "a"}),
        await a.save_entity("notes", {"x": 3, "workspace_id": None}),
        *await a.save_entities("notes", [{"x": 4}, {"x": 5, "workspace_id": "a"}, {"id": "six", "x": 6}]),
    ]
    assert {row["workspace_id"] for row in saved} == {"a"}
    assert await db.find_entities("notes") == await a.find_entities("notes") == saved
    assert {row["workspace_id"] for row in await db.find_entities("notes_history")} == {"a"}


async def test_an_entity_that_says_that_it_is_anothers_is_refused_and_nothing_is_saved(db, a):
    await a.save_entity("notes", {"id": "mine", "x": 1})
    for other in ("b", "A", "", 1, ["a"], object()):
        with pytest.raises(OutsideWorkspace):
            await a.save_entity("notes", {"x": 2, "workspace_id": other})
        with pytest.raises(OutsideWorkspace):
            await a.save_entity("notes", {"id": "mine", "x": 2, "workspace_id": other})
        with pytest.raises(OutsideWorkspace, match=r"entities\[1\]"):
            await a.save_entities("notes", [{"x": 2}, {"x": 3, "workspace_id": other}])
        with pytest.raises(OutsideWorkspace):
            await a.save_entity("notes", {"x": 1, "workspace_id": other}, match_by=["x"])
    for spelled in ("Workspace_ID", "WORKSPACE_ID"):
        with pytest.raises(InvalidName, match="only in case"):
            await a.save_entity("notes", {"x": 2, spelled: "b"})
        with pytest.raises(InvalidName, match="only in case"):
            await a.save_entity("fresh", {"x": 2, spelled: "b"})
    assert [(row["x"], row["_version"]) for row in await db.find_entities("notes")] == [(1, 1)]


async def test_a_table_whose_rows_are_nobodys_shows_nothing_and_keeps_its_rows(db, a):
    before = await db.save_entity("notes", {"id": "old", "x": 1})
    now = clock.timestamp()
    assert await a.get_entity("notes", "old") is None
    assert await ids(a, "notes") == await ids(a, "notes", as_of=now) == await ids(a, "notes_history") == []
    assert await a.count_entities("notes", "[x] = ?", (1,)) == await a.count_entities("notes", as_of=now) == 0
    assert [row async for row in a.iterate_entities("notes")] == await a.get_entities("notes", ["old"]) == []
    assert await a.get_entity_history("notes", "old") == []
    assert await a.get_entity_version("notes", "old", 1) is await a.revert("notes", "old", 1) is None
    assert await a.increment("notes", "old", "x") is await a.restore_entity("notes", "old") is None
    assert await a.delete_entity("notes", "old", permanent=True, purge_history=True) is False
    assert await a.delete_entities("notes", ["old"]) == 0
    assert await db.get_entity("notes", "old") == before
    with pytest.raises(OutsideWorkspace):
        await a.save_entity("notes", {"id": "old", "x": 2})
    made = await a.save_entity("notes", {"x": 1}, match_by=["x"])
    assert made["id"] != "old"
    assert await db.get_entity("notes", "old") == before | {"workspace_id": None}
    # Whoever gives them to a workspace does so through the handle of none.
    await db.save_entity("notes", {"id": "old", "workspace_id": "a"})
    assert await ids(a, "notes") == sorted(["old", made["id"]])


async def test_a_table_that_is_not_there_is_empty_and_is_made_by_the_first_save(a, b):
    assert await a.get_entity("notes", "a") is None
    assert await ids(a, "notes", "[x] = 1") == await a.get_entity_history("notes", "a") == []
    assert await a.delete_entity("notes", "a") is False
    assert (await a.save_entity("notes", {"id": "a"}))["workspace_id"] == "a"
    assert await ids(b, "notes") == []


async def test_an_upsert_by_fields_meets_its_own_rows_only(a, b):
    for handle, name in ((a, "of a"), (b, "of b"), (b, "of b too")):
        await handle.save_entity("people", {"id": name, "email": "same"})
    changed = await a.save_entity("people", {"email": "same", "n": 1}, match_by=["email"])
    both = await a.save_entities("people", [{"email": "same", "n": 2}, {"email": "new", "n": 2}], match_by=["email"])
    assert [changed["id"], both[0]["id"], both[0]["_version"]] == ["of a", "of a", 3]
    assert sorted(await ids(b, "people")) == ["of b", "of b too"]
    for fields in (["workspace_id"], ["workspace_id", "email"], ["email", "workspace_id"]):
        with pytest.raises(OutsideWorkspace):
            await a.save_entity("people", {"email": "same", "workspace_id": "b"}, match_by=fields)
    row = await a.save_entity("people", {"email": "same", "n": 3}, match_by=["workspace_id", "email"])
    assert (row["id"], row["n"]) == ("of a", 3)


async def test_the_workspace_itself_may_be_what_an_upsert_goes_by(a, b):
    rows = [
        await handle.save_entity("settings", {"theme": theme}, match_by=["workspace_id"])
        for handle, theme in ((a, "dark"), (b, "light"), (a, "blue"))
    ]
    assert [(row["theme"], row["_version"]) for row in rows] == [("dark", 1), ("light", 1), ("blue", 2)]
    assert rows[0]["id"] == rows[2]["id"] != rows[1]["id"]


async def test_versions_comments_and_deletions_are_as_through_any_handle(a):
    await a.save_entity("notes", {"id": "n", "x": 1}, comment="first")
    with pytest.raises(VersionConflict):
        await a.save_entity("notes", {"id": "n", "x": 2}, expected_version=7)
    with pytest.raises(VersionConflict):
        await a.save_entity("notes", {"id": "n", "x": 2}, expected_version=0)
    await a.save_entity("notes", {"id": "n", "x": 2}, expected_version=1, comment="second")
    same = await a.save_entity("notes", {"id": "n", "x": 2})
    assert await a.delete_entity("notes", "n")
    with pytest.raises(EntityDeleted):
        await a.save_entity("notes", {"id": "n", "x": 3})
    await a.restore_entity("notes", "n")
    assert (await a.increment("notes", "n", "x", 5))["x"] == 7
    assert (await a.revert("notes", "n", 1, comment="back"))["x"] == 1
    assert await a.delete_entity("notes", "n", permanent=True)
    again = await a.save_entity("notes", {"id": "n", "x": 9})
    history = await a.get_entity_history("notes", "n")
    assert [entry["action"] for entry in history] == [
        *("create", "update", "delete", "restore", "update", "update", "purge", "create"),
    ]
    assert [entry["comment"] for entry in history] == ["first", "second", None, None, None, "back", None, None]
    assert (same["_version"], again["_version"]) == (2, 8)


async def test_a_row_that_moves_is_seen_by_each_workspace_for_the_time_that_it_was_its_own(db, a, b):
    await a.save_entity("notes", {"id": "n", "x": 1})
    first = clock.timestamp()
    await db.save_entity("notes", {"id": "n", "workspace_id": "b", "x": 2})
    second = clock.timestamp()
    await db.save_entity("notes", {"id": "n", "workspace_id": "a", "x": 3})
    now = clock.timestamp()
    seen = {}
    for handle in (a, b):
        seen[handle] = [
            [row["x"] for row in await handle.find_entities("notes", as_of=moment)] for moment in (first, second, now)
        ]
        for moment, found in zip((first, second, now), seen[handle], strict=True):
            row = await handle.get_entity("notes", "n", as_of=moment)
            assert ([] if row is None else [row["x"]]) == found
            assert await handle.count_entities("notes", as_of=moment) == len(found)
    assert seen == {a: [[1], [], [3]], b: [[], [2], []]}
    assert [entry["entity"]["x"] for entry in await a.get_entity_history("notes", "n")] == [1, 3]
    assert [entry["version"] for entry in await b.get_entity_history("notes", "n")] == [2]
    assert [await b.get_entity_version("notes", "n", version) is None for version in (1, 2, 3)] == [True, False, True]
    with pytest.raises(OutsideWorkspace):
        await b.revert("notes", "n", 2)
    with pytest.raises(InvalidQuery):
        await a.revert("notes", "n", 2)
    assert (await a.revert("notes", "n", 1))["x"] == 1


async def test_what_a_purge_leaves_of_an_id_keeps_others_from_taking_it(db, a, b):
    await b.save_entities("notes", [{"id": "kept", "x": 1}, {"id": "gone", "x": 1}])
    await b.delete_entity("notes", "kept", permanent=True)
    await b.delete_entity("notes", "gone", permanent=True, purge_history=True)
    for save in (a.save_entity("notes", {"id": "kept"}), a.save_entities("notes", [{"id": "new"}, {"id": "kept"}])):
        with pytest.raises(OutsideWorkspace):
            await save
    assert await a.delete_entity("notes", "kept", permanent=True, purge_history=True) is False
    assert (await a.save_entity("notes", {"id": "gone"}))["_version"] == 1
    assert (await b.revert("notes", "kept", 1))["x"] == 1
    # What another workspace has of a row's past is not purged with the row.
    await db.save_entity("notes", {"id": "kept", "workspace_id": "a"})
    assert await b.delete_entity("notes", "kept", permanent=True, purge_history=True) is False
    assert await a.delete_entity("notes", "kept", permanent=True, purge_history=True) is True
    assert await a.get_entity_history("notes", "kept") == []
    assert [entry["version"] for entry in await b.get_entity_history("notes", "kept")] == [1, 2, 3]


async def test_a_transaction_is_shared_with_the_handles_of_other_workspaces_and_of_none(db, a, b):
    await a.save_entity("notes", {"id": "a1", "x": 1})
    with pytest.raises(RuntimeError):
        async with a.transaction() as inside:
            assert inside is a
            await inside.save_entity("notes", {"id": "a2"})
            await b.save_entity("notes", {"id": "b1"})
            with pytest.raises(OutsideWorkspace):
                await inside.save_entity("notes", {"id": "b1", "x": 1})
            assert await db.count_entities("notes") == 3
            assert await ids(inside, "notes") == ["a1", "a2"]
            raise RuntimeError
    assert await ids(db, "notes") == ["a1"]
    async with db.transaction() as everybody:
        bound = everybody.in_workspace("b")
        await bound.save_entity("notes", {"id": "b2"})
        assert await ids(bound, "notes") == ["b2"]
    assert await ids(b, "notes") == ["b2"]


async def test_a_unique_index_of_the_applications_holds_across_workspaces(db, a, b):
    await a.save_entity("people", {"email": "x"})
    await a.ensure_index("people", ["email"], unique=True)
    with pytest.raises(UniqueViolation):
        await b.save_entity("people", {"email": "x"})
    with pytest.raises(UniqueViolation):
        await b.save_entity("people", {"email": "x"}, match_by=["email"])
    assert await db.count_entities("people") == 1


@dataclass
class Project:
    name: str
    workspace_id: str | None = None
    id: str | None = None


@dataclass
class Task:
    title: str


async def test_dataclasses_are_saved_and_read_inside(a, b):
    mine = await a.save_entity(Project("mine"))
    (theirs,) = await b.save_entities(Project, [Project("theirs")])
    assert (mine.workspace_id, theirs.workspace_id) == ("a", "b")
    assert await a.find_entities(Project) == [mine]
    assert await a.get_entity(Project, theirs.id) is None
    with pytest.raises(OutsideWorkspace):
        await a.save_entity(theirs)
    with pytest.raises(OutsideWorkspace):
        await a.save_entities(Project, [Project("new"), Project("taken", "a", theirs.id)])
    assert await a.save_entity(Task("t")) == Task("t")
    assert await b.find_entities(Task) == []


async def test_an_applications_own_table_is_kept_apart_by_its_own_column(db, place, a, b):
    text, serial = place.words["text"], place.words["serial"]
    await db.execute(f"CREATE TABLE [own] ([id] {serial}, [workspace_id] {text}, [name] {text})")
    await db.execute(
        "INSERT INTO [own] ([id], [workspace_id], [name]) VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, NULL, 'x')"
    )
    assert await ids(a, "own", "[name] = 'x'") == [1]
    assert await a.get_entity("own", 2) is None
    with pytest.raises(OutsideWorkspace):
        await a.save_entity("own", {"id": 2, "name": "y"})
    with pytest.raises(OutsideWorkspace, match=r"entities\[1\]"):
        await a.save_entities("own", [{"id": 1, "name": "y"}, {"id": 3, "name": "y"}])
    assert (await a.save_entity("own", {"name": "x", "n": 1}, match_by=["name"]))["id"] == 1
    assert (await b.save_entities("own", [{"name": "x", "n": 2}], match_by=["name"]))[0]["id"] == 2
    assert await a.delete_entities("own", [1, 2, 3]) == 1
    assert (await db.get_entity("own", 2))["name"] == "x"
    assert [entry["action"] for entry in await a.get_entity_history("own", 1)] == ["adopt", "update", "delete"]


async def test_a_column_of_numbers_refuses_instead_of_matching_nothing(db, place, a):
    await db.execute(f"CREATE TABLE [own] ([id] {place.words['key']}, [workspace_id] {place.words['int']})")
    await db.execute("INSERT INTO [own] VALUES ('x', 7)")
    await db.save_entity("numbered", {"id": "x", "workspace_id": 7})
    await db.save_entity("mixed", {"id": "x", "workspace_id": 7})
    await db.save_entity("mixed", {"id": "y", "workspace_id": "7"})
    seven = db.in_workspace("7")
    for name in ("own", "numbered", "mixed"):
        before = await db.find_entities(name)
        for call in (
            seven.find_entities(name),
            seven.count_entities(name),
            seven.get_entity(name, "x"),
            seven.save_entity(name, {"id": "z"}),
            seven.save_entities(name, [{"id": "z"}]),
            seven.delete_entity(name, "x"),
        ):
            with pytest.raises(UnsupportedTable, match=r"workspace_id.*no column of text"):
                await call
        assert await db.find_entities(name) == before


async def test_one_row_of_numbers_does_not_shut_every_workspace_out_of_a_table(db, a):
    mine = await a.save_entity("notes", {"id": "mine", "x": 1})
    for other in (7, True, 1.5, UUID(int=1), {"k": "a"}, b"a"):
        with pytest.raises(UnsupportedValue, match=r"workspace_id.*holds text.*in_workspace"):
            await db.save_entity("notes", {"x": 2, "workspace_id": other})
        with pytest.raises(UnsupportedValue, match=r"workspace_id.*holds text.*in_workspace"):
            await db.save_entities("notes", [{"x": 2, "workspace_id": "a"}, {"x": 2, "workspace_id": other}])
    with pytest.raises(UnsupportedValue):
        await db.ensure_fields("notes", {"workspace_id": UUID})
    assert await a.find_entities("notes") == [mine]
    assert await db.count_entities("notes") == 1


async def test_a_column_that_takes_different_text_for_equal_keeps_workspaces_apart(db, place, a):
    if place.backend == "postgres":
        options = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
        await db.execute(f"CREATE COLLATION any_case ({options})")
    collated = place.words["any_case"]
    await db.execute(f"CREATE TABLE [own] ([id] {place.words['key']}, [workspace_id] {collated}, [name] TEXT)")
    await db.execute("INSERT INTO [own] VALUES ('big', 'A', 'x'), ('small', 'a', 'x')")
    assert await db.execute("SELECT COUNT(*) FROM [own] WHERE [workspace_id] = 'a'") == [(2,)]
    assert await ids(a, "own") == await ids(a, "own", "1=1 OR 1=1") == ["small"]
    assert (await a.save_entity("own", {"name": "x", "n": 1}, match_by=["name"]))["id"] == "small"
    assert await a.delete_entity("own", "big") is False
    with pytest.raises(OutsideWorkspace):
        await a.save_entity("own", {"id": "big", "name": "y"})


async def test_a_column_of_another_case_is_not_the_field(db, place, a):
    await db.execute(f"CREATE TABLE [own] ([id] {place.words['key']}, [Workspace_Id] {place.words['text']})")
    await db.execute("INSERT INTO [own] VALUES ('x', 'a')")
    assert await ids(a, "own") == []
    with pytest.raises(InvalidName, match="only in case"):
        await a.save_entity("own", {"id": "y"})


async def test_raw_sql_is_refused_with_what_to_do_instead(a):
    with pytest.raises(InvalidQuery, match="handle of no workspace"):
        await a.execute("SELECT 1")


async def test_fields_and_indexes_are_made_for_everybody(db, a, b):
    await a.ensure_fields("notes", {"workspace_id": str, "x": int})
    await b.ensure_index("notes", ["workspace_id", "x"])
    await b.save_entity("notes", {"x": 1})
    assert await ids(a, "notes", "[x] = 1") == []
    assert await db.count_entities("notes", "[x] = 1") == 1
