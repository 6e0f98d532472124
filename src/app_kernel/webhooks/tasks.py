"""The job that delivers one event to one webhook, attempt by attempt: at least once, each with the same webhook-id.

The delivery's row says how it stands, and which job it belongs to (`run`). What an attempt came to and the job of the
next one are one commit, so a worker that is killed loses neither; what it had sent by then is sent again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import SealBroken, VersionConflict, WebhookError, WebhookKeyMissing
from app_kernel.core.events import WebhookAttempted
from app_kernel.core.jobs import DoNotRetry, Task
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore, JobQueue
from app_kernel.core.tracing import current_traceparent, mark_failed, span
from app_kernel.encryption import KeyRing
from app_kernel.logs import get_logger
from app_kernel.webhooks import store
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.capture import CapturedWebhook
from app_kernel.webhooks.closed import CLOSED, closed_among
from app_kernel.webhooks.health import note_delivered, note_failed, note_gone
from app_kernel.webhooks.schedule import hold_back, wait_after
from app_kernel.webhooks.sealing import signing_keys
from app_kernel.webhooks.signing import headers_for
from app_kernel.webhooks.sink import DELIVER, payload_of
from app_kernel.webhooks.slots import Slots
from app_kernel.webhooks.urls import check_url

QUEUE = "webhooks"
"""Of their own, so that receivers that hang hold up no other job."""
SIGN_OF_LIFE = 8
"""After so many times of being held back a delivery says when it comes again, so that nobody takes it for lost."""
JOB_ATTEMPTS = 20
"""Runs of the job of one attempt, when workers are killed or the database is away."""
SPARE_SECONDS = 30.0
"""What the job of an attempt may take beyond the time that the receiver has."""

Row = dict[str, Any]

_log = get_logger("app_kernel.webhooks")


class Courier:
    """Delivers the events of one service."""

    def __init__(self, config: ServiceConfig, ring: KeyRing) -> None:
        self._config = config
        self._ring = ring
        self._slots = Slots(_places(config))
        self.captured: list[CapturedWebhook] | None = None
        """Where webhooks go instead of being sent; None where they are sent."""

    @property
    def task(self) -> Task:
        """What runs as `webhooks.deliver`."""
        timeout = self._config.webhook_timeout_seconds + SPARE_SECONDS
        # How an attempt ended is in the log of the delivery: the job need not be kept for it.
        return Task(handler=self.deliver, queue=QUEUE, max_attempts=JOB_ATTEMPTS, timeout=timeout, result_ttl=0)

    async def deliver(self, payload: Any) -> None:
        """Makes one attempt, or puts it off when it is not the webhook's turn."""
        if not isinstance(payload, Mapping) or not isinstance(payload.get("delivery_id"), str):
            raise DoNotRetry("This is no job that the kernel enqueued.")
        db = current_kernel().db.connection()
        delivery = await store.get_delivery(db, payload["delivery_id"])
        if delivery is None or delivery["status"] != "pending" or delivery["run"] != payload.get("run"):
            return
        webhook = await store.get_webhook(db, delivery["webhook_id"])
        event = await store.get_event(db, delivery["event_id"])
        if webhook is None or event is None or not webhook["is_active"]:
            await _skip(db, delivery, "disabled" if webhook is not None and event is not None else "deleted")
            return
        if await closed_among(db, [webhook["workspace_id"]]):
            await _skip(db, delivery, CLOSED)
            return
        failing = webhook["failing_since"] is not None
        if not self._slots.take(webhook["id"], failing=failing):
            await _hold_back(db, delivery, int(payload.get("held_back", 0)) + 1, failing=failing)
            return
        delivered = False
        try:
            answer = await self.attempt(webhook, event)
            delivered = answer.delivered
        finally:
            self._slots.give_back(webhook["id"], failing=failing, delivered=delivered)
        await record(db, webhook, delivery, answer)

    async def attempt(self, webhook: Row, event: Row) -> Answer:
        """Sends an event once; never raises for what the receiver or the network do."""
        # What a process that sends nothing need not pay for.
        from app_kernel.webhooks.sending import Order, send  # noqa: PLC0415

        config, body = self._config, event["body"].encode()
        try:
            target = check_url(webhook["url"], **url_rules(config))
            headers = headers_for(signing_keys(self._ring, webhook), event["id"], int(clock.epoch()), body)
        except (SealBroken, WebhookKeyMissing):
            reason = "this worker cannot open its secret: ENCRYPTION_KEY or JWT_SECRET is not the service's"
            _log.error("webhook_secret_sealed", webhook_id=webhook["id"], reason=reason)
            return Answer("secret")
        except WebhookError:
            return Answer("refused")
        # Of the URL the host alone: its path may be the receiver's secret.
        about = {"http.request.method": "POST", "server.address": target.host, "app_kernel.webhook.id": webhook["id"]}
        with span("send webhook", "client", about) as made:
            traceparent = current_traceparent()
            if traceparent is not None:
                headers["traceparent"] = traceparent
            if self.captured is not None:
                self.captured.append(CapturedWebhook(webhook["url"], headers, body))
                return Answer("delivered", 200)
            seconds, allow_private = config.webhook_timeout_seconds, config.webhook_allow_private
            answer = await send(Order(target, body, headers, seconds, allow_private))
            if made is not None:
                _say(made, answer)
            return answer


def _say(made: Any, answer: Answer) -> None:
    if answer.status_code is not None:
        made.set_attribute("http.response.status_code", answer.status_code)
    if not answer.delivered:
        mark_failed(made, answer.outcome if answer.status_code is None else str(answer.status_code))


def courier_of(kernel: Kernel) -> Courier:
    """What delivers the events of a service; raises KernelError in one without webhooks."""
    return kernel.port(Courier)


def url_rules(config: ServiceConfig) -> dict[str, bool]:
    """Which URLs this service sends to: in production those of https alone, unless private addresses are allowed."""
    allow_private = config.webhook_allow_private
    return {"https_only": config.production and not allow_private, "allow_private": allow_private}


async def record(db: EntityStore, webhook: Row, delivery: Row, answer: Answer, *, retries: bool = True) -> Row | None:
    """Writes down what an attempt came to, with the job of the next one; None when somebody overtook it."""
    number, now = delivery["attempts"] + 1, clock.now()
    wait = wait_after(number, answer.wait) if retries and not (answer.delivered or answer.is_gone) else None
    status = "delivered" if answer.delivered else "dead" if wait is None else "pending"
    entry = {
        "at": clock.to_text(now), "outcome": answer.outcome, "status_code": answer.status_code,
        "duration_ms": round(answer.seconds * 1000),
    }  # fmt: skip
    values = {
        "status": status,
        "run": delivery["run"] + 1,
        "attempts": number,
        "next_at": None if wait is None else now + timedelta(seconds=wait),
        "last_at": now,
        "outcome": answer.outcome,
        "status_code": answer.status_code,
        "excerpt": answer.excerpt,
        "log": store.with_attempt(delivery, entry),
    }
    try:
        async with db.transaction():
            changed = await store.change_delivery(db, delivery, values)
            if wait is not None:
                await _enqueue(changed, wait)
    except VersionConflict:
        # It was replayed, or swept up: that attempt tells how it stands.
        return None
    await _tell(webhook, changed, answer)
    return changed


async def _tell(webhook: Row, delivery: Row, answer: Answer) -> None:
    kernel = current_kernel()
    outcome = {"delivered": "delivered", "dead": "dead"}.get(delivery["status"], "failed")
    if answer.outcome == "refused":
        outcome = "refused"
    await kernel.emit(WebhookAttempted(outcome, delivery["attempts"], answer.seconds))
    about = {
        "webhook_id": webhook["id"], "delivery_id": delivery["id"], "webhook_event": delivery["event"],
        "attempt": delivery["attempts"], "outcome": answer.outcome, "status_code": answer.status_code,
    }  # fmt: skip
    db = kernel.db.connection()
    if answer.delivered:
        _log.info("webhook_delivered", **about)
        await note_delivered(db, webhook)
        return
    if delivery["status"] == "dead":
        _log.error("webhook_given_up", **about)
    else:
        _log.warning("webhook_failed", **about)
    await (note_gone if answer.is_gone else note_failed)(kernel, db, webhook)


async def _skip(db: EntityStore, delivery: Row, why: str) -> None:
    values = {"status": "skipped", "outcome": why, "next_at": None, "run": delivery["run"] + 1}
    try:
        await store.change_delivery(db, delivery, values)
    except VersionConflict:
        return  # somebody replayed it just now


async def _hold_back(db: EntityStore, delivery: Row, times: int, *, failing: bool) -> None:
    wait = hold_back(times - 1, failing=failing)
    if times % SIGN_OF_LIFE:
        await _enqueue(delivery, wait, times)
        return
    try:
        async with db.transaction():
            values = {"next_at": clock.now() + timedelta(seconds=wait)}
            await _enqueue(await store.change_delivery(db, delivery, values), wait, times)
    except VersionConflict:
        return  # somebody replayed it just now


async def _enqueue(delivery: Row, wait: float, held_back: int = 0) -> None:
    # A job that runs twice, because its worker was killed at its end, has one successor.
    job_id = f"webhook:{delivery['id']}:{delivery['run']}:{held_back}"
    jobs = current_kernel().port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    await jobs.enqueue(DELIVER, payload_of(delivery, held_back), job_id=job_id, delay_seconds=wait)


def _places(config: ServiceConfig) -> int:
    """How many deliveries a worker of this service makes at a time, as far as the settings tell."""
    for entry in config.worker_queues:
        name, _, number = entry.partition(":")
        if name == QUEUE and number.isdecimal():
            return int(number)
    return config.worker_concurrency
