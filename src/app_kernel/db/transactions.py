"""Transactions of the caller's: one commit for everything that is done in one task between its two ends."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from app_kernel.core.errors import InvalidQuery, StoreError
from app_kernel.core.outbox import Recorder
from app_kernel.core.transaction import OpenTransaction, enter_transaction, innermost_transaction
from app_kernel.db.drivers.base import Driver, Transaction
from app_kernel.db.many_writes import ManyWrites
from app_kernel.db.outgoing import Outgoing
from app_kernel.db.schema import Schema
from app_kernel.db.scope import Scope

_log = logging.getLogger("app_kernel.db")

OUTBOX = "outbox"
"""The signal that tells the relay of messages."""


class StoreTransaction(OpenTransaction):
    """An open transaction of one database, and the scope in which the verbs of its task work."""

    def __init__(self, driver: Driver, schema: Schema, recorders: Sequence[Recorder], session: Transaction) -> None:
        super().__init__(driver, innermost_transaction())
        self._driver = driver
        self._session = session
        self._callbacks: list[Callable[[], object]] = []
        self._has_messages = False
        inner = schema.inside(session)
        self.scope = Scope(session, inner, ManyWrites(session, inner, Outgoing(recorders, self._note_messages)))

    def after_commit(self, callback: Callable[[], object]) -> None:
        self._callbacks.append(callback)

    async def end(self) -> None:
        """Commits, then tells those who wanted to know, also when the task is cancelled at that moment."""
        try:
            await self._session.commit()
        finally:
            if self._session.committed:
                self._tell()

    def _tell(self) -> None:
        if self._has_messages:
            self._driver.signal(OUTBOX)
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - what was committed stands, and the other callbacks must run
                _log.exception("after_commit_failed")

    async def abandon(self) -> None:
        """Takes everything back."""
        await self._session.rollback()

    @asynccontextmanager
    async def nested(self) -> AsyncIterator[None]:
        """A part that is taken back alone when it fails."""
        callbacks = len(self._callbacks)
        await self._session.begin_nested()
        try:
            yield
        except BaseException as exc:
            del self._callbacks[callbacks:]
            try:
                await self._session.end_nested(keep=False)
            except StoreError:
                # A task that is cancelled while the transaction breaks has to end: told of the break, it might go on.
                if isinstance(exc, Exception):
                    raise
            finally:
                # What was made in it is gone, and its generation will be another schema's.
                self.scope.schema.forget()
            raise
        await self._session.end_nested(keep=True)

    def _note_messages(self) -> None:
        self._has_messages = True


@asynccontextmanager
async def open_transaction(
    driver: Driver, schema: Schema, recorders: Sequence[Recorder], seconds: float
) -> AsyncIterator[StoreTransaction]:
    """Opens a transaction for the running task; commits at the end of the block, rolls back when it raises."""
    session = await driver.begin(seconds)
    transaction = StoreTransaction(driver, schema, recorders, session)
    enter_transaction(transaction)
    try:
        yield transaction
    except BaseException:
        _leave(transaction)
        await transaction.abandon()
        raise
    else:
        _leave(transaction)
        await transaction.end()


def scope_outside(driver: Driver, schema: Schema, recorders: Sequence[Recorder]) -> Scope:
    """The scope of verbs that are in no transaction of the caller's: each is one of its own."""
    return Scope(driver, schema, ManyWrites(driver, schema, Outgoing(recorders, lambda: driver.signal(OUTBOX))))


def _leave(transaction: StoreTransaction) -> None:
    transaction.finished = True
    enter_transaction(transaction.outer)


def check_seconds(seconds: object) -> float:
    """A time limit as a positive number of seconds; raises InvalidQuery for anything else."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
        raise InvalidQuery("The time limit of a transaction is a number of seconds, from above 0 to 3600.")
    return float(seconds)
