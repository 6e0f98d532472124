"""A case is a sentence and its steps; a step is a call of one verb, and what must come of it."""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app_kernel.core import errors
from app_kernel.core.context import acting_as
from app_kernel.core.errors import SchemaChangeInTransaction
from app_kernel.db import Store
from tests.conformance.backends import Place

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Step:
    """One call: `save("notes", {...}).has(n=1)`."""

    verb: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    checks: tuple[Check, ...] = ()
    error: str = ""
    texts: tuple[str, ...] = ()
    actor: str | None = None

    def gives(self, expected: Any) -> "Step":
        """The call returns exactly this, types included."""
        return self._and(lambda result: expect_same(result, expected))

    def has(self, **fields: Any) -> "Step":
        """The call returns an entity, or a raw row, with these fields among others."""
        return self._and(lambda row: expect_same({name: row[name] for name in fields}, fields))

    def lacks(self, *fields: str) -> "Step":
        """The call returns an entity without these fields."""
        return self._and(lambda row: expect_same([name for name in fields if name in row], []))

    def ids(self, *expected: Any) -> "Step":
        """The call returns entities with these ids, in this order."""
        return self._and(lambda rows: expect_same([row["id"] for row in rows], list(expected)))

    def lists(self, field: str, *expected: Any) -> "Step":
        """The call returns entities with these values of a field, in this order."""
        return self._and(lambda rows: expect_same([row[field] for row in rows], list(expected)))

    def raises(self, error: str, *texts: str) -> "Step":
        """The call fails with the kernel's error of this name, whose message holds these texts."""
        return replace(self, error=error, texts=texts)

    def by(self, actor: str | None) -> "Step":
        """The call is made on this user's behalf."""
        return replace(self, actor=actor)

    def _and(self, check: Check) -> "Step":
        return replace(self, checks=(*self.checks, check))

    async def run(self, db: Store, words: Mapping[str, str]) -> None:
        """Makes the call and checks what comes of it."""
        args = self.args
        if self.verb == "execute" and isinstance(args[0], str):
            args = (spell(args[0], words), *args[1:])
        with acting_as(self.actor) if self.actor else contextlib.nullcontext():
            call = getattr(db, self.verb)(*args, **self.kwargs)
            if not self.error:
                result = await call
                for check in self.checks:
                    check(result)
                return
            with pytest.raises(getattr(errors, self.error)) as failure:
                await call
        for text in self.texts:
            assert text in str(failure.value)


def spell(sql: str, words: Mapping[str, str]) -> str:
    """A statement with the backend's own words for `{text}`, `{int}` ..."""
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], sql)


def save(name: str, entity: Any, **kwargs: Any) -> Step:
    return Step("save_entity", (name, entity), kwargs)


def get(name: str, id: Any, **kwargs: Any) -> Step:
    return Step("get_entity", (name, id), kwargs)


def find(name: str, *args: Any, **kwargs: Any) -> Step:
    return Step("find_entities", (name, *args), kwargs)


def count(name: str, *args: Any, **kwargs: Any) -> Step:
    return Step("count_entities", (name, *args), kwargs)


def delete(name: str, id: Any, **kwargs: Any) -> Step:
    return Step("delete_entity", (name, id), kwargs)


def restore(name: str, id: Any) -> Step:
    return Step("restore_entity", (name, id), {})


def execute(sql: str, *args: Any) -> Step:
    return Step("execute", (sql, *args), {})


def history(name: str, id: Any) -> Step:
    """The history of one entity, oldest first."""
    return Step("find_entities", (f"{name}_history", "[id] = ?", (id,), "[_version]"), {})


RESTART = Step("restart", (), {})
"""From here on another handle is used, which has to learn everything from the database."""


class Case:
    """A sentence and the steps that show it."""

    def __init__(self, sentence: str, *steps: Step, on_mysql: Sequence[Step] = ()) -> None:
        self.sentence, self.steps = sentence, steps
        self.on_mysql = tuple(on_mysql)
        """The same with numbers that MySQL has room for, where it has less than the others."""

    def on(self, place: Place) -> tuple[Step, ...]:
        """What is done on a backend."""
        return self.on_mysql if place.backend == "mysql" and self.on_mysql else self.steps

    def __str__(self) -> str:
        return self.sentence


async def check_case(place: Place, case: Case) -> None:
    """Runs the steps of a case one after the other."""
    db = await place.open()
    for step in case.on(place):
        if step is RESTART:
            await place.close()
            db = await place.open()
        else:
            await step.run(db, place.words)


LATE_ON_MYSQL = frozenset(
    {
        "a field that was only ever None gets its column",
        "a field is widened where nothing is lost",
        "a field of another kind is refused, and nothing is made",
        "what is there twice already cannot become unique, and nothing is left of the attempt",
        "a field that is not there yet, or only ever was None, is not indexed",
        "what has no order is not indexed",
        "an index survives a change of its field's kind, and stays unique",
        "the actor is written into every row and its history",
        "kinds are learned from all entities at once",
        "many upserts in one call see what the ones before them made",
    }
)
"""Cases that change a table which their transaction has written to: MySQL would commit the transaction with that."""


async def check_case_in_transaction(place: Place, case: Case) -> None:
    """Runs the steps of a case inside one transaction; a restart is left out."""
    db = await place.open()
    is_late = not place.takes_schema_back and case.sentence in LATE_ON_MYSQL
    with late(db) if is_late else contextlib.nullcontext():
        async with db.transaction(seconds=60):
            for step in case.on(place):
                if step is not RESTART:
                    await step.run(db, place.words)
    if is_late:
        names = [row[0] for row in await db.execute(_TABLES_ON_MYSQL)]
        assert {name: await db.count_entities(name, include_deleted=True) for name in names} == dict.fromkeys(names, 0)


def late(db: Store) -> contextlib.AbstractContextManager[Any]:
    """Round what changes a table that its transaction has written to: MySQL would commit the transaction with that."""
    refused = pytest.raises(SchemaChangeInTransaction, match="ensure_fields")
    return refused if db.backend == "mysql" else contextlib.nullcontext()


_TABLES_ON_MYSQL = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    " AND table_name NOT LIKE 'kernel%' AND table_name NOT LIKE '%history'"
)


def expect_same(actual: Any, expected: Any) -> None:
    """Equal, and of the same types all the way down: True is not 1 and 1 is not 1.0."""
    assert typed(actual) == typed(expected)


def typed(value: Any) -> Any:
    """A value with the type of each part written beside it."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, tuple):
        return tuple(typed(item) for item in value)
    return type(value).__name__, value
