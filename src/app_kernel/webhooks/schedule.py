"""When a delivery is tried again."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

WAITS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
"""Seconds between attempts: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; 27.6 hours in all."""
MAX_ATTEMPTS = len(WAITS) + 1
JITTER = 0.1
"""How much of a wait is left to chance, up or down: a crowd that failed together comes back apart."""
LONGEST_RETRY_AFTER = 12 * 3600.0
"""What is honoured of a receiver's Retry-After, in seconds."""
DISABLE_AFTER = timedelta(days=5)
"""For how long every attempt must have failed until a webhook is disabled."""
QUIET = timedelta(hours=24)
"""After so long without an attempt a failure begins a time of its own: two of them a week apart disable nothing."""
NOTE_EVERY = timedelta(hours=1)
"""The latest failure of a failing webhook is written down at most this often."""

HOLD_BACK = (0.25, 15.0)
HOLD_BACK_FAILING = (5.0, 300.0)
"""Seconds that a delivery waits for its turn at first, and at most; then doubled. This is no attempt."""

_scale = [1.0]


def wait_after(attempt: int, retry_after: float | None = None) -> float | None:
    """Seconds from the failed attempt of this number, from 1, to the next one; None after the last.

    `retry_after` is what the receiver asked for, in seconds: it makes a wait longer, never shorter.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    wait = WAITS[attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - to spread attempts
    return max(wait, min(retry_after or 0.0, LONGEST_RETRY_AFTER)) * _scale[-1]


def hold_back(times: int, *, failing: bool) -> float:
    """Seconds until a delivery that had to wait so many times before asks again for its turn."""
    is_scaled = _scale[-1] != 1.0
    first, longest = HOLD_BACK_FAILING if failing and not is_scaled else HOLD_BACK
    return min(longest, first * 2.0 ** min(times, 20)) * random.uniform(0.5, 1)  # noqa: S311 - to spread them


@contextmanager
def scaled(factor: float) -> Iterator[None]:
    """Makes the waits between attempts so many times as long inside the block: for tests, which cannot wait for a day.

    Failing webhooks are held back there as others are.
    """
    _scale.append(factor)
    try:
        yield
    finally:
        _scale.pop()
