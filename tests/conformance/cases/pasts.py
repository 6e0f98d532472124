"""What was: histories of one entity, versions, and the way back."""

from typing import Any

from tests.conformance.steps import Case, Step, count, delete, execute, find, get, restore, save


def past(name: Any, id: Any, *args: Any, **kwargs: Any) -> Step:
    return Step("get_entity_history", (name, id, *args), kwargs)


def version(name: Any, id: Any, number: Any) -> Step:
    return Step("get_entity_version", (name, id, number), {})


def revert(name: Any, id: Any, *args: Any, **kwargs: Any) -> Step:
    return Step("revert", (name, id, *args), kwargs)


SOON = "2999-01-01T00:00:00Z"
LIFE = (
    save("notes", {"id": "a", "x": 1, "tags": ["t"]}),
    save("notes", {"id": "a", "x": 2, "y": "new"}),
    delete("notes", "a"),
    restore("notes", "a"),
    delete("notes", "a", permanent=True),
    save("notes", {"id": "a", "x": 9}),
)
"""Six versions of one entity, of which the fifth is its end."""

HISTORIES = [
    Case(
        "a history tells version, action, actor and comment of each change, oldest first",
        save("notes", {"id": "a", "x": 1}, comment="first").by("ada"),
        save("notes", {"id": "a", "x": 2}),
        past("notes", "a").lists("version", 1, 2),
        past("notes", "a").lists("action", "create", "update"),
        past("notes", "a").lists("actor", "ada", None),
        past("notes", "a").lists("comment", "first", None),
    ),
    Case(
        "every kind of change is an entry, also after the entity was purged and made again",
        *LIFE,
        past("notes", "a").lists("action", "create", "update", "delete", "restore", "purge", "create"),
        past("notes", "a").lists("version", 1, 2, 3, 4, 5, 6),
    ),
    Case(
        "a history that was purged too begins anew",
        *LIFE,
        delete("notes", "a", permanent=True, purge_history=True),
        past("notes", "a").gives([]),
        version("notes", "a", 1).gives(None),
        revert("notes", "a", 1).gives(None),
    ),
    Case(
        "a history comes in pages",
        *LIFE,
        past("notes", "a", 2).lists("version", 1, 2),
        past("notes", "a", 2, 3).lists("version", 4, 5),
        past("notes", "a", limit=0).gives([]),
        past("notes", "a", offset=4).lists("version", 5, 6),
        past("notes", "a", offset=6).gives([]),
        past("notes", "a", offset=99).gives([]),
    ),
    Case(
        "the history of nothing is empty",
        past("notes", "a").gives([]),
        version("notes", "a", 1).gives(None),
        revert("notes", "a", 1).gives(None),
        save("notes", {"id": "a"}),
        past("notes", "b").gives([]),
        past("notes", None).gives([]),
        version("notes", "b", 1).gives(None),
        revert("notes", "b", 1).gives(None),
        revert("notes", "b", as_of=SOON).gives(None),
    ),
    Case(
        "a history has no history",
        save("notes", {"id": "a"}),
        past("notes_history", "a").raises("InvalidQuery", "notes_history"),
        version("notes_history", "a", 1).raises("InvalidQuery", "notes_history"),
        find("notes_history", as_of=SOON).raises("InvalidQuery", "notes_history"),
        count("NOTES_HISTORY", as_of=SOON).raises("InvalidQuery", "NOTES_HISTORY"),
        get("notes_history", "a", as_of=SOON).raises("InvalidQuery", "notes_history"),
        revert("notes_history", "a", 1).raises("ReservedName", "history"),
    ),
    Case(
        "an app's history table in another shape is no history",
        execute("CREATE TABLE [own] ([id] {key}, [x] {int})"),
        execute("CREATE TABLE [own_history] ([id] {key}, [when] {text})"),
        execute("INSERT INTO [own] VALUES ('a', 1)"),
        past("own", "a").raises("UnsupportedTable", "own_history", "shape"),
        version("own", "a", 1).raises("UnsupportedTable", "own_history", "shape"),
        revert("own", "a", 1).raises("UnsupportedTable", "own_history", "shape"),
        find("own", as_of=SOON).raises("UnsupportedTable", "own_history", "shape"),
        count("own", as_of=SOON).raises("UnsupportedTable", "own_history", "shape"),
        get("own", "a", as_of=SOON).raises("UnsupportedTable", "own_history", "shape"),
    ),
    Case(
        "a row of the app's own has no history before its first change, which adopts it",
        execute("CREATE TABLE [own] ([id] {key}, [x] {int})"),
        execute("INSERT INTO [own] VALUES ('a', 1)"),
        past("own", "a").gives([]),
        find("own", as_of=SOON).gives([]),
        revert("own", "a", 1).raises("InvalidQuery", "version 1"),
        save("own", {"id": "a", "x": 2}),
        past("own", "a").lists("action", "adopt", "update"),
        past("own", "a").lists("changes", {}, {"x": [1, 2]}),
        find("own", as_of=SOON).lists("x", 2),
        revert("own", "a", 1).has(x=1, _version=3),
    ),
]

VERSIONS = [
    Case(
        "a version is the entity as it was left then, deleted or not",
        *LIFE,
        version("notes", "a", 1).has(id="a", x=1, y=None, tags=["t"], _version=1, deleted_at=None),
        version("notes", "a", 2).has(x=2, y="new", tags=["t"], _version=2),
        version("notes", "a", 3).has(x=2, _version=3),
        version("notes", "a", 6).has(x=9, y=None, tags=None),
        version("notes", "a", 1).lacks("_action", "_at", "_actor", "_comment"),
    ),
    Case(
        "a version that was a purge, or that there is not, is None",
        *LIFE,
        version("notes", "a", 5).gives(None),
        version("notes", "a", 7).gives(None),
        version("notes", "a", 2**63 - 1).gives(None),
    ),
    Case(
        "a version is a whole number from 1",
        *LIFE,
        *(
            verb("notes", "a", bad).raises("InvalidQuery", "version")
            for verb in (version, revert)
            for bad in (0, -1, 2**63, "1", 1.0, True)
        ),
        version("notes", "a", None).raises("InvalidQuery", "version"),
    ),
    Case(
        "values keep their types in the past, also after their column widened",
        save("notes", {"id": "a", "n": 5, "flag": True, "j": {"k": [1]}}),
        save("notes", {"id": "a", "n": 5.5, "flag": False}),
        save("notes", {"id": "a", "flag": "text"}),
        version("notes", "a", 1).has(n=5.0, flag=True, j={"k": [1]}),
        past("notes", "a", offset=1).lists(
            "changes", {"n": [5.0, 5.5], "flag": [True, False]}, {"flag": [False, "text"]}
        ),
    ),
]

REVERTS = [
    Case(
        "a revert saves what was as a new version, and fields that came later become None",
        save("notes", {"id": "a", "x": 1, "tags": ["t"]}),
        save("notes", {"id": "a", "x": 2, "y": "new", "tags": None}),
        revert("notes", "a", 1, comment="back").by("bob").has(x=1, y=None, tags=["t"], _version=3, updated_by="bob"),
        get("notes", "a").has(x=1, y=None, tags=["t"], _version=3),
        past("notes", "a").lists("action", "create", "update", "update"),
        past("notes", "a").lists("comment", None, None, "back"),
        revert("notes", "a", 2).has(x=2, y="new", tags=None, _version=4),
    ),
    Case(
        "a revert to what is there already changes nothing",
        save("notes", {"id": "a", "x": 1}),
        save("notes", {"id": "a", "x": 2}),
        revert("notes", "a", 2).has(x=2, _version=2),
        revert("notes", "a", as_of=SOON).has(x=2, _version=2),
        count("notes_history").gives(2),
    ),
    Case(
        "a deleted entity is restored first",
        save("notes", {"id": "a", "x": 1}),
        save("notes", {"id": "a", "x": 2}),
        delete("notes", "a"),
        revert("notes", "a", 1, comment="back").has(x=1, _version=5, deleted_at=None),
        past("notes", "a").lists("action", "create", "update", "delete", "restore", "update"),
        past("notes", "a", offset=3).lists("comment", "back", "back"),
        get("notes", "a").has(x=1),
    ),
    Case(
        "a revert to a version that was deleted brings its values back, and the entity is there",
        save("notes", {"id": "a", "x": 1}),
        delete("notes", "a"),
        restore("notes", "a"),
        save("notes", {"id": "a", "x": 2}),
        revert("notes", "a", 2).has(x=1, deleted_at=None, _version=5),
    ),
    Case(
        "a purged entity is made again, and goes on counting",
        save("notes", {"id": "a", "x": 1, "y": "why"}),
        delete("notes", "a", permanent=True),
        revert("notes", "a", 1).has(id="a", x=1, y="why", _version=3),
        past("notes", "a").lists("action", "create", "purge", "create"),
        revert("notes", "a", 2).raises("InvalidQuery", "version 2"),
    ),
    Case(
        "a version or an instant at which the entity was not there is refused",
        *LIFE,
        revert("notes", "a", 5).raises("InvalidQuery", "version 5"),
        revert("notes", "a", 99).raises("InvalidQuery", "version 99"),
        revert("notes", "a", as_of="2001-01-01T00:00:00Z").raises("InvalidQuery", "2001-01-01"),
        get("notes", "a").has(x=9, _version=6),
    ),
    Case(
        "a revert needs a version or an instant, and not both",
        *LIFE,
        revert("notes", "a").raises("InvalidQuery", "as_of"),
        revert("notes", "a", 1, as_of=SOON).raises("InvalidQuery", "as_of"),
    ),
    Case(
        "a revert happens only at the version that is expected",
        save("notes", {"id": "a", "x": 1}),
        save("notes", {"id": "a", "x": 2}),
        revert("notes", "a", 1, expected_version=1).raises("VersionConflict", "2"),
        revert("notes", "a", 1, expected_version=2).has(x=1, _version=3),
        delete("notes", "a"),
        revert("notes", "a", 2, expected_version=3).raises("VersionConflict", "4"),
        get("notes", "a").gives(None),
        revert("notes", "a", 2, expected_version=4).has(x=2, _version=6),
        delete("notes", "a", permanent=True),
        revert("notes", "a", 1, expected_version=6).raises("VersionConflict"),
        revert("notes", "a", 1, expected_version=0).has(x=1, _version=8),
        revert("notes", "a", 1, expected_version="8").raises("UnsupportedValue", "expected_version"),
        revert("notes", "a", 1, comment=5).raises("UnsupportedValue", "comment"),
    ),
    Case(
        "a constraint of the app's stands in the way of a revert, too",
        execute("CREATE TABLE [own] ([id] {key}, [x] {int} UNIQUE)"),
        save("own", {"id": "a", "x": 1}),
        save("own", {"id": "a", "x": 2}),
        save("own", {"id": "b", "x": 1}),
        revert("own", "a", 1).raises("UniqueViolation"),
        get("own", "a").has(x=2, _version=2),
    ),
    Case(
        "an integer id is found in the past as int and as text",
        execute("CREATE TABLE [own] ([id] {serial}, [x] {int})"),
        save("own", {"x": 1}).has(id=1),
        save("own", {"id": 1, "x": 2}),
        past("own", "1").lists("version", 1, 2),
        version("own", 1, 1).has(id=1, x=1),
        get("own", "1", as_of=SOON).has(id=1, x=2),
        find("own", "[id] = ?", (1,), as_of=SOON).lists("x", 2),
        revert("own", 1, 1).has(id=1, x=1, _version=3),
        past("own", "one").gives([]),
    ),
]
