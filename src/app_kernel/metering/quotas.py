"""Limits that are never passed: an amount is reserved in the app database, in the commit of what it is reserved for."""

import asyncio
import logging

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import MeteringError, NoRunningKernel, QuotaExceeded, Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.metering import store
from app_kernel.metering.counters import Counter
from app_kernel.metering.counting import (
    check_amount,
    check_limit,
    check_metric,
    make_count,
    make_message,
)
from app_kernel.metering.events import check_feature, check_handle
from app_kernel.metering.periods import Grain, period_of, today
from app_kernel.metering.usage import check_subject

FRESH_SECONDS = 1.0
"""How long what the admin database says of a counter is taken for true."""
ANSWER_SECONDS = 0.5
"""How long the admin database may take to say it: the caller's transaction waits for it."""
CAPACITY = 10_000
"""Counters that are remembered; beyond them the oldest are forgotten first."""

_log = logging.getLogger("app_kernel.metering")


async def reserve(
    db: EntityStore,
    *,
    metric: str,
    limit: int,
    amount: int = 1,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: Grain = "month",
    app: str | None = None,
) -> bool:
    """Counts an amount if the limit of the period allows it, and says whether it did; `db` is the app database.

    The limit is that of the workspace, of the user, of the user in the workspace where both are given, or of the app,
    for the current day, month or year of UTC. The amount counts as usage exactly if the open transaction commits; one
    that is rolled back gives it back. Whoever reserves at the same time, in whatever process, never passes the limit
    together. What is counted otherwise, by `track_usage` or of requests, is subtracted from the limit as far as it has
    arrived in the admin database, which is seconds behind.

    Raises InvalidUsage (422), MeteringError outside of a service or in one that does not meter, and OutsideWorkspace
    for a handle that is bound to another workspace.
    """
    try:
        kernel = current_kernel()
    except NoRunningKernel:
        raise MeteringError("reserve() works in a service or its worker: it asks their admin database.") from None
    check_feature(kernel)
    home = kernel.db.connection()
    if db.database is not home.database:
        raise MeteringError("reserve() takes a handle of the service's own database.")
    check_handle(db, workspace_id)
    subject = check_subject(kernel.name if app is None else app, workspace_id, user_id)
    day = today()
    counter = subject.counter(period_of(day, period), check_metric(metric))
    count = make_count(
        {metric: check_amount(metric, amount, least=1)},
        day=day,
        workspace_id=workspace_id,
        user_id=user_id,
        reserved=(subject.scope, counter[4]),
    )
    # Before the transaction, where there is none yet: nobody waits for it then.
    available = check_limit(limit) - await kernel.port(OtherUsage).get(counter)
    async with home.transaction():
        if not await store.reserve_amount(home, counter, amount, available):
            return False
        await home.privileged.send_messages([make_message(subject.app, [count])])
    return True


async def require_quota(
    db: EntityStore,
    *,
    metric: str,
    limit: int,
    amount: int = 1,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: Grain = "month",
    app: str | None = None,
) -> None:
    """As `reserve`, for routes: raises QuotaExceeded (402) where that gives False."""
    if not await reserve(
        db,
        metric=metric,
        limit=limit,
        amount=amount,
        workspace_id=workspace_id,
        user_id=user_id,
        period=period,
        app=app,
    ):
        raise QuotaExceeded(f"The quota of {metric} for this {period} is used up.")


class OtherUsage:
    """What the admin database knows of usage that was not reserved, read at most once a second for each counter."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[Counter, tuple[float, int]] = {}
        """By counter: until when it is fresh, and what it was."""
        self._reading: dict[Counter, asyncio.Lock] = {}
        self._failing = False

    async def get(self, counter: Counter) -> int:
        """The usage as it was at most a second ago; while the admin database is away, what was known last, or 0."""
        until, amount = self._known.get(counter, (float("-inf"), 0))
        if clock.monotonic() < until:
            return amount
        # One of those that ask at the same time reads, and the others take what it has read.
        lock = self._reading.setdefault(counter, asyncio.Lock())
        try:
            async with lock:
                until, amount = self._known.get(counter, (float("-inf"), 0))
                if clock.monotonic() < until:
                    return amount
                amount = await self._read(counter, amount)
                self._remember(counter, amount)
                return amount
        finally:
            if not lock.locked() and self._reading.get(counter) is lock:
                del self._reading[counter]

    async def _read(self, counter: Counter, known: int) -> int:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                amount, reserved = await store.get_counter(self._kernel.admin_store(), counter)
        except (Unavailable, TimeoutError) as exc:
            if not self._failing:
                _log.warning("quota_without_admin_database", extra={"reason": type(exc).__name__})
            self._failing = True
            return known
        self._failing = False
        return max(0, amount - reserved)

    def _remember(self, counter: Counter, amount: int) -> None:
        self._known.pop(counter, None)
        while len(self._known) >= CAPACITY:
            del self._known[next(iter(self._known))]
        self._known[counter] = (clock.monotonic() + FRESH_SECONDS, amount)
