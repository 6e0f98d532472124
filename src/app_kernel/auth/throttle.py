"""How failed logins hold back the next ones: the limits, and whose failures count."""

from datetime import datetime, timedelta

from app_kernel.core.networks import network_of

__all__ = [
    "KEEP_FAILURES",
    "KNOWN_FOR",
    "PER_ACCOUNT",
    "PER_NETWORK",
    "WINDOW",
    "network_of",
    "seconds_until_free",
    "window_around",
]

PER_ACCOUNT = 10
"""Failed logins that one account takes in a window."""
PER_NETWORK = 30
"""Failed logins that one address takes in a window, over all accounts."""
WINDOW = timedelta(seconds=60)
KEEP_FAILURES = timedelta(hours=1)
KNOWN_FOR = timedelta(days=30)
"""How long an address from which the account signed in is held back by its own failures only."""


def window_around(instant: datetime) -> tuple[datetime, datetime]:
    """The first and last instant whose failures count now.

    It ends a window ahead: another process's clock may run ahead of ours, but one that jumped by hours must not lock
    accounts for hours.
    """
    return instant - WINDOW, instant + WINDOW


def seconds_until_free(oldest_that_counts: datetime, instant: datetime) -> int:
    """Whole seconds after which the failure that fills the limit no longer counts, 1 to 60."""
    left = (oldest_that_counts + WINDOW - instant).total_seconds()
    return min(max(int(left) + 1, 1), int(WINDOW.total_seconds()))
