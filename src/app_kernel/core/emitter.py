"""Events reach recorders with the commit of what they tell of, and listeners after it.

Those that tell of no change, because something was refused, are recorded in a commit of their own, and only as many as
nobody can flood the outbox with.
"""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeAlias

from app_kernel.core import clock
from app_kernel.core.context import current_context, in_context
from app_kernel.core.errors import TransactionInOtherTask
from app_kernel.core.events import AFTER_THE_COMMIT, PART_OF_THE_COMMIT, REFUSALS, SecurityEvent
from app_kernel.core.feature import Feature, Listener
from app_kernel.core.networks import network_of
from app_kernel.core.outbox import EventRecorder, Message
from app_kernel.core.transaction import enter_transaction

if TYPE_CHECKING:
    from app_kernel.core.kernel import Kernel

PATIENCE = 1.0
"""Seconds that an answer waits for its refusal to be recorded; the write goes on without it."""
LAST_WORDS = 2.0
"""Seconds that a stopping service gives to what is still being told."""
WINDOW = 60.0
"""The time over which recorded refusals are counted, in seconds."""
MOST_ALIKE = 30
"""Refusals of one kind from one address that are recorded in a window: as many as wrong passwords and keys are let
through from one, so that all of those are."""
MOST_REFUSALS = 1000
"""Refusals of all kinds and addresses that a process records in a window."""

Listeners: TypeAlias = Sequence[tuple[str, Listener]]

_log = logging.getLogger("app_kernel")


class Emitter:
    """Emits what is recorded, or told only once it is committed, of one service."""

    def __init__(self, kernel: "Kernel", features: Iterable[Feature], listeners: Mapping[type, Listeners]) -> None:
        self._kernel = kernel
        self._listeners = listeners
        self._recorders: dict[type, tuple[EventRecorder, ...]] = {}
        for feature in features:
            for event_type, recorder in feature.event_recorders.items():
                self._recorders[event_type] = (*self._recorders.get(event_type, ()), recorder)
        self.types = frozenset((*self._recorders, *AFTER_THE_COMMIT))
        """The types of the events that are emitted here."""
        self._shares = _Shares()
        self._under_way: set[asyncio.Task[None]] = set()

    async def emit(self, event: object) -> None:
        """Records an event with the open transaction, and tells listeners once that is committed.

        A savepoint that is taken back takes both with it. Raises what a recorder does inside a transaction, so that no
        change is committed without its event, and TransactionInOtherTask.
        """
        listeners = self._listeners.get(type(event), ())
        if isinstance(event, SecurityEvent) and event.name in REFUSALS:
            await self._record_refusal(event)
            await self._tell(event, listeners)
            return
        statements = self._kernel.db.statements
        in_transaction = statements.in_transaction
        if type(event) in self._recorders:
            await self._record(event, in_transaction)
        if not in_transaction or isinstance(event, PART_OF_THE_COMMIT):
            await self._tell(event, listeners)
        elif listeners:
            context = current_context()

            def committed() -> None:
                with in_context(context):
                    self._begin_to_tell(event, listeners)

            statements.after_commit(committed)

    async def end(self) -> None:
        """Waits for what is still being told or recorded, and what that tells in its turn, for LAST_WORDS at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                while self._under_way:
                    await asyncio.wait(self._under_way)
        late = list(self._under_way)
        for task in late:
            task.cancel()
        if late:
            _log.warning("listeners_cut_off", extra={"count": len(late)})
            await asyncio.wait(late, timeout=LAST_WORDS)

    async def _record(self, event: object, in_transaction: bool) -> None:
        try:
            await self._kernel.db.connection().privileged.send_messages(self._messages(event))
        except Exception:
            self._note_unrecorded(event)
            if in_transaction:
                raise

    async def _record_refusal(self, event: SecurityEvent) -> None:
        """Has it recorded by a task of its own: what follows is a refusal, which may roll a transaction back.

        Inside of one nobody waits for that task, as it may have to wait for the transaction's end.
        """
        if SecurityEvent not in self._recorders:
            return
        if not self._shares.take(event):
            self._kernel.dropped["admin:audit_events"] += 1
            return
        try:
            messages = self._messages(event)
        except Exception:  # noqa: BLE001 - whatever it is, the caller is refused and not told of it
            self._note_unrecorded(event)
            return
        task = self._spawn(self._send(event, messages))
        if not self._is_near_transaction():
            await asyncio.wait({task}, timeout=PATIENCE)

    async def _send(self, event: object, messages: Sequence[Message]) -> None:
        try:
            await self._kernel.db.connection().privileged.send_messages(messages)
        except Exception:  # noqa: BLE001 - as above
            self._note_unrecorded(event)

    def _messages(self, event: object) -> list[Message]:
        recorders = self._recorders[type(event)]
        return [message for recorder in recorders for message in recorder(self._kernel, event)]

    def _is_near_transaction(self) -> bool:
        """Whether this task has a transaction open, or inherited one that is."""
        try:
            return self._kernel.db.statements.in_transaction
        except TransactionInOtherTask:
            return True

    async def _tell(self, event: object, listeners: Listeners) -> None:
        for feature_name, listener in listeners:
            try:
                result = listener(self._kernel, event)
                if result is not None and inspect.isawaitable(result):
                    await result
            except Exception:
                self.note_failure(feature_name, event)
                if isinstance(event, PART_OF_THE_COMMIT):
                    raise

    def _begin_to_tell(self, event: object, listeners: Listeners) -> None:
        """Tells plain listeners at once and async ones in a task, one after the other."""
        begun: list[tuple[str, Awaitable[None]]] = []
        for feature_name, listener in listeners:
            try:
                result = listener(self._kernel, event)
            except Exception:  # noqa: BLE001 - what the event tells of has happened
                self.note_failure(feature_name, event)
            else:
                if result is not None and inspect.isawaitable(result):
                    begun.append((feature_name, result))
        if begun:
            self._spawn(self._finish(event, begun))

    async def _finish(self, event: object, begun: Sequence[tuple[str, Awaitable[None]]]) -> None:
        for feature_name, result in begun:
            try:
                await result
            except Exception:  # noqa: BLE001 - as above
                self.note_failure(feature_name, event)

    def note_failure(self, feature_name: str, event: object) -> None:
        """Logs and counts the failure of a listener, inside of the `except` that caught it."""
        self._kernel.listener_failures += 1
        _log.exception("listener_failed", extra={"feature": feature_name, "event_type": type(event).__name__})

    def _note_unrecorded(self, event: object) -> None:
        self._kernel.listener_failures += 1
        _log.exception("event_not_recorded", extra={"event_type": type(event).__name__})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs it in the same context, but in no transaction: a task must not join one of another task."""
        context = copy_context()
        context.run(enter_transaction, None)
        task = asyncio.get_running_loop().create_task(work, context=context)
        # Held until it is done: the event loop itself holds tasks only weakly.
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


class _Shares:
    """Which refusals are recorded: of more than anybody would read, those that came first in a minute."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._taken: Counter[tuple[str, str | None]] = Counter()
        self._total = 0
        self._left_out = 0

    def take(self, event: SecurityEvent) -> bool:
        """Whether this one is recorded."""
        now = clock.monotonic()
        # Both bounds, for a clock that moved back.
        if not 0 <= now - self._since < WINDOW:
            self._begin(now)
        kind = (event.name, network_of(event.address))
        # Never more kinds than refusals, so a minute is bounded in memory too.
        if self._total >= MOST_REFUSALS or self._taken[kind] >= MOST_ALIKE:
            self._left_out += 1
            return False
        self._taken[kind] += 1
        self._total += 1
        return True

    def _begin(self, now: float) -> None:
        if self._left_out:
            _log.warning("refusals_not_recorded", extra={"count": self._left_out})
        self._since, self._total, self._left_out = now, 0, 0
        self._taken.clear()
