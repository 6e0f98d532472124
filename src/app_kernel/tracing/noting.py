"""What was slow or failed is noted in memory, and leaves for the admin database about once a second.

A storm, as when every request fails, is noted in part: so many a second, and how many were left out is logged.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.beside import Beside
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.events import JobFinished, RequestFinished
from app_kernel.core.kernel import Kernel
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
FAILED_JOBS = frozenset({"dead", "retried", "lost"})
WANTED_AGAIN = "RetryLater"
"""What a handler raises to be run again: no failure."""
TOLD_EVERY = 60.0
"""Seconds between two lines about what was left out."""

_log = logging.getLogger("app_kernel.tracing")


class Noting:
    """The notes of one service that are not written yet."""

    def __init__(self, config: ServiceConfig) -> None:
        self._app = config.name or ""
        self._slow = config.trace_slow_seconds
        self._kept = config.traces_kept
        self._allowance = Allowance(NOTED_PER_SECOND)
        self._notes: list[dict[str, Any]] = []
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
            _end_request(trace, event)
        failed = event.status >= FAILED_STATUS
        if not (failed or event.duration >= self._slow) or not self._may_note():
            return
        self._note(
            {
                "kind": "request",
                "request_id": event.request_id,
                "name": f"{event.method} {event.route}".strip()[:LONGEST],
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
        if trace is not None:
            row |= {"spans": spans_of(trace), "spans_left_out": trace.left_out}
        self._notes.append(_storable(harmless(row)))
        self._call()

    def _call(self) -> None:
        if self._beside is not None:
            self._beside.call()

    async def _write(self, db: EntityStore) -> None:
        notes, self._notes = self._notes, []
        self._tell_left_out()
        messages = [
            Message(TOPIC, {"app": self._app, "kept": self._kept, "traces": notes[at : at + MOST_AT_ONCE]})
            for at in range(0, len(notes), MOST_AT_ONCE)
        ]
        await db.send_messages(messages)

    def _tell_left_out(self) -> None:
        now = clock.monotonic()
        if self._left_out and not 0 <= now - self._told < TOLD_EVERY:
            reason = f"more than {NOTED_PER_SECOND} a second were slow or failed"
            _log.warning("traces_left_out", extra={"count": self._left_out, "reason": reason})
            self._left_out, self._told = 0, now


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
    error = (event.error or str(event.status)) if event.status >= FAILED_STATUS else None
    trace.end(attributes, error, f"{event.method} {event.route}".strip())


def spans_of(trace: Trace) -> list[dict[str, Any]]:
    """The spans inside a trace, in the order of their beginning: offsets and durations in milliseconds."""
    spans: list[dict[str, Any]] = []
    if not trace.ended:
        return spans
    begin = trace.span.start_time
    for span in sorted(trace.ended, key=lambda each: each.start_time):
        parent = span.parent
        spans.append(
            {
                "name": span.name[:LONGEST],
                "id": f"{span.context.span_id:016x}",
                "parent": None if parent is None else f"{parent.span_id:016x}",
                "offset_ms": round((span.start_time - begin) / 1e6, 3),
                "duration_ms": round((span.end_time - span.start_time) / 1e6, 3),
                "attributes": {name: _short(value) for name, value in (span.attributes or {}).items()},
            }
        )
    return spans


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    return [_short(each) for each in value[:LONGEST]] if isinstance(value, tuple | list) else value
