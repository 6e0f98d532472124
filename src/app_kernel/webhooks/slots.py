"""Who may send now, so that a receiver that hangs does not hold up the others: the turns of one worker process."""

from collections import Counter

MOST_AT_ONCE = 4
"""Requests to one webhook at a time, once it has answered as it should; before that and while it fails, one."""
MOST_KNOWN = 10_000


class Slots:
    """The turns of one process, which has so many places for deliveries."""

    def __init__(self, places: int) -> None:
        self._most_failing = max(1, places // 2)
        self._held: Counter[str] = Counter()
        self._failing: Counter[str] = Counter()
        self._proven: dict[str, None] = {}

    def take(self, webhook_id: str, *, failing: bool) -> bool:
        """Whether a request to this webhook may begin; if so, `give_back` follows with the same arguments.

        Failing webhooks get at most half of the places, all of them together.
        """
        most = MOST_AT_ONCE if webhook_id in self._proven and not failing else 1
        if self._held[webhook_id] >= most or (failing and self._failing.total() >= self._most_failing):
            return False
        self._held[webhook_id] += 1
        if failing:
            self._failing[webhook_id] += 1
        return True

    def give_back(self, webhook_id: str, *, failing: bool, delivered: bool) -> None:
        """Ends a request."""
        for counter in (self._held, self._failing) if failing else (self._held,):
            counter[webhook_id] -= 1
            if not counter[webhook_id]:
                del counter[webhook_id]
        self._proven.pop(webhook_id, None)
        if delivered:
            self._proven[webhook_id] = None
            if len(self._proven) > MOST_KNOWN:
                del self._proven[next(iter(self._proven))]
