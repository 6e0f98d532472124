"""Whatever is done in whatever order, every backend holds what the model holds, so they never differ either."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from app_kernel.core import clock
from app_kernel.core.context import acting_as
from app_kernel.core.errors import StoreError
from app_kernel.db import Store
from tests.conformance.backends import BACKENDS, Place
from tests.conformance.model import Model, Refused
from tests.conformance.steps import typed
from tests.conformance.summary import PROPERTY
from tests.faults.figures import figure

STEPS = 50
RUNS = figure(short=10, long=200)
"""500 steps in `make test`, 10,000 in the long run."""

TABLES = ("notes", "order", "Widgets")
NAMES = st.sampled_from(TABLES)
IDS = st.sampled_from(["a", "b", "B", "c ", "ü"])
ACTORS = st.sampled_from([None, "alice", "bob"])
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
INT64 = st.integers(-(2**63), 2**63 - 1)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
MOMENTS = st.integers(-(10**15), 10**15).flatmap(
    lambda micros: ZONES.map((EPOCH + timedelta(microseconds=micros)).astimezone)
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20)
NESTED = st.recursive(st.none() | st.booleans() | INT64 | TEXT, lambda inner: st.lists(inner, max_size=2), max_leaves=3)
JSON = st.dictionaries(st.sampled_from(["k", "Ö", "$kind"]), NESTED, max_size=2)
SMALL = [st.integers(-3, 3), st.sampled_from([0.5, 2.5]), st.booleans(), st.sampled_from(["x", "5"]), DECIMALS, JSON]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT | st.sampled_from(["007", "1e3", "null", "{}", "5", " ", "2026-01-01"]),
    "whole": INT64 | st.integers(-2, 2),
    "real": st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
    "flag": st.booleans(),
    "exact": DECIMALS,
    "doc": JSON,
    "at": MOMENTS,
    "day": st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    "raw": st.binary(max_size=6),
    "uid": st.uuids().map(lambda value: UUID(int=value.int % 3)),
    # The kind of this one changes on the way; floats with a fraction, so that a number never has two spellings.
    "mixed": st.one_of(SMALL),
}  # fmt: skip
KINDS: dict[str, type] = {
    "text": str, "whole": int, "real": float, "flag": bool, "exact": Decimal, "doc": dict, "at": datetime, "day": date,
    "raw": bytes, "uid": UUID, "mixed": object,
}  # fmt: skip
ENTITIES = st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in FIELDS.items()})
SOUGHT = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(st.just(name), st.none() if name == "mixed" else st.none() | FIELDS[name])
)


class Worker:
    """One task in which everything happens, because a transaction belongs to the task that opened it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._calls: asyncio.Queue[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._task = self._loop.create_task(self._work())

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What the call gives; an error of the store as its name."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.put_nowait((call, future))
        return self._loop.run_until_complete(future)

    def close(self) -> None:
        self._calls.put_nowait(None)
        self._loop.run_until_complete(self._task)
        self._runner.close()

    async def _work(self) -> None:
        while (item := await self._calls.get()) is not None:
            call, future = item
            try:
                future.set_result(await call())
            except BaseException as exc:  # noqa: BLE001 - whatever it was belongs to the rule that called
                future.set_exception(exc)


class StoreMachine(RuleBasedStateMachine):
    """Each rule is done to the model and to every backend; what they give must be the same, types included."""

    compared = 0
    """Answers of backends held against the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Worker()
        self.closing = AsyncExitStack()
        self.frozen = ExitStack()
        self.clock = self.frozen.enter_context(clock.frozen(datetime(2026, 11, 23, tzinfo=UTC)))
        self.model = Model()
        self.places: dict[str, Place] = {}
        self.handles: dict[str, Store] = {}
        self.others: dict[str, Store] = {}
        self.transactions: list[list[Any]] = []

    @initialize()
    def open(self) -> None:
        async def opening() -> None:
            for name, backend in BACKENDS.items():
                place = await self.closing.enter_async_context(backend())
                self.places[name] = place
                self.handles[name], self.others[name] = await place.open(), await place.open()
                if not place.takes_schema_back:
                    await self._declare(self.handles[name])

        self.worker.run(opening)

    async def _declare(self, db: Store) -> None:
        """Makes every field, because some would be needed in the middle of a transaction; no row stays."""
        for entity in TABLES:
            await db.ensure_fields(entity, {name: kind for name, kind in KINDS.items() if name != "mixed"})
            for mixed in (1, "x"):
                await db.save_entity(entity, {"id": "gone", "mixed": mixed})
            await db.delete_entity(entity, "gone", permanent=True, purge_history=True)

    def teardown(self) -> None:
        while self.transactions:
            self._leave(error=RuntimeError())
        self.worker.run(self.closing.aclose)
        self.worker.close()
        self.frozen.close()

    def same(self, verb: str, *args: Any, expected: Callable[[], Any], other: bool = False, **kwargs: Any) -> None:
        """The verb gives what the model gives, on every backend."""
        try:
            wanted = typed(expected())
        except Refused as refused:
            wanted = str(refused)
        for name, handle in (self.others if other else self.handles).items():
            given = self.worker.run(partial(self._outcome, handle, verb, args, kwargs))
            # Where every field was made beforehand, those that the model does not know yet are None.
            known = self._by_name if self.places[name].takes_schema_back else self._without_none
            assert known(given) == known(wanted), f"{name}: {verb}{args}"
            StoreMachine.compared += 1

    async def _outcome(self, handle: Store, verb: str, args: Any, kwargs: Any) -> Any:
        with acting_as(self.model.actor):
            try:
                return typed(await getattr(handle, verb)(*args, **kwargs))
            except StoreError as exc:
                return type(exc).__name__

    def _by_name(self, value: Any) -> Any:
        """A number in the mixed field without its type: an int may become a float there, or a Decimal."""
        if isinstance(value, list):
            return [self._by_name(row) for row in value]
        mixed = value.get("mixed") if isinstance(value, dict) else None
        if isinstance(mixed, tuple) and mixed[0] in ("int", "float", "Decimal"):
            return value | {"mixed": ("number", mixed[1])}
        return value

    def _without_none(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._without_none(row) for row in value]
        named = self._by_name(value)
        if not isinstance(named, dict):
            return named
        return {key: item for key, item in named.items() if item != ("NoneType", None)}

    def tick(self, actor: str | None) -> None:
        self.clock.advance(1)
        self.model.now, self.model.actor = clock.timestamp(), actor

    @rule(name=NAMES, id=IDS, entity=ENTITIES, actor=ACTORS)
    def save(self, name: str, id: str, entity: dict[str, Any], actor: str | None) -> None:
        self.tick(actor)
        self.same("save_entity", name, {"id": id, **entity}, expected=lambda: self.model.save(name, id, stored(entity)))

    @rule(name=NAMES, id=IDS, entity=ENTITIES, actor=ACTORS, off=st.sampled_from([0, 0, 1, -1]))
    def save_expecting(self, name: str, id: str, entity: dict[str, Any], actor: str | None, off: int) -> None:
        self.tick(actor)
        row = self.model.get(name, id, include_deleted=True)
        version = (row["_version"] if row else 0) + off
        self.same(
            "save_entity",
            name,
            {"id": id, **entity},
            expected_version=version,
            expected=lambda: self.model.save(name, id, stored(entity), version),
        )

    @precondition(lambda self: not self.transactions)
    @rule(name=NAMES, id=IDS, entity=ENTITIES)
    def save_in_another_session(self, name: str, id: str, entity: dict[str, Any]) -> None:
        self.tick("eve")
        given = {"id": id, **entity}
        self.same("save_entity", name, given, other=True, expected=lambda: self.model.save(name, id, stored(entity)))

    @rule(name=NAMES, id=IDS)
    def delete(self, name: str, id: str) -> None:
        self.tick("alice")
        self.same("delete_entity", name, id, expected=lambda: self.model.delete(name, id))

    @rule(name=NAMES, id=IDS, with_history=st.booleans())
    def remove(self, name: str, id: str, with_history: bool) -> None:
        self.tick(None)
        self.same(
            "delete_entity",
            name,
            id,
            permanent=True,
            purge_history=with_history,
            expected=lambda: self.model.remove(name, id, with_history=with_history),
        )

    @rule(name=NAMES, id=IDS)
    def restore(self, name: str, id: str) -> None:
        self.tick("bob")
        self.same("restore_entity", name, id, expected=lambda: self.model.restore(name, id))

    @rule(name=NAMES, id=IDS, deleted=st.booleans())
    def get(self, name: str, id: str, deleted: bool) -> None:
        self.same("get_entity", name, id, deleted, expected=lambda: self.model.get(name, id, include_deleted=deleted))

    @rule(name=NAMES, sought=st.none() | SOUGHT, deleted=st.booleans())
    def find(self, name: str, sought: tuple[str, Any] | None, deleted: bool) -> None:
        field, value = sought or (None, None)
        clause, params = (None, None) if field is None else (f"[{field}] = ?", (value,))
        if field is not None and value is None:
            clause, params = f"[{field}] IS NULL", ()
        wanted = self.model.find(name, field, stored_value(value), include_deleted=deleted)
        self.same("find_entities", name, clause, params, include_deleted=deleted, expected=lambda: wanted)
        self.same("count_entities", name, clause, params, include_deleted=deleted, expected=lambda: len(wanted))

    @rule(name=NAMES, id=IDS)
    def read_the_history(self, name: str, id: str) -> None:
        self.same(
            "find_entities",
            f"{name}_history",
            "[id] = ?",
            (id,),
            "[_version]",
            expected=lambda: self.model.versions(name, id),
        )

    @rule(name=NAMES)
    def read_in_another_session(self, name: str) -> None:
        if name in self.model.altered:
            return
        seen = self.model.as_others_see_it()
        self.same("find_entities", name, other=True, expected=lambda: seen.find(name, None, None))

    @precondition(lambda self: not self.transactions)
    @rule()
    def restart(self) -> None:
        async def reopening() -> None:
            for name, place in self.places.items():
                await place.close()
                self.handles[name], self.others[name] = await place.open(), await place.open()

        self.worker.run(reopening)

    @precondition(lambda self: len(self.transactions) < 3)
    @rule()
    def begin(self) -> None:
        opened = [handle.transaction(seconds=300) for handle in self.handles.values()]
        for transaction in opened:
            self.worker.run(transaction.__aenter__)
        self.transactions.append(opened)
        self.model.begin()

    @precondition(lambda self: self.transactions)
    @rule()
    def commit(self) -> None:
        self._leave(error=None)
        self.model.commit()

    @precondition(lambda self: self.transactions)
    @rule()
    def roll_back(self) -> None:
        self._leave(error=RuntimeError("taken back"))
        self.model.rollback()

    def _leave(self, error: Exception | None) -> None:
        for transaction in reversed(self.transactions.pop()):
            with suppress(RuntimeError):
                self.worker.run(partial(transaction.__aexit__, type(error) if error else None, error, None))


def stored(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity as it must come back: the same, with datetimes in UTC."""
    return {name: stored_value(value) for name, value in entity.items()}


def stored_value(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@pytest.mark.soak
@pytest.mark.acceptance("DB3")
def test_every_backend_does_what_the_model_does(record_property: Any) -> None:
    for backend in BACKENDS:
        record_property(PROPERTY, backend)
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    assert StoreMachine.compared > RUNS * STEPS / 2 * len(BACKENDS)
    print(f"{RUNS} runs of up to {STEPS} steps, {StoreMachine.compared} answers compared")
