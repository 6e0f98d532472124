"""A handle that is bound to a workspace gives nothing of another one, whatever clause, id or verb it is given."""

import ast
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import app_kernel.db
from app_kernel.core.errors import InvalidName, InvalidQuery, InvalidWorkspace, OutsideWorkspace, StoreError
from app_kernel.core.ports import EntityStore
from app_kernel.db import Store
from app_kernel.db.table import EntityTable
from tests.conformance.backends import BACKENDS
from tests.security.injection_corpus import CORPUS
from tests.security.test_where_injection import HOSTILE, ORDERS

pytestmark = [pytest.mark.acceptance("AZ2"), pytest.mark.acceptance("DB2")]

SECRET = "sEcReT-oF-b"
SOON = "2999-01-01T00:00:00Z"


class Shared:
    """Two workspaces, and rows of nobody, in one table."""

    def __init__(self, db: Store) -> None:
        self.db, self.a, self.b = db, db.in_workspace("a"), db.in_workspace("b")

    async def fill(self) -> "Shared":
        await self.a.save_entity("notes", {"id": "mine", "name": "mine", "email": "x@y", "n": 1, "j": {"k": 1}})
        theirs = {"name": SECRET, "email": "x@y", "n": 2**62, "j": {"k": SECRET}}
        await self.b.save_entity("notes", {**theirs, "id": "live"})
        await self.b.save_entity("notes", {"id": "live", "n": 2**63 - 1})
        await self.b.save_entity("notes", {**theirs, "id": "deleted"})
        await self.b.delete_entity("notes", "deleted")
        await self.b.save_entity("notes", {**theirs, "id": "purged"})
        await self.b.delete_entity("notes", "purged", permanent=True)
        await self.db.save_entity("notes", {**theirs, "id": "nobodys"})
        return self

    async def everything(self) -> list[Any]:
        """All that is not of workspace a, with its history."""
        whole = [
            *await self.db.find_entities("notes", include_deleted=True),
            *await self.db.find_entities("notes_history", order_by="[id], [_version]"),
        ]
        return [row for row in whole if row["workspace_id"] != "a"]


@pytest.fixture(params=BACKENDS)
async def shared(request):
    async with BACKENDS[request.param]() as place:
        yield await Shared(await place.open()).fill()


FOREIGN = ("live", "deleted", "purged", "nobodys")
"""Ids that are not of workspace a, nor are they free."""

CLAUSES = [
    ("1=1", ()),
    ("1=1 OR 1=1", ()),
    ("1=0 OR 1=1", ()),
    ("NOT (1=0)", ()),
    ("[workspace_id] = ?", ("b",)),
    ("[workspace_id] <> ?", ("a",)),
    ("[workspace_id] = 'b' OR [workspace_id] = 'a'", ()),
    ("[workspace_id] IN (?)", (["a", "b"],)),
    ("[workspace_id] NOT IN (?)", (["a"],)),
    ("[workspace_id] IN (?)", ([],)),
    ("NOT [workspace_id] IN (?)", ([],)),
    ("[workspace_id] IS NULL", ()),
    ("[workspace_id] IS NOT NULL OR [workspace_id] IS NULL", ()),
    ("COALESCE([workspace_id], 'a') = 'a' OR 1=1", ()),
    ("LOWER([workspace_id]) LIKE '%'", ()),
    ("[WORKSPACE_ID] = 'b' OR [WORKSPACE_ID] IS NULL", ()),
    ("workspace_id = 'b' OR Workspace_Id IS NULL", ()),
    ("[j.k] = ?", (SECRET,)),
    ("[j.k] IS NULL OR [j.k] IS NOT NULL", ()),
    ("[deleted_at] IS NULL OR [deleted_at] IS NOT NULL", ()),
    ("[id] = ? OR [id] = ?", ("live", "nobodys")),
    ("[id] IN (?)", ([*FOREIGN, "mine"],)),
    ("[id] LIKE ?", ("%",)),
    ("[name] ILIKE ?", ("%SECRET%",)),
    ("[name] = ? OR [nope] IS NULL", (SECRET,)),
    ("[nope] = 1 OR 1=1", ()),
    ("[n] BETWEEN ? AND ?", (0, 2**63 - 1)),
    ("[n] BETWEEN 0 AND 9 OR 1=1", ()),
    ("[n] + 1 > 0", ()),
    ("[n] * 4 > 0 OR 1=1", ()),
    ("ABS([n]) > 0", ()),
]
"""Clauses that the grammar allows, each with its params."""


@pytest.mark.parametrize("include_deleted", [False, True])
async def test_no_clause_reads_anything_of_another_workspace(shared, include_deleted):
    a = shared.a
    for clause, params in CLAUSES:
        for page in ({}, {"order_by": "[workspace_id] DESC"}, {"limit": 5, "offset": 0}, {"as_of": SOON}):
            found = await a.find_entities("notes", clause, params, include_deleted=include_deleted, **page)
            assert {row["id"] for row in found} <= {"mine"}, (clause, page)
        for moment in ({}, {"as_of": SOON}):
            assert await a.count_entities("notes", clause, params, include_deleted, **moment) <= 1, clause
        assert {row["id"] async for row in a.iterate_entities("notes", clause, params, 1)} <= {"mine"}
        assert {row["id"] for row in await a.find_entities("notes_history", clause, params)} <= {"mine"}
    assert [row["id"] for row in await a.find_entities("notes")] == ["mine"]
    with pytest.raises(InvalidQuery, match="no values inside"):
        await a.find_entities("notes", "[workspace_id.x] IS NULL")


async def test_a_clause_of_the_corpus_is_refused_or_reads_its_own_rows(shared):
    refused = 0
    for text in dict.fromkeys([*HOSTILE, *CORPUS]):
        params = [1] * text.count("?")
        try:
            found = await shared.a.find_entities("notes", text, params)
        except (InvalidQuery, InvalidName):
            refused += 1
            continue
        assert {row["id"] for row in found} <= {"mine"}, text
        assert await shared.a.count_entities("notes", text, params) <= 1, text
        assert {row["id"] async for row in shared.a.iterate_entities("notes", text, params)} <= {"mine"}, text
    for text in [*ORDERS, *CORPUS]:
        try:
            found = await shared.a.find_entities("notes", "1=1 OR 1=1", (), text, include_deleted=True)
        except (InvalidQuery, InvalidName):
            refused += 1
            continue
        assert {row["id"] for row in found} <= {"mine"}, text
    assert refused > 500


async def test_what_another_workspace_stores_never_makes_a_query_fail(shared):
    # Its numbers overflow here, which would tell of them, and keep this workspace from asking at all.
    for clause in ("[n] + 1 > 0", "[n] * 3 > 0", "1=1 AND [n] * [n] >= [n]", "NOT ([n] + [n] < 0)"):
        assert [row["id"] for row in await shared.a.find_entities("notes", clause)] == ["mine"]
        assert await shared.a.count_entities("notes", clause, as_of=SOON) == 1
        assert [row["id"] async for row in shared.a.iterate_entities("notes", clause, batch_size=1)] == ["mine"]
        with pytest.raises(InvalidQuery):
            await shared.b.find_entities("notes", clause)


Attack = Callable[[Store, str], Awaitable[Any]]


async def _listed(walk: Any) -> list[Any]:
    return [entity async for entity in walk]


ATTACKS: dict[str, list[Attack]] = {
    "get_entity": [
        lambda a, id: a.get_entity("notes", id),
        lambda a, id: a.get_entity("notes", id, include_deleted=True),
        lambda a, id: a.get_entity("notes", id, include_deleted=True, as_of=SOON),
    ],
    "get_entities": [
        lambda a, id: a.get_entities("notes", [id, id]),
        lambda a, id: a.get_entities("notes", [id], include_deleted=True),
    ],
    "find_entities": [
        lambda a, id: a.find_entities("notes", "[id] = ?", (id,), include_deleted=True),
        lambda a, id: a.find_entities("notes", "[id] = ?", (id,), include_deleted=True, as_of=SOON),
        lambda a, id: a.find_entities("notes_history", "[id] = ?", (id,)),
    ],
    "count_entities": [
        lambda a, id: a.count_entities("notes", "[id] = ?", (id,), include_deleted=True),
        lambda a, id: a.count_entities("notes", "[id] = ?", (id,), include_deleted=True, as_of=SOON),
        lambda a, id: a.count_entities("notes_history", "[id] = ?", (id,)),
    ],
    "iterate_entities": [
        lambda a, id: _listed(a.iterate_entities("notes", "[id] = ?", (id,))),
        lambda a, id: _listed(a.iterate_entities("notes_history", "[id] = ?", (id,), 1)),
    ],
    "get_entity_history": [
        lambda a, id: a.get_entity_history("notes", id),
        lambda a, id: a.get_entity_history("notes", id, limit=2, offset=1),
    ],
    "get_entity_version": [
        lambda a, id: a.get_entity_version("notes", id, 1),
        lambda a, id: a.get_entity_version("notes", id, 2),
    ],
    "save_entity": [
        lambda a, id: a.save_entity("notes", {"id": id, "name": "taken"}),
        lambda a, id: a.save_entity("notes", {"id": id, "name": "taken", "workspace_id": "a"}),
        lambda a, id: a.save_entity("notes", {"id": id, "name": "taken", "workspace_id": "b"}),
        lambda a, id: a.save_entity("notes", {"id": id, "name": "taken"}, expected_version=1),
        lambda a, id: a.save_entity("notes", {"id": id, "name": "taken"}, expected_version=2),
        lambda a, id: a.save_entity("notes", {"id": id, "name": SECRET, "n": 1}, match_by=["name"]),
        lambda a, id: a.save_entity("notes", {"id": id, "workspace_id": None}, match_by=["workspace_id"]),
    ],
    "save_entities": [
        lambda a, id: a.save_entities("notes", [{"name": "new"}, {"id": id, "name": "taken"}]),
        lambda a, id: a.save_entities("notes", [{"name": "new"}, {"id": id, "name": SECRET}], match_by=["name"]),
        lambda a, id: a.save_entities("notes", [{"name": "new", "workspace_id": "b"}]),
    ],
    "delete_entity": [
        lambda a, id: a.delete_entity("notes", id),
        lambda a, id: a.delete_entity("notes", id, permanent=True),
        lambda a, id: a.delete_entity("notes", id, permanent=True, purge_history=True),
    ],
    "delete_entities": [
        lambda a, id: a.delete_entities("notes", [id]),
        lambda a, id: a.delete_entities("notes", [id, id], permanent=True),
    ],
    "restore_entity": [lambda a, id: a.restore_entity("notes", id)],
    "increment": [lambda a, id: a.increment("notes", id, "n"), lambda a, id: a.increment("notes", id, "new_field")],
    "revert": [
        lambda a, id: a.revert("notes", id, 1),
        lambda a, id: a.revert("notes", id, 1, expected_version=2),
        lambda a, id: a.revert("notes", id, as_of=SOON),
    ],
    "execute": [lambda a, id: a.execute("SELECT * FROM [notes] WHERE [id] = ?", (id,))],
    "privileged": [
        lambda a, id: a.privileged.get_entity("notes", id, include_deleted=True),
        lambda a, id: a.privileged.privileged.save_entity("notes", {"id": id, "name": "taken"}),
        lambda a, id: a.privileged.in_workspace("a").delete_entity("notes", id),
        lambda a, id: a.privileged.execute("DELETE FROM [notes] WHERE [id] = ?", (id,)),
    ],
}
"""What each verb does with the id of somebody else's row."""
NO_ROWS = {
    "database": "is compared by identity",
    "backend": "says what kind of database it is",
    "after_commit": "calls back",
    "ensure_fields": "the schema is everybody's",
    "ensure_index": "the schema is everybody's",
    "ensure_tables": "the schema is everybody's",
    "send_messages": "the outbox belongs to the kernel's features",
    "add_recorder": "a switch for the whole database, which reads and writes nothing",
    "in_workspace": "has a test of its own",
    "transaction": "every attack runs inside of one too",
    "workspace_id": "says what the handle is bound to",
}
"""Verbs that read and write no entity, and why they need no attack."""


def _public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


def test_every_verb_is_attacked_here_or_touches_no_entity():
    assert _public(EntityStore) == {*ATTACKS, *NO_ROWS}
    assert _public(Store) == {*ATTACKS, *NO_ROWS}, "a verb that is not in the port"


HARMLESS = {
    *map(repr, (None, [], 0, False)),
    "Raw SQL cannot be kept inside a workspace; run it through the handle of no workspace.",
    # What is said of the workspace's own row, which is the one that was matched.
    "match_by: the entity with this [workspace_id] has another id than the one given.",
}


async def _said(attack: Attack, handle: Store, id: str, *, inside: bool) -> str:
    """What a verb answers, or says of its refusal."""
    try:
        if not inside:
            return repr(await attack(handle, id))
        async with handle.transaction() as within:
            return repr(await attack(within, id))
    except StoreError as exc:
        return exc.message


@pytest.mark.parametrize("verb", ATTACKS)
async def test_a_verb_neither_tells_nor_changes_anything_of_another_workspace(shared, verb):
    before = await shared.everything()
    for id in FOREIGN:
        for attack in ATTACKS[verb]:
            for inside in (False, True):
                said = await _said(attack, shared.a, id, inside=inside)
                assert SECRET not in said
                assert said in HARMLESS or said.endswith("There is no such entity in this workspace."), (id, said)
    assert await shared.everything() == before
    assert [row["id"] for row in await shared.a.find_entities("notes", include_deleted=True)] == ["mine"]


async def test_a_save_to_an_id_is_refused_alike_whatever_there_is_elsewhere(shared):
    said = set()
    for id in FOREIGN:
        for given in ({"id": id}, {"id": id, "n": 1}, {"id": id, "deleted_at": SOON}, {"id": id, "workspace_id": "b"}):
            with pytest.raises(OutsideWorkspace) as refused:
                await shared.a.save_entity("notes", given)
            said.add(refused.value.message)
        with pytest.raises(OutsideWorkspace, match=r"entities\[0\]: There is no such entity in this workspace\."):
            await shared.a.save_entities("notes", [{"id": id}])
    assert said == {"There is no such entity in this workspace."}


async def test_none_and_other_things_that_are_no_id_are_no_workspace(shared):
    class Odd(str):
        __slots__ = ()

    for no_id in (None, "", b"a", 1, True, ("a",), object(), "x" * 192, "a\0", "\0", "\ud800", "a\udfff"):
        with pytest.raises(InvalidWorkspace):
            shared.db.in_workspace(no_id)
        with pytest.raises(InvalidWorkspace):
            shared.a.in_workspace(no_id)
    assert shared.db.in_workspace(Odd("a")).in_workspace("a") is not None
    assert await shared.db.in_workspace("x" * 191).find_entities("notes") == []


async def test_a_bound_handle_is_never_bound_to_another_workspace(shared):
    strict = shared.db.privileged.in_workspace("a")
    assert shared.a.in_workspace("a") is shared.a
    assert strict.in_workspace("a") is strict.privileged is strict
    assert shared.a.privileged.privileged is shared.a.privileged
    assert (shared.db.workspace_id, shared.a.workspace_id, strict.workspace_id) == (None, "a", "a")
    for handle in (shared.a, shared.a.privileged, shared.a.privileged.in_workspace("a"), strict):
        for other in ("b", "A", "a ", " a", "\u0430"):
            with pytest.raises(OutsideWorkspace):
                handle.in_workspace(other)


NEIGHBOURS = [
    *("a", "A", "a ", " a", "a%", "%", "_", "a_", "aa", "\u0430", "\u00e4", "a\u0308", "NULL", "null", "'", "a'--"),
    *("?", "[workspace_id]", "1=1", "' OR '1'='1", "b", "0", "\ufeffa", "a\n", "\\", "{a}", "\U0001f986"),
]


async def test_workspaces_whose_ids_look_alike_are_different_workspaces(shared):
    for id in NEIGHBOURS:
        await shared.db.in_workspace(id).save_entity("alike", {"id": f"of {id}", "email": "same"}, match_by=["email"])
    for id in NEIGHBOURS:
        handle = shared.db.in_workspace(id)
        assert [row["id"] for row in await handle.find_entities("alike", "[workspace_id] LIKE '%'")] == [f"of {id}"]
        assert await handle.count_entities("alike", as_of=SOON) == 1
        row = await handle.save_entity("alike", {"email": "same", "n": 1}, match_by=["email"])
        assert (row["id"], row["workspace_id"], row["_version"]) == (f"of {id}", id, 2)


async def test_many_workspaces_share_their_compiled_statements(shared):
    # An id in the text of a statement would be injected, and would fill what keeps them.
    async def use(handle):
        await handle.find_entities("notes", "[n] > ? AND [n] + 1 > 0", (0,), "[n] DESC")
        await handle.get_entity("notes", "mine")
        await handle.get_entity("notes", "mine", as_of=SOON)
        await handle.get_entities("notes", ["mine"])
        await handle.save_entity("notes", {"name": "x"}, match_by=["name"])
        await handle.save_entities("notes", [{"name": "y"}], match_by=["name"])
        await handle.get_entity_history("notes", "mine")

    await use(shared.db.in_workspace("first"))
    known = shared.db._outside.schema.known("notes")
    shapes = len(known.inside_statements)
    for number in range(20):
        await use(shared.db.in_workspace(f"tenant-{number}'"))
    now = shared.db._outside.schema.known("notes")
    assert now is known
    assert len(now.inside_statements) == shapes
    assert not [sql for sql in now.inside_statements.values() if "tenant-" in str(sql)]


async def test_an_error_of_the_database_names_nothing_of_another_workspace(shared):
    await shared.b.save_entity("accounts", {"id": "b1", "email": SECRET})
    await shared.db.ensure_index("accounts", ["workspace_id", "email"], unique=True)
    own = await shared.a.save_entity("accounts", {"email": SECRET}, match_by=["email"])
    assert own["id"] != "b1"
    with pytest.raises(StoreError) as refused:
        await shared.a.save_entity("accounts", {"email": SECRET})
    assert "b1" not in str(refused.value)


DB = Path(app_kernel.db.__file__).parent
REACH = {"schema.py", "workspace.py", "growth.py", "definitions.py", "catalog.py"}
"""What looks after tables themselves."""


def _calls(path: Path) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def test_the_verbs_reach_tables_through_the_schema_of_their_scope_alone():
    makers = {
        path.name
        for path in DB.glob("*.py")
        if path.name not in REACH and {"EntityTable", "load_table"} & set(_calls(path))
    }
    # A table that is not there, and the past of one, which is as its history is.
    assert makers == {"reads.py", "time_travel.py", "table.py"}
    readers = {path.name for path in DB.glob("*.py") if any(call.endswith("session.fetch") for call in _calls(path))}
    assert readers == {"handle.py", "many_writes.py", "at_once.py", "schema.py", "catalog.py"}


def test_a_statement_that_forgets_its_condition_has_a_parameter_too_many():
    table = EntityTable("notes", 1, {})
    assert table.bound(("x",)) == ("x",)
    assert table.within("a", None).bound(("x",)) == ("x", "a")
