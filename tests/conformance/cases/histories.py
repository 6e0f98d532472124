"""What a history tells."""

from tests.conformance.steps import Case, count, delete, find, get, history, restore, save

HISTORIES = [
    Case(
        "every change is a row of the history, with what was done",
        save("notes", {"id": "a", "x": 1}),
        save("notes", {"id": "a", "x": 2}),
        delete("notes", "a"),
        restore("notes", "a"),
        delete("notes", "a", permanent=True),
        history("notes", "a").lists("_action", "create", "update", "delete", "restore", "purge"),
        history("notes", "a").lists("_version", 1, 2, 3, 4, 5),
        history("notes", "a").lists("x", 1, 2, 2, 2, 2),
    ),
    Case(
        "a comment stands beside its change alone",
        save("notes", {"id": "a", "x": 1}, comment="first"),
        save("notes", {"id": "a", "x": 2}),
        save("notes", {"id": "a", "x": 3}, comment="it's \u2019 \U0001f600"),
        save("notes", {"id": "a", "x": 3}, comment="nothing new"),
        history("notes", "a").lists("_comment", "first", None, "it's \u2019 \U0001f600"),
        get("notes", "a").lacks("comment", "_comment", "_action", "_at", "_actor"),
    ),
    Case(
        "a comment is text",
        save("notes", {"id": "a"}, comment={"a": 1}).raises("UnsupportedValue", "comment"),
        save("notes", {"id": "a"}, comment=5).raises("UnsupportedValue", "comment"),
        save("notes", {"id": "a"}, comment="a\x00").raises("UnsupportedValue", "comment"),
        save("notes", {"id": "a"}, comment="\ud800").raises("UnsupportedValue", "comment"),
        count("notes").gives(0),
    ),
    Case(
        "the user who made a change stands beside it",
        save("notes", {"id": "a", "x": 1}).by("alice").has(created_by="alice", updated_by="alice"),
        save("notes", {"id": "a", "x": 2}).by("bob").has(created_by="alice", updated_by="bob"),
        save("notes", {"id": "a", "x": 3}).has(created_by="alice", updated_by=None),
        delete("notes", "a").by("carol"),
        restore("notes", "a").by("dave").has(created_by="alice", updated_by="dave"),
        delete("notes", "a", permanent=True).by("eve"),
        history("notes", "a").lists("_actor", "alice", "bob", None, "carol", "dave", "eve"),
        history("notes", "a").lists("created_by", *["alice"] * 6),
        history("notes", "a").lists("updated_by", "alice", "bob", None, "carol", "dave", "eve"),
    ),
    Case(
        "outside of a request nobody is the actor",
        save("notes", {"id": "a", "x": 1}).has(created_by=None, updated_by=None),
        history("notes", "a").lists("_actor", None),
    ),
    Case(
        "the history of an app's own comment and version fields keeps them apart",
        save(
            "notes", {"id": "a", "version": "v1", "comment": "mine", "action": 5, "at": "x", "actor": True}, comment="c"
        ),
        history("notes", "a").lists("version", "v1"),
        history("notes", "a").lists("comment", "mine"),
        history("notes", "a").lists("_comment", "c"),
        history("notes", "a").lists("_version", 1),
        get("notes", "a").has(version="v1", comment="mine", action=5, at="x", actor=True),
    ),
    Case(
        "the history of a field that came later is None before it",
        save("notes", {"id": "a", "x": 1}),
        save("notes", {"id": "a", "y": "new"}),
        history("notes", "a").lists("y", None, "new"),
        history("notes", "a").lists("x", 1, 1),
    ),
    Case(
        "a history is read with clauses and orders like any entity",
        save("notes", {"id": "a", "x": 1}).by("alice"),
        save("notes", {"id": "a", "x": 2}).by("bob"),
        save("notes", {"id": "b", "x": 2}).by("bob"),
        find("notes_history", "[_actor] = ?", ("bob",), "[id], [_version]").lists("id", "a", "b"),
        find("notes_history", "[_action] = ?", ("create",), "[id] DESC").lists("id", "b", "a"),
        find("notes_history", "[_version] > ?", (1,)).lists("x", 2),
        find("notes_history", order_by="[id]", limit=1, offset=1).lists("_version", 2),
        count("notes_history", "[x] = ?", (2,)).gives(2),
    ),
    Case(
        "a history shows deleted entities too",
        save("notes", {"id": "a", "x": 1}),
        delete("notes", "a"),
        history("notes", "a").lists("_action", "create", "delete"),
        count("notes_history").gives(2),
        count("notes_history", "[deleted_at] IS NULL").gives(1),
    ),
    Case(
        "a history has many rows for one id, so it is not read by id",
        save("notes", {"id": "a", "x": 1}),
        get("notes_history", "a").raises("InvalidQuery", "find_entities"),
    ),
    Case(
        "the history of nothing is empty",
        find("notes_history").gives([]),
        count("notes_history").gives(0),
        history("notes", "a").gives([]),
    ),
]
