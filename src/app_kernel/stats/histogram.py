"""Durations as counts in buckets that grow by a tenth: a quantile of them is at most 5 % off.

A duration falls into the bucket of its logarithm. What is read back is the value in a bucket from which neither of its
ends is farther than 4.8 %, whatever the durations are and however many histograms were added up.
"""

from collections.abc import Mapping
from math import log

GROWTH = 1.1
"""How much longer the durations of a bucket are than those of the one before."""
SMALLEST = 1e-6
"""Seconds; shorter durations count as this one."""
ERROR = (GROWTH - 1) / (GROWTH + 1)
"""The largest relative error of a quantile: 0.0477."""
LAST_BUCKET = 260
"""About 16 hours; what takes longer is in this one."""

_SCALE = 1 / log(GROWTH)

Buckets = dict[int, int]


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a duration falls into."""
    return min(int(log(seconds / SMALLEST) * _SCALE), LAST_BUCKET) if seconds > SMALLEST else 0


def quantile(buckets: Mapping[int, int], share: float) -> float:
    """The duration in seconds that `share` of all durations do not exceed; 0 of none."""
    total = sum(buckets.values())
    if not total:
        return 0.0
    wanted, seen = share * total, 0
    last = 0
    for last in sorted(buckets):
        seen += buckets[last]
        if seen >= wanted:
            break
    return SMALLEST * GROWTH ** (last + 1) * 2 / (GROWTH + 1)


def add(buckets: Buckets, others: Mapping[int, int]) -> None:
    """Adds the counts of another histogram."""
    for bucket, count in others.items():
        buckets[bucket] = buckets.get(bucket, 0) + count


def to_text(buckets: Mapping[int, int]) -> str:
    """As it is stored: `bucket:count` with spaces between, such as `84:3 85:12`."""
    return " ".join([f"{bucket}:{buckets[bucket]}" for bucket in sorted(buckets)])


def from_text(text: str | None) -> Buckets:
    """What `to_text` has written; empty for none."""
    pairs = (pair.partition(":") for pair in (text or "").split())
    return {int(bucket): int(count) for bucket, _, count in pairs}
