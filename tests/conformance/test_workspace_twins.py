"""Two workspaces in one database behave as one workspace in each of two databases, whatever is done to them."""

import os
import random

import pytest

from app_kernel.core import clock
from app_kernel.core.errors import StoreError
from app_kernel.db import connect

pytestmark = [pytest.mark.acceptance("AZ2"), pytest.mark.acceptance("DB2")]

SEEDS = 40 if os.environ.get("APP_KERNEL_SOAK") == "1" else 3
STEPS = 110
IDS = [f"{number}" for number in range(6)]
NAMES = ["x", "y", "z", "O'Neil", ""]
CLAUSES = [
    ("", ()),
    ("1=1 OR [n] > ?", (3,)),
    ("[n] + 1 > ? OR [name] IS NULL", (2,)),
    ("[name] = ? OR [name] LIKE '%e%'", ("x",)),
    ("[n] IN (?) AND NOT [name] = ?", ([1, 2, 3, 4], "y")),
    ("[deleted_at] IS NOT NULL OR [id] <> ?", ("none",)),
]
UNSEEN = {"workspace_id", "created_at", "updated_at", "deleted_at", "at"}
"""What differs by the moment, or by which of both it is."""


class Step:
    """One thing that may be done, with arguments that were drawn before."""

    def __init__(self, chance: random.Random, tenant: str) -> None:
        # Every workspace has ids of its own; what else they hold is the same.
        self.ids = [f"{tenant}{id}" for id in chance.sample(IDS, 3)]
        self.id = self.ids[0]
        self.given = {"id": self.id, "name": chance.choice(NAMES), "n": chance.randrange(6)}
        self.match = {"name": chance.choice(NAMES), "n": chance.randrange(6)}
        self.version = chance.randrange(1, 6)
        self.flag = chance.random() < 0.5
        self.clause, self.params = chance.choice(CLAUSES)
        self.past = chance.random()
        self.do = getattr(self, chance.choice(VERBS))

    async def save(self, db, _):
        return await db.save_entity("notes", self.given)

    async def save_expecting(self, db, _):
        return await db.save_entity("notes", self.given, expected_version=self.version)

    async def save_many(self, db, _):
        return await db.save_entities("notes", [self.given | {"id": id} for id in self.ids])

    async def upsert(self, db, _):
        return await db.save_entity("notes", {**self.match, "id": self.id}, match_by=["name"])

    async def upsert_many(self, db, _):
        return await db.save_entities("notes", [{**self.match, "id": self.id}], match_by=["name", "n"])

    async def delete(self, db, _):
        return await db.delete_entity("notes", self.id, permanent=self.flag)

    async def purge(self, db, _):
        return await db.delete_entity("notes", self.id, permanent=True, purge_history=True)

    async def delete_many(self, db, _):
        return await db.delete_entities("notes", self.ids, permanent=self.flag)

    async def restore(self, db, _):
        return await db.restore_entity("notes", self.id)

    async def increment(self, db, _):
        return await db.increment("notes", self.id, "n", self.version)

    async def revert(self, db, _):
        return await db.revert("notes", self.id, self.version)

    async def get(self, db, moments):
        now = await db.get_entity("notes", self.id, self.flag)
        return [now, await db.get_entity("notes", self.id, self.flag, as_of=self.then(moments))]

    async def get_many(self, db, _):
        return await db.get_entities("notes", self.ids, self.flag)

    async def find(self, db, moments):
        found = await db.find_entities("notes", self.clause, self.params, "[n] DESC, [id]", include_deleted=self.flag)
        return [found, await db.find_entities("notes", self.clause, self.params, as_of=self.then(moments))]

    async def count(self, db, moments):
        counted = await db.count_entities("notes", self.clause, self.params, self.flag)
        return [counted, await db.count_entities("notes", self.clause, self.params, as_of=self.then(moments))]

    async def walk(self, db, _):
        return [row async for row in db.iterate_entities("notes", self.clause, self.params, 2)]

    async def history(self, db, _):
        entries = [dict(entry) for entry in await db.get_entity_history("notes", self.id, 4, self.version - 1)]
        return [entries, await db.get_entity_version("notes", self.id, self.version)]

    async def all_history(self, db, _):
        rows = await db.find_entities("notes_history", "1=1 OR 1=0", order_by="[id], [_version]")
        return [{field: value for field, value in row.items() if field != "_at"} for row in rows]

    def then(self, moments):
        return moments[int(self.past * len(moments))]


VERBS = [name for name in vars(Step) if not name.startswith("_") and name != "then"]


def _seen(answer):
    if isinstance(answer, dict):
        return {key: _seen(value) for key, value in answer.items() if key not in UNSEEN}
    return [_seen(value) for value in answer] if isinstance(answer, list) else answer


async def _answer(step, db, moments):
    try:
        return _seen(await step.do(db, moments))
    except StoreError as exc:
        return type(exc).__name__, exc.message


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_workspaces_in_one_database_are_as_databases_of_their_own(place, seed):
    chance = random.Random(seed)
    shared = await place.open()
    async with connect("sqlite://:memory:") as one, connect("sqlite://:memory:") as other:
        alone = {"a": one, "b": other}
        fields = {"workspace_id": str, "name": str, "n": int}
        for db in (shared, one, other):
            await db.ensure_fields("notes", fields)
        moments = [clock.timestamp()]
        counts, told = dict.fromkeys(VERBS, 0), 0
        for number in range(STEPS):
            tenant = chance.choice("ab")
            step = Step(chance, tenant)
            expected = await _answer(step, alone[tenant], moments)
            found = await _answer(step, shared.in_workspace(tenant), moments)
            assert found == expected, (number, tenant, step.do.__name__, vars(step))
            counts[step.do.__name__] += 1
            told += bool(found) and not isinstance(found, tuple)
            moments.append(clock.timestamp())
        for tenant, db in alone.items():
            bound = shared.in_workspace(tenant)
            for name in ("notes", "notes_history"):
                rows = [
                    [{k: v for k, v in _seen(row).items() if k != "_at"} for row in await each.find_entities(name)]
                    for each in (bound, db)
                ]
                assert rows[0] == rows[1]
        assert min(counts.values()) > 0
        assert told > STEPS // 4
