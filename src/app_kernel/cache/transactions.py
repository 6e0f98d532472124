"""What the cache does in an open transaction: nothing before it commits, and nothing at all if it does not."""

import asyncio
from collections.abc import Callable
from weakref import WeakSet

from app_kernel.core.errors import TransactionInOtherTask
from app_kernel.core.transaction import OpenTransaction, innermost_transaction

_dirty: "WeakSet[OpenTransaction]" = WeakSet()
"""Open transactions that take something away when they commit: what is cached is not what they have written."""


def open_transactions() -> list[OpenTransaction]:
    """Those that the running code is in, of whatever databases, the innermost first."""
    found = []
    transaction = innermost_transaction()
    while transaction is not None:
        if not transaction.finished:
            found.append(transaction)
        transaction = transaction.outer
    return found


def is_dirty(transactions: list[OpenTransaction]) -> bool:
    """Whether one of them will take something away."""
    return any(transaction in _dirty for transaction in transactions)


def when_committed(action: Callable[[], None], *, last: bool = False) -> bool:
    """Runs an action now when no transaction is open, else when one has committed; whether it ran.

    In transactions of several databases it runs after the commit of each, with `last` after that of the outermost
    alone. Raises TransactionInOtherTask in a task that inherited the transaction.
    """
    transactions = open_transactions()
    if not transactions:
        action()
        return True
    if any(transaction.task is not asyncio.current_task() for transaction in transactions):
        raise TransactionInOtherTask
    for transaction in transactions[-1:] if last else transactions:
        transaction.after_commit(action)
    _dirty.update(transactions)
    return False
