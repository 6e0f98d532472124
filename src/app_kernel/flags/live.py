"""The flags of one service as they are evaluated: in memory, at most a second old, and never before they are committed.

Nothing runs while nothing is evaluated. A process that changes a flag signals it to the others; where no signal
arrives, the first evaluation after half a second has it looked whether there is anything new, and one after nearly a
second waits for that look.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context as TaskContext
from contextvars import ContextVar
from typing import Any

from app_kernel.core import clock
from app_kernel.core.context import Context, enter_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AmbiguousKernel, FlagError, NoRunningKernel, StoreError, Unavailable
from app_kernel.core.feature import left_out
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore, FlagFigures
from app_kernel.core.transaction import OpenTransaction, innermost_transaction
from app_kernel.flags import store
from app_kernel.flags.rollout import Rule, rule_of
from app_kernel.flags.uses import Uses

LOOK_AFTER = 0.5
"""Seconds after which an evaluation has it looked whether a flag was changed; it does not wait for that."""
WAIT_AFTER = 0.9
"""Seconds after which an evaluation does wait, so that what it goes by is at most a second old."""
PATIENCE = 1.0
"""Seconds that an evaluation waits for the database before it goes by what was read last."""
READ_ALL = 60.0
"""Seconds after which all flags are read anew, whatever the token says: somebody may have used plain SQL."""
LAST_WORDS = 2.0
"""Seconds that a stopping service gives to a look that is under way."""
CHANNEL = "flags"

Rules = Mapping[str, Rule]

_log = logging.getLogger("app_kernel.flags")
_running: dict[object, "LiveFlags"] = {}
"""Each service of this process, by what all handles of its database have in common."""
_changed_in: ContextVar[tuple[OpenTransaction, ...]] = ContextVar("app_kernel_flags_changed_in", default=())
"""The transactions in which this task changed a flag: until they end, nobody but they may see the change."""


class LiveFlags:
    """What evaluates the flags of one service."""

    def __init__(self, kernel: Kernel) -> None:
        self.uses = Uses(kernel)
        self.db = kernel.db.connection()
        """A handle that is bound to no workspace: flags are everybody's."""
        self.rules: Rules | None = None
        """None until they were read for the first time."""
        self.since = 0.0
        self.until = 0.0
        """From when to when `rules` are taken without a second look, by the monotonic clock."""
        self.kernel = kernel
        self.evaluations = 0
        self._token: str | None = None
        self._all_read_at = 0.0
        self._read_at = 0.0
        self._changes = 0
        """Changes that this process knows of, because it made them or was signalled."""
        self._seen = 0
        """How many of them `rules` are sure to have."""
        self._failing = False
        self._reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def evaluated(self) -> AsyncIterator[None]:
        """Evaluates the flags of the service's database while the block runs."""
        stop_listening = self.kernel.db.statements.on_signal(CHANNEL, self._note_change)
        _running[self.db.database] = self
        try:
            # When this fails, it is logged, and the first evaluation tries again.
            await asyncio.wait({self._look()}, timeout=PATIENCE)
            async with self.uses.written():
                yield
        finally:
            del _running[self.db.database]
            stop_listening()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait({self._reading}, timeout=LAST_WORDS)

    def figures(self) -> FlagFigures:
        """How the copy of this process stands."""
        age = None if self.rules is None else max(0.0, clock.monotonic() - self._read_at)
        return FlagFigures(len(self.rules or ()), age, self.evaluations, self._failing)

    async def current(self) -> Rules:
        """The flags as they were committed a second ago at the latest; raises Unavailable where they never were read.

        It waits for the database only as `renewed` says.
        """
        if self.rules is not None and self.since <= clock.monotonic() < self.until:
            return self.rules
        return await self.renewed()

    async def renewed(self) -> Rules:
        """The flags when they are not to be taken without a second look.

        Waits for the database, for PATIENCE at most, where they may be a second old or lack a change that this process
        knows of. Where it does not answer, they are those that were read last, which is logged once; raises
        Unavailable where there are none.
        """
        wanted, now = self._changes, clock.monotonic()
        if self.rules is not None and (self._failing or self._has(wanted, now)):
            self._look()
            return self.rules
        try:
            async with asyncio.timeout(PATIENCE):
                await self._read(wanted, now)
        except TimeoutError:
            self._fail("it does not answer")
        if self.rules is None:
            raise Unavailable("The feature flags could not be read from the database yet.")
        return self.rules

    def publish(self) -> None:
        """A change of this process is committed: evaluations here wait for it, other processes are signalled."""
        # Who has just committed has a database.
        self._failing = False
        self._note_change()
        self.kernel.db.statements.signal(CHANNEL)

    def _note_change(self) -> None:
        self._changes += 1
        self.until = 0.0
        self._look()

    def _has(self, wanted: int, now: float) -> bool:
        # Both bounds, so that a clock which moved back does not keep the flags for ever.
        return self.rules is not None and self._seen >= wanted and 0 <= now - self._read_at < WAIT_AFTER

    async def _read(self, wanted: int, now: float) -> None:
        """Returns when the flags have all that was known of at `now`, or could not be read."""
        while True:
            # The look is shared: a caller who leaves must not end it for the others.
            await asyncio.shield(self._look())
            if self._failing or self._has(wanted, max(now, self._read_at)):
                return

    def _look(self) -> "asyncio.Task[None]":
        """Looks for changes, once for all who ask at the same time."""
        # One that is done may not be finished yet, and to wait for it would not even give way.
        if self._reading is None or self._reading.done():
            # A context of its own: it must not join the transaction of whoever asks first.
            self._reading = asyncio.get_running_loop().create_task(self._look_up(), context=TaskContext())
            self._reading.add_done_callback(self._finish)
        return self._reading

    async def _look_up(self) -> None:
        enter_context(Context(kernel=self.kernel))
        began, changes = clock.monotonic(), self._changes
        try:
            token = await store.read_token(self.db)
            if self.rules is None or token != self._token or not 0 <= began - self._all_read_at < READ_ALL:
                # The token first: a change between the two reads is read again, and not taken for known.
                self.rules = await _rules_of(await store.all_rows(self.db))
                self._token, self._all_read_at = token, began
        except StoreError as exc:
            self._fail(type(exc).__name__)
            return
        self._read_at, self._seen = began, changes
        if self._failing:
            self._failing = False
            _log.info("flags_read_again")
        if changes == self._changes:
            self.since, self.until = began, began + LOOK_AFTER

    def _finish(self, task: "asyncio.Task[None]") -> None:
        if self._reading is task:
            self._reading = None
        if not task.cancelled() and task.exception() is not None:
            self._fail(type(task.exception()).__name__)

    def _fail(self, reason: str) -> None:
        # Once, not at every evaluation of an outage.
        if not self._failing:
            what = "flags_not_read" if self.rules is None else "flags_are_stale"
            _log.warning(what, extra={"reason": reason})
        self._failing = True
        if self.rules is not None:
            self.since = clock.monotonic()
            self.until = self.since + LOOK_AFTER


async def _rules_of(rows: Sequence[Mapping[str, Any]]) -> Rules:
    rules = {}
    for at, row in enumerate(rows, 1):
        rules[row["id"]] = rule_of(row)
        if not at % store.PAGE:
            await asyncio.sleep(0)
    return rules


def flags_of(db: EntityStore) -> LiveFlags | None:
    """What evaluates the flags of the service whose database this is; None for one of a script.

    Raises FlagError for the database of a service that was made without the feature.
    """
    live = _running.get(db.database)
    if live is None:
        _check_feature(db)
    return live


def _check_feature(db: EntityStore) -> None:
    try:
        kernel = current_kernel()
    except (NoRunningKernel, AmbiguousKernel):
        return
    if any(feature.name == "flags" for feature in kernel.features) or not kernel.running:
        return
    if kernel.db.connection().database is db.database:
        raise FlagError(left_out("flags"))


def note_uncommitted() -> None:
    """This task changed a flag: what is committed is not what it shall see until its open transactions end."""
    transaction = innermost_transaction()
    found: list[OpenTransaction] = []
    while transaction is not None:
        if not transaction.finished:
            found.append(transaction)
        transaction = transaction.outer
    if found:
        _changed_in.set(tuple(found))


def sees_uncommitted() -> bool:
    """Whether this task is in a transaction in which it changed a flag."""
    if not _changed_in.get():
        return False
    if all(transaction.finished for transaction in _changed_in.get()):
        _changed_in.set(())
        return False
    return True
