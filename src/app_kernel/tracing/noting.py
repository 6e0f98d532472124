"""What was slow or failed is noted in memory, and leaves for the admin database about once a second.

A storm, as when every request fails, is noted in part: so many a second, and how many were left out is logged.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.beside import Beside
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import Unavailable
from app_kernel.core.events import JobFinished, RequestFinished
from app_kernel.core.kernel import Kernel
from app_kernel.core.methods import METHODS
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.core.tracing import Trace
from app_kernel.logs import harmless
from app_kernel.tracing.allowance import Allowance
from app_kernel.tracing.sink import TOPIC

NOTED_PER_SECOND = 20
MOST_NOTED = 100
"""Notes that wait in memory, as while the database is away."""
MOST_AT_ONCE = 20
"""Notes in one message."""
FAILED_STATUS = 500
LONGEST = 500
"""Characters of a text in a note."""
MOST_CHARACTERS = 30_000
"""Of the attributes of a note's spans together; what is more is left out."""
MOST_IN_A_LIST = 20
CLIENT_LEFT = "ClientDisconnect"
"""What Starlette raises where a client leaves in the middle of an answer: no failure of the service."""
OTHER_METHOD = "_OTHER"
FAILED_JOBS = frozenset({"dead", "retried", "lost"})
WANTED_AGAIN = "RetryLater"
"""What a handler raises to be run again: no failure."""
TOLD_EVERY = 60.0
"""Seconds between two lines about what was left out."""

_log = logging.getLogger("app_kernel.tracing")

Note = tuple[dict[str, Any], Trace | None]
"""A row, and what was traced of it."""


class Noting:
    """The notes of one service that are not written yet."""

    def __init__(self, config: ServiceConfig) -> None:
        self._app = config.name or ""
        self._slow = config.trace_slow_seconds
        self._kept = config.traces_kept
        self._allowance = Allowance(NOTED_PER_SECOND)
        self._notes: list[Note] = []
        self._unsent: list[Message] = []
        """What a try to write has failed with; it keeps its ids, as the try may have succeeded all the same."""
        self._writing = asyncio.Lock()
        self._left_out = 0
        self._told = float("-inf")
        self._dropped: Counter[str] = Counter()
        self._beside: Beside | None = None

    @asynccontextmanager
    async def written(self, kernel: Kernel) -> AsyncIterator[None]:
        """Writes notes beside the requests while the block runs, and once more at its end."""
        db = kernel.db.connection().privileged
        self._dropped = kernel.dropped
        self._beside = Beside(kernel, lambda: self._write(db), "traces_not_written", log=_log)
        async with self._beside.written():
            yield
        self._beside = None

    def note_request(self, kernel: Kernel, event: RequestFinished) -> None:
        """Ends the span of a request, and notes it if it was slow or failed; called in the request's context."""
        context = current_context()
        trace: Trace | None = context.span
        if trace is not None:
            # What the request has started and goes on is no part of it any more.
            context.span = None
            _end_request(trace, event)
        failed = _failure(event) is not None
        if not (failed or event.duration >= self._slow) or not self._may_note():
            return
        self._note(
            {
                "kind": "request",
                "request_id": event.request_id,
                "name": _name(event)[:LONGEST],
                "path": event.path[:LONGEST],
                "status": event.status,
                "failed": failed,
                "error": event.error,
                "address": context.address,
            },
            event,
            event.duration,
            trace,
        )

    def note_job(self, kernel: Kernel, event: JobFinished) -> None:
        """Notes an attempt that was slow or failed."""
        failed = event.outcome in FAILED_JOBS and not (event.outcome == "retried" and event.error == WANTED_AGAIN)
        if not (failed or event.ran >= self._slow) or not self._may_note():
            return
        self._note(
            {
                "kind": "job",
                "request_id": event.request_id,
                "job_id": event.job_id,
                "name": event.task_name[:LONGEST],
                "outcome": event.outcome,
                "attempt": event.attempt,
                "failed": failed,
                "error": event.error,
            },
            event,
            event.ran,
            event.trace,
        )

    def _may_note(self) -> bool:
        if not self._kept:
            return False
        if len(self._notes) < MOST_NOTED and self._allowance.take():
            return True
        self._left_out += 1
        self._dropped[TOPIC] += 1
        self._call()
        return False

    def _note(
        self, row: dict[str, Any], event: RequestFinished | JobFinished, seconds: float, trace: Trace | None
    ) -> None:
        row |= {
            "id": clock.new_id(),
            "trace_id": None if event.traceparent is None else event.traceparent[3:35],
            "user_id": event.user_id,
            "workspace_id": event.workspace_id,
            "started_at": clock.to_text(clock.now() - timedelta(seconds=seconds)),
            "duration_ms": round(seconds * 1000, 3),
        }
        self._notes.append((row, trace))
        self._call()

    def _call(self) -> None:
        if self._beside is not None:
            self._beside.call()

    async def _write(self, db: EntityStore) -> None:
        """Puts notes into the outbox; what fails as the database is away is kept, and MOST_NOTED more."""
        self._tell_left_out()
        async with self._writing:
            if not self._unsent:
                await self._take()
            try:
                await db.send_messages(self._unsent)
            except Unavailable:
                self._call()
                raise
            except Exception:
                # They would fail again.
                self._dropped[TOPIC] += sum(len(message.body["traces"]) for message in self._unsent)
                self._unsent = []
                raise
            self._unsent = []
        if self._notes:
            self._call()

    async def _take(self) -> None:
        notes = self._notes[:]
        # Some milliseconds for a request with many spans, which the event loop need not wait for.
        rows = await asyncio.to_thread(_rows, notes)
        del self._notes[: len(notes)]
        self._unsent = [
            Message(TOPIC, {"app": self._app, "kept": self._kept, "traces": rows[at : at + MOST_AT_ONCE]})
            for at in range(0, len(rows), MOST_AT_ONCE)
        ]

    def _tell_left_out(self) -> None:
        now = clock.monotonic()
        if self._left_out and not 0 <= now - self._told < TOLD_EVERY:
            reason = f"more than {NOTED_PER_SECOND} a second were slow or failed"
            _log.warning("traces_left_out", extra={"count": self._left_out, "reason": reason})
            self._left_out, self._told = 0, now


def _rows(notes: list[Note]) -> list[dict[str, Any]]:
    """Notes as they are stored."""
    rows = []
    for row, trace in notes:
        spans = {} if trace is None else {"spans": spans_of(trace), "spans_left_out": trace.left_out}
        rows.append(_storable(harmless(row | spans)))
    return rows


def _storable(value: Any) -> Any:
    """Without NUL, which a path may have and no database takes."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_storable(name): _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list) else value


def _end_request(trace: Trace, event: RequestFinished) -> None:
    attributes: dict[str, Any] = {"http.response.status_code": event.status}
    if event.route:
        attributes["http.route"] = event.route
    if event.user_id is not None:
        attributes["user.id"] = event.user_id
    trace.end(attributes, _failure(event), _name(event))


def _failure(event: RequestFinished) -> str | None:
    """What a request failed of, also one whose answer broke off after its beginning; None where it did not."""
    if event.status >= FAILED_STATUS:
        return event.error or str(event.status)
    return None if event.error == CLIENT_LEFT else event.error


def _name(event: RequestFinished) -> str:
    return f"{event.method if event.method in METHODS else 'HTTP'} {event.route}".strip()


def spans_of(trace: Trace) -> list[dict[str, Any]]:
    """The spans inside a trace, in the order of their beginning: offsets and durations in milliseconds."""
    spans: list[dict[str, Any]] = []
    if not trace.ended:
        return spans
    begin, left = trace.span.start_time, MOST_CHARACTERS
    for span in sorted(trace.ended, key=lambda each: each.start_time):
        parent = span.parent
        attributes, left = _short_attributes(span.attributes or {}, left)
        spans.append(
            {
                "name": span.name[:LONGEST],
                "id": f"{span.context.span_id:016x}",
                "parent": None if parent is None else f"{parent.span_id:016x}",
                "offset_ms": round((span.start_time - begin) / 1e6, 3),
                "duration_ms": round((span.end_time - span.start_time) / 1e6, 3),
                "attributes": attributes,
            }
        )
    return spans


def _short_attributes(given: Mapping[str, Any], left: int) -> tuple[dict[str, Any], int]:
    """As many of them as there is room for, and how many characters are left for further spans."""
    short: dict[str, Any] = {}
    for name, value in given.items():
        kept = [_short(each) for each in value[:MOST_IN_A_LIST]] if isinstance(value, tuple | list) else _short(value)
        left -= len(name) + (len(str(kept)) if isinstance(kept, str | list) else 0)
        if left < 0:
            return short, 0
        short[name] = kept
    return short, left


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
