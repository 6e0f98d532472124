"""What the verbs over many entities do, one sentence a case."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from tests.conformance.steps import RESTART, Case, Step, count, delete, execute, find, get, history, restore, save

MILLION = 10**6


def save_all(name: str, entities: Any, **kwargs: Any) -> Step:
    return Step("save_entities", (name, entities), kwargs)


def get_all(name: str, ids: Any, **kwargs: Any) -> Step:
    return Step("get_entities", (name, ids), kwargs)


def delete_all(name: str, ids: Any, **kwargs: Any) -> Step:
    return Step("delete_entities", (name, ids), kwargs)


def increment(name: str, id: Any, field: str, *by: Any) -> Step:
    return Step("increment", (name, id, field, *by), {})


EMAIL = {"match_by": ["email"]}

UPSERTS = [
    Case(
        "an upsert makes what does not match and changes what does",
        save("people", {"email": "a@x", "n": 1}, **EMAIL).has(email="a@x", n=1, _version=1),
        save("people", {"email": "b@x", "n": 1}, **EMAIL).has(_version=1),
        save("people", {"email": "a@x", "n": 2, "more": True}, **EMAIL).has(email="a@x", n=2, more=True, _version=2),
        save("people", {"email": "a@x"}, **EMAIL).has(n=2, _version=2),
        count("people").gives(2),
        count("people_history").gives(3),
    ),
    Case(
        "an upsert by several fields matches all of them",
        save("stock", {"shop": 1, "item": "x", "n": 1}, match_by=["shop", "item"]),
        save("stock", {"shop": 2, "item": "x", "n": 2}, match_by=("shop", "item")),
        save("stock", {"shop": 1, "item": "x", "n": 3}, match_by=["item", "shop"]).has(n=3, _version=2),
        count("stock").gives(2),
    ),
    Case(
        "an upsert does not see deleted entities",
        save("people", {"id": "a", "email": "a@x"}),
        delete("people", "a"),
        save("people", {"email": "a@x", "n": 1}, **EMAIL).has(n=1, _version=1),
        count("people").gives(1),
        count("people", include_deleted=True).gives(2),
        restore("people", "a"),
        save("people", {"email": "a@x", "n": 2}, **EMAIL).raises("AmbiguousMatch", "[email]", "several"),
        count("people", "[n] = ?", (2,)).gives(0),
    ),
    Case(
        "an upsert without a value to match by is refused",
        save("people", {"email": None, "n": 1}, **EMAIL).raises("InvalidQuery", "[email]", "no value"),
        save("people", {"n": 1}, **EMAIL).raises("InvalidQuery", "[email]", "no value"),
        save("people", {"email": ["x"]}, **EMAIL).raises("InvalidQuery", "[email]", "list"),
        save("people", {"email": {"x": 1}}, **EMAIL).raises("InvalidQuery", "[email]", "dict"),
        save_all("people", [{"email": "a@x"}, {"n": 1}], **EMAIL).raises("InvalidQuery", "entities[1]", "[email]"),
        execute("SELECT [entity] FROM [kernel_catalog]").gives([]),
    ),
    Case(
        "match_by is a list of an application's own fields",
        save("people", {"email": "a@x"}, match_by="email").raises("InvalidQuery", "match_by"),
        save("people", {"email": "a@x"}, match_by=[]).raises("InvalidQuery", "match_by"),
        save("people", {"email": "a@x"}, match_by=["email", "email"]).raises("InvalidQuery", "twice"),
        save("people", {"email": "a@x"}, match_by=[None]).raises("InvalidName", "text"),
        save("people", {"email": "a@x"}, match_by=["e mail"]).raises("InvalidName"),
        save("people", {"email": "a@x"}, match_by=["_version"]).raises("InvalidName"),
        save("people", {"id": "a", "email": "a@x"}, match_by=["id"]).raises("InvalidQuery", "[id]"),
        save("people", {"email": "a@x"}, match_by=["created_by"]).raises("InvalidQuery", "[created_by]"),
        execute("SELECT [entity] FROM [kernel_catalog]").gives([]),
    ),
    Case(
        "an id that is given beside match_by agrees with what matches",
        save("people", {"id": "a", "email": "a@x"}, **EMAIL).has(id="a", _version=1),
        save("people", {"id": "a", "email": "a@x", "n": 1}, **EMAIL).has(id="a", n=1, _version=2),
        save("people", {"id": "b", "email": "a@x", "n": 2}, **EMAIL).raises("InvalidQuery", "another id"),
        save("people", {"id": "a", "email": "b@x", "n": 2}, **EMAIL).raises("InvalidQuery", "another [email]"),
        save_all("people", [{"id": "b", "email": "a@x"}], **EMAIL).raises("InvalidQuery", "entities[0]", "another id"),
        save_all("people", [{"id": "a", "email": "b@x"}], **EMAIL).raises("InvalidQuery", "another [email]"),
        delete("people", "a"),
        save("people", {"id": "a", "email": "a@x"}, **EMAIL).raises("EntityDeleted"),
        save_all("people", [{"id": "a", "email": "a@x"}], **EMAIL).raises("EntityDeleted", "entities[0]"),
        count("people_history").gives(3),
    ),
    Case(
        "an upsert matches values as clauses compare them, whatever their kind",
        save("notes", {"id": "i", "v": 5, "k": "i"}),
        save("notes", {"v": 5.0, "n": 1}, match_by=["v"]).has(id="i", n=1),
        save("notes", {"id": "d", "d": Decimal("1.50")}),
        save("notes", {"d": Decimal("1.5"), "n": 2}, match_by=["d"]).has(id="d", n=2),
        save("notes", {"id": "b", "b": True}),
        save("notes", {"b": True, "n": 3}, match_by=["b"]).has(id="b", n=3),
        save("notes", {"id": "t", "t": datetime(2026, 1, 2, 3, tzinfo=UTC)}),
        save("notes", {"t": datetime(2026, 1, 2, 5, tzinfo=timezone(timedelta(hours=2))), "n": 4}, match_by=["t"]).has(
            id="t", n=4
        ),
        save("notes", {"id": "y", "y": b"\x00\xff"}),
        save("notes", {"y": b"\x00\xff", "n": 5}, match_by=["y"]).has(id="y", n=5),
        save_all(
            "notes",
            [
                {"v": 5, "n": 6},
                {"v": 6, "n": 7},
            ],
            match_by=["v"],
        ).lists("n", 6, 7),
        save_all("notes", [{"d": Decimal("1.500"), "n": 8}], match_by=["d"]).ids("d"),
        save_all("notes", [{"t": datetime(2026, 1, 2, 3, tzinfo=UTC), "n": 9}], match_by=["t"]).ids("t"),
        count("notes").gives(6),
    ),
    Case(
        "what a save refuses, an upsert refuses in the same words",
        save("people", {"email": "a@x", "n": float("nan")}, **EMAIL).raises("UnsupportedValue", "[n]: NaN"),
        save("people", {"id": 5, "email": "a@x"}, **EMAIL).raises("UnsupportedValue", "[id]"),
        save("people", {"email": "a@x", "deleted_at": "2020"}, **EMAIL).raises("ReservedField", "delete_entity"),
        save("people", ["email"], **EMAIL).raises("UnsupportedValue", "dict"),
        save("kernel_people", {"email": "a@x"}, **EMAIL).raises("ReservedName"),
        save("people_history", {"email": "a@x"}, **EMAIL).raises("ReservedName"),
        execute("SELECT [entity] FROM [kernel_catalog]").gives([]),
    ),
    Case(
        "an upsert with an expected version saves only that version",
        save("people", {"email": "a@x", "n": 1}, expected_version=0, **EMAIL).has(_version=1),
        save("people", {"email": "a@x", "n": 2}, expected_version=0, **EMAIL).raises("VersionConflict"),
        save("people", {"email": "a@x", "n": 2}, expected_version=1, **EMAIL).has(n=2, _version=2),
        save("people", {"email": "b@x", "n": 2}, expected_version=1, **EMAIL).raises("VersionConflict"),
    ),
    Case(
        "many upserts in one call see what the ones before them made",
        save("people", {"id": "a", "email": "a@x"}),
        save_all(
            "people",
            [{"email": "b@x", "n": 1}, {"email": "a@x", "n": 2}, {"email": "b@x", "n": 3}, {"email": "c@x"}],
            comment="import",
            **EMAIL,
        ).lists("n", 1, 2, 3, None),
        count("people").gives(3),
        history("people", "a").lists("_comment", None, "import"),
        save("people", {"id": "twin", "email": "a@x"}),
        save_all("people", [{"email": "c@x", "n": 9}, {"email": "a@x", "n": 9}], **EMAIL).raises(
            "AmbiguousMatch", "entities[1]"
        ),
        count("people", "[n] = ?", (9,)).gives(0),
    ),
]

SAVES = [
    Case(
        "many entities are made in one call and come back in their order",
        save_all("notes", [{"id": "b", "n": 1}, {"id": "a", "n": 2}, {"id": "c", "n": 3}], comment="all").ids(
            "b", "a", "c"
        ),
        find("notes", order_by="[id]").lists("n", 2, 1, 3),
        history("notes", "a").lists("_comment", "all"),
        history("notes", "a").lists("_action", "create"),
        save_all("notes", []).gives([]),
        save_all("nothing", []).gives([]),
        execute("SELECT DISTINCT [entity] FROM [kernel_catalog]").gives([("notes",)]),
    ),
    Case(
        "the actor is written into every row and its history",
        save_all("notes", [{"id": "a"}, {"id": "b"}]).by("alice"),
        save_all("notes", [{"id": "a", "n": 1}, {"id": "c", "n": 1}]).by("bob"),
        get("notes", "a").has(created_by="alice", updated_by="bob", _version=2),
        get("notes", "b").has(created_by="alice", updated_by="alice", _version=1),
        get("notes", "c").has(created_by="bob", updated_by="bob"),
        history("notes", "a").lists("_actor", "alice", "bob"),
    ),
    Case(
        "creates, changes and what changes nothing may stand in one call",
        save_all("notes", [{"id": "a", "n": 1, "t": "x"}, {"id": "b", "n": 1, "t": "x"}]),
        save_all("notes", [{"id": "b", "n": 1}, {"id": "c", "n": 1}, {"id": "a", "t": None}]).lists(
            "_version", 1, 1, 2
        ),
        get("notes", "a").has(n=1, t=None),
        get("notes", "b").has(n=1, t="x", _version=1),
        count("notes_history").gives(4),
    ),
    Case(
        "several entities of one id are saved one after the other",
        save_all("notes", [{"id": "a", "n": 1}, {"id": "b"}, {"id": "a", "n": 2}, {"id": "a", "t": "x"}]).lists(
            "_version", 1, 1, 2, 3
        ),
        get("notes", "a").has(n=2, t="x", _version=3),
        history("notes", "a").lists("n", 1, 2, 2),
        history("notes", "a").lists("_action", "create", "update", "update"),
    ),
    Case(
        "kinds are learned from all entities at once",
        save_all("notes", [{"id": "a", "v": None, "w": 1}, {"id": "b", "v": 1, "w": 2**70}, {"id": "c", "v": 0.5}]),
        find("notes", order_by="[id]").lists("v", None, 1.0, 0.5),
        find("notes", order_by="[id]").lists("w", 1, 2**70, None),
        RESTART,
        save_all("notes", [{"id": "a", "v": 3}, {"id": "d", "v": "text"}]).lists("v", 3, "text"),
        get("notes", "b").has(v=1.0),
        save_all("mixed", [{"id": "a", "v": 2**60}, {"id": "b", "v": 0.5}, {"id": "c", "v": [1]}]).lists(
            "v", 2**60, 0.5, [1]
        ),
    ),
    Case(
        "every kind of value comes back as it was given",
        save_all(
            "notes",
            [
                {
                    "id": str(number),
                    "text": "é'\"[]?",
                    "int": -number,
                    "float": number / 8,
                    "bool": number % 2 == 0,
                    "decimal": Decimal(number).scaleb(-2),
                    "json": {"a": [number, None, True]},
                    "at": datetime(2026, 1, 1, number, tzinfo=UTC),
                    "bytes": bytes([number, 0]),
                    "never": None,
                }
                for number in range(3)
            ],
        ),
        get("notes", "2").has(
            text="é'\"[]?",
            int=-2,
            float=0.25,
            bool=True,
            decimal=Decimal("0.02"),
            json={"a": [2, None, True]},
            at=datetime(2026, 1, 1, 2, tzinfo=UTC),
            bytes=b"\x02\x00",
            never=None,
        ),
        save_all("notes", [{"id": "1", "decimal": Decimal("0.010"), "json": {"a": [1, None, True]}}]).lists(
            "_version", 1
        ),
    ),
    Case(
        "one entity that is refused refuses all, and is named",
        save("notes", {"id": "a", "n": 1}),
        save_all("notes", [{"id": "a", "n": 2}, {"id": "b", "n": float("nan")}]).raises(
            "UnsupportedValue", "entities[1]", "[n]"
        ),
        save_all("notes", [{"n": 2}, {"n": 2}, {"bad name": 1}]).raises("InvalidName", "entities[2]"),
        save_all("notes", [{"id": "a", "n": 2}, {"id": 5}]).raises("UnsupportedValue", "entities[1]", "[id]"),
        save_all("notes", [{"id": "a", "n": 2}, ["x"]]).raises("UnsupportedValue", "entities[1]", "dict"),
        save_all("notes", [{"id": "a", "n": 2}, {"id": "a", "deleted_at": "2020"}]).raises(
            "ReservedField", "entities[1]", "delete_entity"
        ),
        save_all("notes", [{"id": "a", "n": 2}, {"deleted_at": "2020", "new": 1}]).raises(
            "ReservedField", "entities[1]"
        ),
        save("notes", {"id": "gone"}),
        delete("notes", "gone"),
        save_all("notes", [{"id": "a", "n": 2}, {"id": "gone", "n": 2}]).raises("EntityDeleted", "entities[1]"),
        get("notes", "a").has(n=1, _version=1),
        count("notes").gives(1),
    ),
    Case(
        "entities are given as a list, and names are checked as everywhere",
        save_all("notes", "ab").raises("InvalidQuery", "list", "str"),
        save_all("notes", {"id": "a"}).raises("InvalidQuery", "list", "dict"),
        save_all("notes", None).raises("InvalidQuery", "list"),
        save_all("kernel_users", [{"id": "a"}]).raises("ReservedName"),
        save_all("notes_history", [{"id": "a"}]).raises("ReservedName"),
        save_all("notes", [{"id": "a"}], comment=5).raises("UnsupportedValue", "comment"),
        execute("SELECT [entity] FROM [kernel_catalog]").gives([]),
    ),
    Case(
        "the fields that the kernel owns are ignored in every entity",
        save_all("notes", [{"id": "a", "created_by": "eve", "_version": 9, "updated_at": "1999"}]).lists(
            "created_by", None
        ),
        save_all("notes", [{"id": "a", "created_by": "eve", "_version": 9, "deleted_at": None}]).lists("_version", 1),
    ),
    Case(
        "an entity made again after a permanent delete goes on counting its versions",
        save("notes", {"id": "a", "n": 1}),
        delete("notes", "a", permanent=True),
        save_all("notes", [{"id": "a", "n": 2}, {"id": "b"}]).lists("_version", 3, 1),
        history("notes", "a").lists("_action", "create", "purge", "create"),
    ),
    Case(
        "a row that a raw statement made gets its first version with the change",
        save("notes", {"id": "z", "n": 1}),
        execute("INSERT INTO [notes] ([id], [n]) VALUES (?, ?)", ("raw", 1)),
        save_all("notes", [{"id": "raw", "n": 2}, {"id": "z", "n": 2}]).lists("_version", 2, 2),
        history("notes", "raw").lists("_action", "adopt", "update"),
        execute("INSERT INTO [notes] ([id], [n]) VALUES (?, ?)", ("raw2", 1)),
        delete_all("notes", ["raw2", "z"]).gives(2),
        history("notes", "raw2").lists("_action", "adopt", "delete"),
    ),
    Case(
        "an application's own table takes many entities too, with what it fills in",
        execute("CREATE TABLE [papers] ([id] {serial}, [title] {text} NOT NULL, [state] {text} DEFAULT 'new')"),
        save_all("papers", [{"title": "a"}, {"title": "b", "state": "old"}]).lists("state", "new", "old"),
        save_all("papers", [{"id": 1, "title": "c"}, {"id": "2", "n": 5}]).lists("title", "c", "b"),
        save_all("papers", [{"title": "d"}, {"state": "x"}]).raises("MissingValue", "entities[1]", "title"),
        get_all("papers", ["2", 1, 9]).ids(2, 1),
        save_all("papers", [{"title": "c", "n": 7}, {"title": "e"}], match_by=["title"]).lists("n", 7, None),
        delete_all("papers", [1, "2"]).gives(2),
        count("papers").gives(1),
    ),
]

READS = [
    Case(
        "entities come in the order of the ids, and those that are not there are left out",
        save_all("notes", [{"id": id, "n": n} for n, id in enumerate("abcd")]),
        get_all("notes", ["d", "x", "a", "c"]).ids("d", "a", "c"),
        get_all("notes", ("b", "b", "a", "b")).ids("b", "a"),
        get_all("notes", []).gives([]),
        get_all("nothing", ["a"]).gives([]),
        get_all("notes", [None, 5, "", "a\x00", "\ud800", b"a", True, ["a"], "a"]).ids("a"),
        delete("notes", "a"),
        get_all("notes", ["a", "b"]).ids("b"),
        get_all("notes", ["a", "b"], include_deleted=True).ids("a", "b"),
    ),
    Case(
        "ids are given as a list",
        get_all("notes", "abc").raises("InvalidQuery", "ids", "str"),
        get_all("notes", None).raises("InvalidQuery", "ids"),
        get_all("notes", 5).raises("InvalidQuery", "ids"),
        delete_all("notes", "abc").raises("InvalidQuery", "ids"),
        get_all("notes_history", ["a"]).raises("InvalidQuery", "find_entities"),
        get_all("bad name", ["a"]).raises("InvalidName"),
    ),
]

DELETES = [
    Case(
        "many entities are deleted, and what is not there does not count",
        save_all("notes", [{"id": id} for id in "abcd"]).by("alice"),
        delete_all("notes", ["a", "c", "x", "a", None, 5]).gives(2).by("bob"),
        delete_all("notes", ["a", "b"]).gives(1),
        find("notes").ids("d"),
        history("notes", "a").lists("_action", "create", "delete"),
        history("notes", "a").lists("_actor", "alice", "bob"),
        get("notes", "a", include_deleted=True).has(_version=2, updated_by="bob"),
        restore("notes", "a").has(_version=3),
        delete_all("notes", []).gives(0),
        delete_all("nothing", ["a"]).gives(0),
    ),
    Case(
        "many entities are removed for good, and their histories stay",
        save_all("notes", [{"id": id, "n": 1} for id in "abc"]),
        delete("notes", "a"),
        delete_all("notes", ["a", "b", "x"], permanent=True).gives(2),
        delete_all("notes", ["a", "b"], permanent=True).gives(0),
        find("notes", include_deleted=True).ids("c"),
        history("notes", "b").lists("_action", "create", "purge"),
        history("notes", "b").lists("_version", 1, 2),
        history("notes", "a").lists("_action", "create", "delete", "purge"),
    ),
    Case(
        "the kernel's tables and histories are not deleted from",
        delete_all("kernel_users", ["a"]).raises("ReservedName"),
        delete_all("notes_history", ["a"]).raises("ReservedName"),
    ),
]


def _adds_a_cent(digits: str) -> list[Step]:
    return [
        save("notes", {"id": "a", "d": Decimal(digits)}),
        increment("notes", "a", "d", Decimal("0.01")).has(d=Decimal(f"{digits}.01")),
    ]


COUNTERS = [
    Case(
        "an increment adds, with history and version as a save",
        save("notes", {"id": "a", "n": 5}),
        increment("notes", "a", "n").has(n=6, _version=2).by("alice"),
        increment("notes", "a", "n", -10).has(n=-4, _version=3),
        increment("notes", "a", "n", 0).has(n=-4, _version=3),
        history("notes", "a").lists("n", 5, 6, -4),
        history("notes", "a").lists("_actor", None, "alice", None),
    ),
    Case(
        "a field that is missing or None counts from 0",
        save("notes", {"id": "a", "none": None, "n": 1}),
        save("notes", {"id": "b", "n": None}),
        increment("notes", "a", "none", 2).has(none=2),
        increment("notes", "b", "n", 3).has(n=3),
        increment("notes", "b", "fresh", 0.5).has(fresh=0.5),
        increment("notes", "b", "exact", Decimal("0.10")).has(exact=Decimal("0.10")),
        increment("notes", "b", "zero", 0).has(zero=0),
        get("notes", "a").has(fresh=None, exact=None),
    ),
    Case(
        "what is not there, or deleted, is not incremented, and nothing is made for it",
        increment("nothing", "a", "n").gives(None),
        save("notes", {"id": "a", "n": 1}),
        increment("notes", "b", "n").gives(None),
        increment("notes", "b", "fresh").gives(None),
        increment("notes", None, "n").gives(None),
        delete("notes", "a"),
        increment("notes", "a", "n").gives(None),
        increment("notes", "a", "fresh").gives(None),
        execute("SELECT [entity], [field] FROM [kernel_catalog] WHERE [field] <> 'id'").gives([("notes", "n")]),
    ),
    Case(
        "floats and Decimals add as they are, and an int field widens where nothing is lost",
        save("notes", {"id": "a", "f": 0.5, "d": Decimal("0.1"), "i": 2, "j": 3}),
        increment("notes", "a", "f", 1).has(f=1.5),
        increment("notes", "a", "f", 0.25).has(f=1.75),
        increment("notes", "a", "d", Decimal("0.2")).has(d=Decimal("0.3")),
        increment("notes", "a", "d", 1).has(d=Decimal("1.3")),
        increment("notes", "a", "i", 0.5).has(i=2.5),
        increment("notes", "a", "j", Decimal("0.5")).has(j=Decimal("3.5")),
    ),
    Case(
        "a Decimal of many digits adds exactly",
        *_adds_a_cent("12345678901234567890123456789012345678901234567890"),
        on_mysql=_adds_a_cent("12345678901234567890123456789012345"),
    ),
    Case(
        "what holds no number is not incremented",
        save("notes", {"id": "a", "t": "5", "b": True, "j": [1], "at": datetime(2026, 1, 1, tzinfo=UTC)}),
        increment("notes", "a", "t").raises("UnsupportedValue", "[t]", "str"),
        increment("notes", "a", "b").raises("UnsupportedValue", "[b]", "bool"),
        increment("notes", "a", "j").raises("UnsupportedValue", "[j]", "json"),
        increment("notes", "a", "at").raises("UnsupportedValue", "[at]", "datetime"),
        save("notes", {"id": "b", "t": 5}),
        increment("notes", "b", "t").raises("UnsupportedValue", "[t]", "variant"),
        get("notes", "a").has(t="5", b=True, j=[1], _version=1),
    ),
    Case(
        "kinds that do not add exactly are refused and change no column",
        save("notes", {"id": "a", "f": 0.5, "d": Decimal("0.1"), "i": 2**60}),
        increment("notes", "a", "f", Decimal("0.1")).raises("UnsupportedValue", "[f]", "float"),
        increment("notes", "a", "d", 0.1).raises("UnsupportedValue", "[d]", "decimal"),
        increment("notes", "a", "f", 2**60).raises("UnsupportedValue", "[f]"),
        increment("notes", "a", "i", 0.5).raises("UnsupportedValue", "[i]"),
        save("notes", {"id": "b", "f": 1.5, "d": Decimal(1), "i": 3}),
        find("notes", "[i] > ?", (2,), "[i]").lists("i", 3, 2**60),
    ),
    Case(
        "an increment that does not fit 64 bits is an error and never another value",
        save("notes", {"id": "a", "n": 2**63 - 2, "m": -(2**63)}),
        increment("notes", "a", "n").has(n=2**63 - 1),
        increment("notes", "a", "n").raises("UnsupportedValue", "[n]", "64 bits"),
        increment("notes", "a", "m", -1).raises("UnsupportedValue", "[m]", "64 bits"),
        increment("notes", "a", "n", 2**63).raises("UnsupportedValue", "64 bits"),
        get("notes", "a").has(n=2**63 - 1, m=-(2**63)),
        save("notes", {"id": "f", "f": 1.7e308}),
        increment("notes", "f", "f", 1.7e308).raises("UnsupportedValue", "[f]"),
        save("notes", {"id": "big", "big": 2**70}),
        increment("notes", "big", "big").has(big=2**70 + 1),
    ),
    Case(
        "by is a number, and the field one of the application's",
        save("notes", {"id": "a", "n": 1}),
        increment("notes", "a", "n", "1").raises("UnsupportedValue", "by", "str"),
        increment("notes", "a", "n", True).raises("UnsupportedValue", "by", "bool"),
        increment("notes", "a", "n", None).raises("UnsupportedValue", "by"),
        increment("notes", "a", "n", float("inf")).raises("UnsupportedValue", "by"),
        increment("notes", "a", "n", Decimal("NaN")).raises("UnsupportedValue", "by"),
        increment("notes", "a", "_version").raises("ReservedField", "[_version]"),
        increment("notes", "a", "id").raises("ReservedField", "[id]"),
        increment("notes", "a", "created_at").raises("ReservedField", "[created_at]"),
        increment("notes", "a", "n]").raises("InvalidName"),
        increment("kernel_users", "a", "n").raises("ReservedName"),
        increment("notes_history", "a", "n").raises("ReservedName"),
        get("notes", "a").has(n=1, _version=1),
    ),
    Case(
        "a number in an application's own table is incremented",
        execute("CREATE TABLE [papers] ([id] {key}, [n] {int}, [f] {float})"),
        execute("INSERT INTO [papers] ([id], [n], [f]) VALUES (?, ?, ?)", ("a", 5, 0.5)),
        increment("papers", "a", "n", 2).has(n=7, _version=2),
        increment("papers", "a", "f", 1).has(f=1.5),
        increment("papers", "a", "n", 0.5).raises("UnsupportedValue", "[n]"),
        history("papers", "a").lists("_action", "adopt", "update", "update"),
    ),
]
