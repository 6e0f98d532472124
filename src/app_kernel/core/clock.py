"""Time and new ids; the one place that tests freeze."""

import time as _time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import uuid_utils


class FrozenClock:
    """A clock that stands still until told to move."""

    def __init__(self, at: datetime) -> None:
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        """The frozen instant, in UTC."""
        return self._at

    def advance(self, seconds: float) -> None:
        """Moves the clock forward by `seconds`."""
        self._at += timedelta(seconds=seconds)


_frozen: list[FrozenClock] = []
_second = (-1, "")
"""The latest second since 1970 and its text."""


def now() -> datetime:
    """The current instant as an aware datetime in UTC."""
    return _frozen[-1].now() if _frozen else datetime.now(UTC)


def timestamp() -> str:
    """The current instant as text: see `to_text`."""
    global _second  # noqa: PLW0603 - a pair swapped whole, so that threads may share it
    if _frozen:
        return to_text(_frozen[-1].now())
    # On every request and every write: only the fraction changes within a second.
    seconds, fraction = divmod(_time.time_ns(), 1_000_000_000)
    known, text = _second
    if known != seconds:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = (seconds, text)
    return f"{text}.{fraction // 1000:06d}Z"


def to_text(instant: datetime) -> str:
    """An aware datetime as UTC ISO 8601 text of fixed width, which sorts as text: 2026-11-22T21:10:04.123456Z."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def epoch() -> float:
    """Seconds since 1970, frozen together with `now`."""
    return _frozen[-1].now().timestamp() if _frozen else _time.time()


def frozen_epoch() -> float | None:
    """Seconds since 1970 of a frozen clock; None while time runs, so that a server's own clock may be asked."""
    return _frozen[-1].now().timestamp() if _frozen else None


def monotonic() -> float:
    """Seconds that only grow, for cache ages; follows a frozen clock, so that a test can let a cache expire."""
    return _frozen[-1].now().timestamp() if _frozen else _time.monotonic()


def new_id() -> str:
    """A new UUIDv7 (RFC 9562) as text: ids made later sort later, which keeps inserts at the end of an index."""
    return str(uuid_utils.uuid7())


@contextmanager
def frozen(at: datetime | None = None) -> Iterator[FrozenClock]:
    """Freezes the clock inside the block, at `at` or at this instant."""
    clock = FrozenClock(at or now())
    _frozen.append(clock)
    try:
        yield clock
    finally:
        _frozen.remove(clock)
