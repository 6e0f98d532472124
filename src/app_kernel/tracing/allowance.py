"""So many of something a second, and what is more is left out."""

from time import monotonic


class Allowance:
    """What one process may do within a second."""

    __slots__ = ("_left", "_per_second", "_since")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = 0
        self._since = float("-inf")

    def take(self) -> bool:
        """Whether one more is within it."""
        now = monotonic()
        if now - self._since >= 1:
            self._since, self._left = now, self._per_second
        if self._left <= 0:
            return False
        self._left -= 1
        return True
