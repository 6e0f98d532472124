"""An argument that makes no sense is an error of the kernel's, on every backend the same, or it is taken everywhere."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from app_kernel.core.errors import KernelError
from tests.conformance.backends import BACKENDS

CYCLE: list = []
CYCLE.append(CYCLE)

VALUES = {
    "None": None,
    "True": True,
    "0": 0,
    "-1": -1,
    "2**63 - 1": 2**63 - 1,
    "2**63": 2**63,
    "2**70": 2**70,
    "-2**63": -(2**63),
    "-2**70": -(2**70),
    "10**5000": 10**5000,
    "1.5": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "Decimal": Decimal("1.5"),
    "Decimal NaN": Decimal("NaN"),
    "Decimal sNaN": Decimal("sNaN"),
    "bytes": b"x",
    "empty text": "",
    "text": "x",
    "NUL": "a\0b",
    "surrogate": "a\ud800b",
    "only a surrogate": "\ud800",
    "long text": "x" * 100_000,
    "quotes": "\"'`[]?;--",
    "emoji": "🦔",
    "empty list": [],
    "list": ["x"],
    "list of numbers": [1, 2**70],
    "list of lists": [["x"]],
    "list of dicts": [{}],
    "list of NUL": ["a\0b"],
    "list of surrogates": ["\ud800"],
    "list of None": [None],
    "cycle": CYCLE,
    "tuple": ("x",),
    "set": {"x"},
    "empty dict": {},
    "dict": {"x": 1},
    "dict of lists": {"x": ["y"], "y": [[]]},
    "dict of other keys": {1: 2, None: 3, (1,): 4},
    "dict of NUL": {"a\0b": "a\0b"},
    "dict of surrogates": {"\ud800": "\ud800"},
    "dict of types": {"x": int, "y": list[int], "z": "int"},
    "dict of kernel's": {"id": ["x"], "_version": {}, "deleted_at": ""},
    "dict of weird ids": {"id": 2**70},
    "object": object(),
    "type": int,
    "function": len,
    "generator": (letter for letter in "xy"),
    "naive datetime": datetime(2026, 1, 1),  # noqa: DTZ001 - a naive one is what is to be refused
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "UUID": UUID(int=1),
    "slice": slice(1, 2),
}

VERBS = {
    "get_entity": ({"name": "t", "id": "a", "include_deleted": False}, {"as_of": None}),
    "find_entities": (
        {
            "name": "t",
            "where_clause": "[x] = ?",
            "params": (1,),
            "order_by": "[x]",
            "limit": 5,
            "offset": 1,
            "include_deleted": False,
        },
        {"as_of": None},
    ),
    "count_entities": ({"name": "t", "where_clause": "[x] = ?", "params": (1,), "include_deleted": False}, {}),
    "get_entities": ({"name": "t", "ids": ["a"], "include_deleted": False}, {}),
    "iterate_entities": ({"name": "t", "where_clause": "[x] = ?", "params": (1,), "batch_size": 2}, {}),
    "save_entity": (
        {"name": "t", "entity": {"id": "a", "x": 1}},
        {"match_by": None, "comment": None, "expected_version": None},
    ),
    "save_entities": ({"name": "t", "entities": [{"id": "a", "x": 1}]}, {"match_by": None, "comment": None}),
    "delete_entity": ({"name": "t", "id": "z", "permanent": False}, {"purge_history": False}),
    "delete_entities": ({"name": "t", "ids": ["z"], "permanent": False}, {}),
    "restore_entity": ({"name": "t", "id": "a"}, {}),
    "increment": ({"name": "t", "id": "a", "field": "x", "by": 1}, {}),
    "get_entity_history": ({"name": "t", "id": "a", "limit": 5, "offset": 1}, {}),
    "get_entity_version": ({"name": "t", "id": "a", "version": 1}, {}),
    "revert": ({"name": "t", "id": "a", "version": 1}, {"as_of": None, "comment": None, "expected_version": None}),
    "ensure_fields": ({"name": "t", "fields": {"x": int}}, {}),
    "ensure_index": ({"name": "t", "fields": ["x"], "unique": False}, {}),
    "execute": ({"sql": "SELECT [id] FROM [t] WHERE [x] = ?", "params": (1,)}, {}),
    "transaction": ({}, {"seconds": 5}),
}
RAW_TEXTS = {"text", "quotes", "long text", "emoji", "tuple", "list", "list of numbers", "list of lists"} | {
    "list of dicts"
}
"""SQL and its parameters go to the database as they are, and each has its own opinion of them."""


async def _outcome(db, verb, given, replaced):
    """What comes of a call: the kind of error, or that it went well."""
    positional, named = given
    args = [replaced.get(name, value) for name, value in positional.items()]
    kwargs = {name: replaced.get(name, value) for name, value in named.items()}
    try:
        if verb == "iterate_entities":
            async for _ in db.iterate_entities(*args, **kwargs):
                pass
        elif verb == "transaction":
            async with db.transaction(*args, **kwargs):
                await db.get_entity("t", "a")
        else:
            await getattr(db, verb)(*args, **kwargs)
    except KernelError as exc:
        return type(exc).__name__ if exc.status < 500 else f"RAW {exc!r}"[:200]
    except Exception as exc:  # noqa: BLE001 - which is what must not happen
        return f"RAW {exc!r}"[:200]
    return "ok"


@pytest.mark.parametrize("verb", VERBS)
async def test_every_argument_of_every_verb_is_checked_before_it_is_used(verb):
    positional, named = VERBS[verb]
    outcomes: dict[str, dict[str, str]] = {}
    for backend, make in BACKENDS.items():
        found = outcomes[backend] = {}
        async with make() as place:
            db = await place.open()
            await db.save_entities("t", [{"id": "a", "x": 1}, {"id": "b", "x": 2, "s": "y"}])
            await db.save_entity("t", {"id": "a", "x": 2})
            for name in (*positional, *named):
                for label, value in VALUES.items():
                    again = (letter for letter in "xy") if label == "generator" else value
                    # The schema may grow by what is taken; each call is to find the table as it was.
                    result = await _outcome(db, verb, VERBS[verb], {name: again})
                    if not (verb == "execute" and label in RAW_TEXTS):
                        found[f"{name} = {label}"] = result
            assert (await db.get_entity("t", "b"))["s"] == "y"
    raw = {
        (backend, each): result
        for backend, found in outcomes.items()
        for each, result in found.items()
        if result.startswith("RAW")
    }
    assert raw == {}
    differing = {
        (backend, each): (outcomes["sqlite"][each], result)
        for backend, found in outcomes.items()
        for each, result in found.items()
        if result != outcomes["sqlite"][each]
    }
    assert differing == {}


async def test_a_page_of_a_history_may_be_as_long_as_a_number_can_say(db):
    for number in range(3):
        await db.save_entity("t", {"id": "a", "x": number})
    entries = await db.get_entity_history("t", "a", limit=2**63 - 1, offset=1)
    assert [(entry["version"], entry["changes"]["x"]) for entry in entries] == [(2, [0, 1]), (3, [1, 2])]
    assert await db.get_entity_history("t", "a", limit=2**63 - 1, offset=2**63 - 1) == []
    assert await db.find_entities("t", limit=2**63 - 1, offset=2**63 - 1) == []
