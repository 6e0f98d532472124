"""Counters of which the numbers are kept elsewhere, as plain numbers that a hot path adds to."""

from prometheus_client import Counter


class Growth:
    """Takes a counter to where a number stands."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._reached: dict[tuple[str, ...], int] = {}

    def reach(self, count: int, *labels: str) -> None:
        """Adds what the number has grown by since the last time; a number that begins anew is taken as it is."""
        before = self._reached.get(labels, 0)
        child = self._counter.labels(*labels) if labels else self._counter
        child.inc(count - before if count >= before else count)
        self._reached[labels] = count
