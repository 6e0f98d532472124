"""What is no longer to be found in the cache, and which of that Redis has yet to hear of."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from app_kernel.cache.keys import matcher

Kind = Literal["key", "tag", "pattern", "all"]

MOST_OWED = 10_000
"""More than this is not remembered one by one while Redis is away: then everything goes."""
MOST_PATTERNS = 100
"""The same for patterns: for each Redis looks through all its keys, and until then nothing that fits is kept."""


class Invalidation(NamedTuple):
    """One key, all values with a tag, all keys that fit a pattern, or everything."""

    kind: Kind
    name: str = ""


ALL = Invalidation("all")

OwedOne: TypeAlias = tuple[Invalidation, int]
"""An invalidation, and when it last came up, as a number that grows."""


class Owed:
    """Invalidations that Redis has not confirmed, the earliest first."""

    def __init__(self) -> None:
        self._numbers: dict[Invalidation, int] = {}
        self._patterns: dict[str, Callable[[str], object]] = {}
        self._last = 0

    def add(self, invalidation: Invalidation) -> OwedOne:
        """Remembers one, anew if it is owed already; what is owed now: everything, if it were too many."""
        if invalidation not in self._numbers and (
            len(self._numbers) >= MOST_OWED or (invalidation.kind == "pattern" and len(self._patterns) >= MOST_PATTERNS)
        ):
            invalidation = ALL
        if invalidation == ALL:
            self._numbers.clear()
            self._patterns.clear()
        self._last += 1
        self._numbers.pop(invalidation, None)
        self._numbers[invalidation] = self._last
        if invalidation.kind == "pattern":
            self._patterns[invalidation.name] = matcher(invalidation.name)
        return invalidation, self._last

    def quick(self) -> list[OwedOne]:
        """Those that are one command each, with the number of each."""
        if len(self._numbers) == len(self._patterns):
            return []
        return [owed for owed in self._numbers.items() if owed[0].kind != "pattern"]

    def patterns(self) -> list[OwedOne]:
        """Those for which Redis has to look through its keys."""
        return [owed for owed in self._numbers.items() if owed[0].kind == "pattern"] if self._patterns else []

    def settle(self, invalidation: Invalidation, number: int) -> None:
        """Forgets one that Redis confirmed, unless it came up again meanwhile."""
        if self._numbers.get(invalidation) == number:
            del self._numbers[invalidation]
            if invalidation.kind == "pattern":
                del self._patterns[invalidation.name]

    def covers(self, key: str) -> bool:
        """Whether a pattern that is owed fits a key."""
        return bool(self._patterns) and any(fits(key) for fits in self._patterns.values())

    def __len__(self) -> int:
        return len(self._numbers)
