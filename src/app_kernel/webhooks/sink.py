"""From an event that left its transaction to the deliveries that it needs, in one commit with their jobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import NoRunningKernel, Unavailable
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore, JobQueue
from app_kernel.webhooks import store
from app_kernel.webhooks.event_names import listens

DELIVER = "webhooks.deliver"
TIDY = "webhooks.tidy"
TIDY_SECONDS = 3600
AUTOMATIC = frozenset({"failing", "gone"})
"""Why the kernel itself disables a webhook; what it then misses is kept, to be replayed."""

_JOBS_AT_ONCE = 1000


async def receive(db: EntityStore, messages: Sequence[Message]) -> None:
    """Keeps the events that somebody listens to, a delivery for each webhook, and enqueues their jobs."""
    workspaces = {message.body["workspace_id"] for message in messages} - {None}
    webhooks = await store.find_listeners(db, workspaces)
    events: list[dict[str, Any]] = []
    deliveries: list[dict[str, Any]] = []
    for message in messages:
        found = [delivery_of(webhook, message.id, message.body) for webhook in _listening(webhooks, message.body)]
        if found:
            events.append(event_of(message.id, message.body))
            deliveries += found
    await store.insert_events(db, events)
    await store.insert_deliveries(db, deliveries)
    traces = {message.id: message.body.get("traceparent") for message in messages}
    await enqueue([delivery for delivery in deliveries if delivery["status"] == "pending"], traces)
    if deliveries:
        await enqueue_tidying()


def _listening(webhooks: Iterable[Mapping[str, Any]], event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        webhook
        for webhook in webhooks
        if webhook["workspace_id"] in {None, event["workspace_id"]}
        and (webhook["is_active"] or webhook["disabled_reason"] in AUTOMATIC)
        and listens(webhook["events"], event["event"])
    ]


def event_of(event_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an event."""
    fields = {name: body[name] for name in ("event", "workspace_id", "body")}
    return {"id": event_id, **fields, "triggered_at": datetime.fromisoformat(body["at"])}


def delivery_of(webhook: Mapping[str, Any], event_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a delivery that was not tried yet; to a disabled webhook, one that is not going to be."""
    is_active = webhook["is_active"]
    return {
        "id": clock.new_id(),
        "webhook_id": webhook["id"],
        "workspace_id": webhook["workspace_id"],
        "event_id": event_id,
        "event": body["event"],
        "status": "pending" if is_active else "skipped",
        "run": 1,
        "attempts": 0,
        "triggered_at": datetime.fromisoformat(body["at"]),
        "next_at": clock.now() if is_active else None,
        "outcome": None if is_active else "disabled",
        "log": [],
    }


async def enqueue(
    deliveries: Iterable[Mapping[str, Any]], traces: Mapping[str, str | None] = MappingProxyType({})
) -> None:
    """Enqueues a job for each delivery, with the open transaction; `traces` are the traceparents of events, by id."""
    listed = list(deliveries)
    payloads = [payload_of(delivery) for delivery in listed]
    parents = [traces.get(delivery["event_id"]) for delivery in listed]
    jobs = current_kernel().port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    for start in range(0, len(payloads), _JOBS_AT_ONCE):
        try:
            end = start + _JOBS_AT_ONCE
            await jobs.enqueue_many(DELIVER, payloads[start:end], traces=parents[start:end])
        except NoRunningKernel as exc:
            # The service is stopping, which says nothing against the message: the next one takes it.
            raise Unavailable("The job queue has ended with its service.") from exc


async def enqueue_tidying() -> None:
    """Enqueues the job that looks after deliveries, for the next full hour, once however often it is asked for."""
    hour = int(clock.epoch() // TIDY_SECONDS) + 1
    jobs = current_kernel().port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    await jobs.enqueue(TIDY, job_id=f"{TIDY}:{hour}", run_at=datetime.fromtimestamp(hour * TIDY_SECONDS, UTC))


def payload_of(delivery: Mapping[str, Any], held_back: int = 0) -> dict[str, Any]:
    """What a job is told: one whose `run` is no longer the delivery's has been overtaken and does nothing."""
    return {"delivery_id": delivery["id"], "run": delivery["run"], "held_back": held_back}
