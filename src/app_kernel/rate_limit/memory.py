"""Limits of one process: the logs of its buckets, bounded in number."""

from collections import OrderedDict

from app_kernel.core.clock import monotonic
from app_kernel.core.ports import Allowance
from app_kernel.rate_limit.window import Log, grain_of

CAPACITY = 20_000
"""Most buckets of one kind and window that are remembered, about 0.5 KB each with few hits. Beyond it the one that was
hit the longest ago is forgotten."""

Shelf = OrderedDict[str, Log]


class MemoryLimiter:
    """Counts hits in this process; without I/O, so that nothing comes between a look and its hit.

    The kind of a bucket is what stands before its first colon: those who call from ever new addresses push out other
    addresses and no user. A shelf holds the buckets of one kind and window in the order of their last hits, which is
    that of their end.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._shelves: dict[tuple[str, int], Shelf] = {}

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def hit(self, bucket: str, limit: int, window: int) -> Allowance:
        """Counts one hit if there is room for it."""
        now = monotonic()
        shelf = self._shelf(bucket, window)
        log = shelf.get(bucket)
        if log is not None:
            log.forget(now, window)
            if log.used >= limit:
                return Allowance(False, limit, window, 0, log.room_at(limit, window) - now)
        log, oldest = self._note(shelf, bucket, log, limit, window, now)
        return Allowance(True, limit, window, limit - log.used, oldest + window - now)

    def refusal(self, bucket: str, limit: int, window: int) -> Allowance | None:
        """What a hit would be told if there is no room for it, else None; counts nothing."""
        log = self._shelf(bucket, window).get(bucket)
        if log is None or log.used < limit:
            return None
        now = monotonic()
        log.forget(now, window)
        return Allowance(False, limit, window, 0, log.room_at(limit, window) - now) if log.used >= limit else None

    def note(self, bucket: str, limit: int, window: int) -> None:
        """Counts a hit that another one has allowed."""
        now = monotonic()
        shelf = self._shelf(bucket, window)
        log = shelf.get(bucket)
        if log is not None:
            log.forget(now, window)
        self._note(shelf, bucket, log, limit, window, now)

    def clear(self) -> None:
        """Forgets everything."""
        self._shelves.clear()

    def _shelf(self, bucket: str, window: int) -> Shelf:
        key = bucket[: bucket.find(":") + 1], window
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = OrderedDict()
        return shelf

    def _note(
        self, shelf: Shelf, bucket: str, log: Log | None, limit: int, window: int, now: float
    ) -> tuple[Log, float]:
        if log is None:
            self._make_room(shelf, now - window)
            log = shelf[bucket] = Log()
        else:
            shelf.move_to_end(bucket)
        return log, log.add(now, grain_of(limit, window))

    def _make_room(self, shelf: Shelf, until: float) -> None:
        """Two that have ended go for each that comes, so that a rush leaves nothing behind; no pass over all."""
        if len(shelf) >= self._capacity:
            shelf.popitem(last=False)
        for _ in range(2):
            if shelf and next(iter(shelf.values())).has_ended(until):
                shelf.popitem(last=False)
