"""The sliding window: the hits of one bucket that still count, and when there is room for another one.

At most `limit` hits lie in any span of `window` seconds, wherever it begins; a hit that is refused does not count. Up
to SLOTS hits the instant of each is kept. Of a larger limit those of one 1000th of the window are kept as one, at its
end, so that a log never has more than about SLOTS entries; its hits are let go that little too late, never too early.
"""

from array import array
from bisect import bisect_right
from math import ceil

SLOTS = 1000


def grain_of(limit: int, window: float) -> float:
    """To how many seconds instants are rounded up; 0 for not at all."""
    return window / SLOTS if limit > SLOTS else 0.0


class Log:
    """The hits of one bucket, oldest first."""

    __slots__ = ("_counts", "_times", "used")

    def __init__(self) -> None:
        self._times = array("d")
        self._counts = array("L")
        self.used = 0
        """How many hits count, after `forget`."""

    def has_ended(self, until: float) -> bool:
        """Whether the last hit was at `until` or before."""
        return not self._times or self._times[-1] <= until

    def forget(self, now: float, window: float) -> None:
        """Drops what is a window or longer ago."""
        times = self._times
        if not times:
            return
        until = now - window
        if times[-1] > now + window:
            until = times[-1]  # the clock was set back by so much that nothing would be right
        elif times[0] > until:
            return
        gone = bisect_right(times, until)
        self.used -= sum(self._counts[:gone])
        del times[:gone], self._counts[:gone]

    def add(self, now: float, grain: float) -> float:
        """Notes a hit; gives the instant of the oldest one that counts."""
        times = self._times
        at = ceil(now / grain) * grain if grain else now
        if times and at <= times[-1]:
            self._counts[-1] += 1
        else:
            times.append(at)
            self._counts.append(1)
        self.used += 1
        return times[0]

    def room_at(self, limit: int, window: float) -> float:
        """When a log that is full has room for a hit, as an instant."""
        surplus = self.used - limit
        for time, count in zip(self._times, self._counts, strict=True):
            surplus -= count
            if surplus < 0:
                return time + window
        return self._times[-1] + window
