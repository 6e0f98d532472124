"""Figures of requests in the memory of a process: by route, for each hour, until they are written."""

from typing import Any

from app_kernel.core import clock
from app_kernel.core.events import RequestFinished
from app_kernel.core.methods import METHODS
from app_kernel.stats.histogram import LAST_BUCKET, Buckets, add, bucket_of, from_text, to_text

UNMATCHED = "(unmatched)"
"""The route of requests that no route matched."""
OTHERS = "(others)"
"""The route of requests beyond MAX_ROUTES."""
MAX_ROUTES = 1000
"""Pairs of a method and a route that are told apart within an hour."""
MAX_HOURS = 24
"""Hours that are kept while they cannot be written; the oldest goes first."""

HOUR_SECONDS = 3600

Place = tuple[str, str, str]
"""Hour, method and route."""


class Figures:
    """What is known of the requests of one route."""

    __slots__ = (
        "buckets", "client_errors", "errors", "requests", "seconds", "slowest", "slowest_at", "slowest_request_id",
        "slowest_trace_id",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        """Of them, answered with 500 and above."""
        self.client_errors = 0
        """Of them, answered with 400 to 499."""
        self.seconds = 0.0
        """What all of them took."""
        self.slowest = 0.0
        self.slowest_request_id: str | None = None
        self.slowest_trace_id: str | None = None
        self.slowest_at: str | None = None
        self.buckets: Buckets = {}

    def count(self, event: RequestFinished) -> None:
        """Adds one request."""
        self.requests += 1
        if event.status >= 400:
            if event.status >= 500:
                self.errors += 1
            else:
                self.client_errors += 1
        seconds = event.duration
        self.seconds += seconds
        bucket = bucket_of(seconds)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        if seconds > self.slowest:
            self.slowest = seconds
            self.slowest_request_id = event.request_id
            trace = event.traceparent
            self.slowest_trace_id = None if trace is None else trace[3:35]
            self.slowest_at = clock.timestamp()

    def merge(self, other: "Figures") -> None:
        """Adds the requests of another process, hour or route."""
        self.requests += other.requests
        self.errors += other.errors
        self.client_errors += other.client_errors
        self.seconds += other.seconds
        add(self.buckets, other.buckets)
        self.take_slowest(other)

    def take_slowest(self, other: "Figures") -> None:
        """Takes over the slowest request of the other where that one was slower."""
        if other.slowest > self.slowest:
            self.slowest = other.slowest
            self.slowest_request_id = other.slowest_request_id
            self.slowest_trace_id = other.slowest_trace_id
            self.slowest_at = other.slowest_at

    def to_values(self) -> list[Any]:
        """As they travel and are stored: in the order of FIELDS."""
        return [
            self.requests,
            self.errors,
            self.client_errors,
            self.seconds,
            self.slowest,
            self.slowest_request_id,
            self.slowest_trace_id,
            self.slowest_at,
            to_text(self.buckets),
        ]

    @classmethod
    def from_values(cls, values: Any) -> "Figures":
        """What `to_values` has made; raises ValueError or TypeError for what it cannot have made."""
        requests, errors, client_errors, seconds, slowest, request_id, trace_id, at, buckets = values
        made = cls()
        made.requests, made.errors, made.client_errors = int(requests), int(errors), int(client_errors)
        made.seconds, made.slowest = float(seconds), float(slowest)
        made.slowest_request_id, made.slowest_trace_id, made.slowest_at = request_id, trace_id, at
        made.buckets = from_text(buckets)
        if any(not 0 <= bucket <= LAST_BUCKET for bucket in made.buckets):
            raise ValueError("a histogram has no such bucket")
        return made


class Collected:
    """The figures of one process that are not written yet."""

    def __init__(self) -> None:
        self.lost = 0
        """Requests of hours that were dropped, as they could not be written for too long."""
        self._hours: dict[str, dict[tuple[str, str], Figures]] = {}
        self._current: dict[tuple[str, str], Figures] = {}
        self._begins = self._ends = 0.0

    def count(self, event: RequestFinished) -> None:
        """Counts one request, in the hour in which it ended."""
        # Both bounds, as a clock may be set back.
        if not self._begins <= clock.epoch() < self._ends:
            self._turn_hour()
        figures = self._current.get((event.method, event.route))
        if figures is None:
            figures = self._place(event.method, event.route)
        figures.count(event)

    def take(self) -> dict[Place, Figures]:
        """What was counted since the last time; it begins anew."""
        hours, self._hours = self._hours, {}
        self._current, self._begins, self._ends = {}, 0.0, 0.0
        return {(hour, *place): each for hour, places in hours.items() for place, each in places.items()}

    def _turn_hour(self) -> None:
        self._begins = clock.epoch() // HOUR_SECONDS * HOUR_SECONDS
        self._ends = self._begins + HOUR_SECONDS
        self._current = self._hours.setdefault(hour_of(clock.timestamp()), {})
        while len(self._hours) > MAX_HOURS:
            dropped = self._hours.pop(min(self._hours))
            self.lost += sum(figures.requests for figures in dropped.values())

    def _place(self, method: str, route: str) -> Figures:
        place = (method if method in METHODS else "OTHER", route or UNMATCHED)
        if place not in self._current and len(self._current) >= MAX_ROUTES:
            place = ("OTHER", OTHERS)
        return self._current.setdefault(place, Figures())


def hour_of(timestamp: str) -> str:
    """The hour of an instant in the kernel's text: 2026-11-22T21."""
    return timestamp[:13]
