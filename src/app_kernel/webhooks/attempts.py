"""How an attempt ended."""

from dataclasses import dataclass

GONE = 410
ASKS_TO_WAIT = frozenset({429, 503})
"""Answers whose Retry-After is honoured."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered, or why it did not."""

    outcome: str
    """delivered (2xx), status (any other one), refused (an address that nothing is sent to), dns, connection, tls,
    timeout, protocol (no HTTP, or more than is read), or secret (it cannot be unsealed)."""
    status_code: int | None = None
    retry_after: float | None = None
    """In seconds."""
    excerpt: str = ""
    """The beginning of the answer."""
    seconds: float = 0.0
    """From the first step to the answer."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.outcome == "delivered"

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more of them, ever."""
        return self.status_code == GONE

    @property
    def wait(self) -> float | None:
        """Seconds that the receiver asked for."""
        return self.retry_after if self.status_code in ASKS_TO_WAIT else None
