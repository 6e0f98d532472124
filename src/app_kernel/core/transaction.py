"""The open transaction: every verb of the same task joins it, whichever handle it is called on."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar

from app_kernel.core.errors import TransactionInOtherTask


class OpenTransaction(ABC):
    """A transaction of one database, open in one task. Another database may have one in the same task."""

    def __init__(self, database: object, outer: "OpenTransaction | None") -> None:
        self.database = database
        """What the transaction belongs to; compared by identity."""
        self.outer = outer
        """What was open in this task before; of another database."""
        self.task = asyncio.current_task()
        self.finished = False

    @abstractmethod
    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back once the whole transaction is committed, and never if it is not. The callback must not raise."""


_open: ContextVar[OpenTransaction | None] = ContextVar("app_kernel_transaction", default=None)


def joined_transaction(database: object) -> OpenTransaction | None:
    """The open transaction of this database that the running task is in; None when there is none.

    Raises TransactionInOtherTask in a task that inherited the transaction from the one which opened it.
    """
    transaction = _open.get()
    while transaction is not None and (transaction.database is not database or transaction.finished):
        transaction = transaction.outer
    if transaction is not None and transaction.task is not asyncio.current_task():
        raise TransactionInOtherTask
    return transaction


def innermost_transaction() -> OpenTransaction | None:
    """What `enter_transaction` set last in this context, of any database."""
    return _open.get()


def enter_transaction(transaction: OpenTransaction | None) -> None:
    """Makes a transaction the innermost one of this context; None leaves them all."""
    _open.set(transaction)
