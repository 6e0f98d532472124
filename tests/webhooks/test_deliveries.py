"""From an event to its receiver: who hears it, when it is tried again, and what becomes of it in the end."""

import asyncio
import json
from datetime import timedelta

import pytest

from app_kernel import webhooks
from app_kernel.core import clock
from app_kernel.core.errors import DeliveryNotFound, InvalidWebhook, WebhookConflict, WebhookNotFound
from app_kernel.jobs import get_job_client
from app_kernel.webhooks import create_webhook, store, trigger_webhook_event, upkeep
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.schedule import DISABLE_AFTER, JITTER, MAX_ATTEMPTS, WAITS
from tests.webhooks.serving import URL, Service

DOWN = Answer("status", 500, excerpt="broken")
EVENT = "deployment.succeeded"


async def test_an_event_reaches_the_webhooks_that_listen_to_it_and_no_other(service: Service):
    wanted = {}
    for name, workspace, events in (
        ("exact", "w1", ["deployment.failed", EVENT]),
        ("prefix", "w1", ["deployment.*"]),
        ("all", "w1", ["*"]),
        ("whole service", None, ["*"]),
        ("another event", "w1", ["deployment.failed", "deploy.*", "deployment"]),
        ("another workspace", "w2", ["*"]),
        ("disabled", "w1", ["*"]),
    ):
        made = await create_webhook(service.db, workspace, url=f"https://example.com/{len(wanted)}", events=events)
        wanted[name] = made["id"]
    await webhooks.disable_webhook(service.db, wanted["disabled"])
    data = {"service": "api", "version": 42}
    event_id = await trigger_webhook_event(service.db, "w1", event=EVENT, data=data)
    await trigger_webhook_event(service.db, "w1", event="nobody.listens")
    await service.drain()
    paths = sorted(order.target.path for order in service.receivers.orders if order.headers["webhook-id"] == event_id)
    assert paths == ["/0", "/1", "/2", "/3"]
    order = service.receivers.orders[0]
    assert json.loads(order.body) == {
        "type": EVENT,
        "timestamp": "2026-03-01T12:00:00.000000Z",
        "id": event_id,
        "workspace_id": "w1",
        "data": data,
    }
    (delivery,) = await webhooks.list_deliveries(service.db, wanted["exact"])
    assert (delivery["status"], delivery["attempts"], delivery["outcome"]) == ("delivered", 1, "delivered")
    assert (delivery["event_id"], delivery["status_code"]) == (event_id, 200)
    for name in ("another event", "another workspace", "disabled"):
        assert await webhooks.list_deliveries(service.db, wanted[name]) == []
    # An event of no workspace is for the whole service alone.
    service.receivers.orders.clear()
    await trigger_webhook_event(service.db, None, event=EVENT)
    await service.drain()
    assert [order.target.path for order in service.receivers.orders] == ["/3"]


@pytest.mark.acceptance("WH3")
async def test_a_delivery_is_tried_eight_times_within_more_than_a_day_and_is_then_in_the_dead_list(service: Service):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(DOWN)
    event_id = await trigger_webhook_event(service.db, "w1", event=EVENT, data={"n": 1})
    await service.drain()
    began, times = clock.now(), []
    for number in range(1, MAX_ATTEMPTS):
        (row,) = await service.deliveries(hook["id"])
        assert (row["status"], row["attempts"], len(service.receivers.orders)) == ("pending", number, number)
        wait = (row["next_at"] - clock.now()).total_seconds()
        assert WAITS[number - 1] * (1 - JITTER) <= wait <= WAITS[number - 1] * (1 + JITTER)
        await service.advance(wait - 0.5)
        assert len(service.receivers.orders) == number
        await service.advance(1)
        times.append(clock.now())
    assert timedelta(hours=24) <= times[-1] - began <= timedelta(hours=31)
    (row,) = await webhooks.list_deliveries(service.db, hook["id"], status="dead")
    assert (row["status"], row["attempts"], row["next_at"]) == ("dead", 8, None)
    details = await webhooks.get_delivery(service.db, row["id"])
    assert details is not None
    assert [entry["outcome"] for entry in details["log"]] == ["status"] * 8
    assert (details["excerpt"], details["status_code"]) == ("broken", 500)
    assert service.receivers.ids() == [event_id] * 8
    assert len({order.body for order in service.receivers.orders}) == 1
    assert service.attempts() == ["failed"] * 7 + ["dead"]
    figures = (await service.client.get("/metrics")).text
    assert 'app_kernel_webhook_attempts_total{outcome="failed"} 7.0' in figures
    assert 'app_kernel_webhook_attempts_total{outcome="dead"} 1.0' in figures
    assert "app_kernel_webhook_duration_seconds_count 8.0" in figures
    # By hand it begins again, as the same event.
    service.receivers.answers(Answer("delivered", 204))
    await webhooks.replay_delivery(service.db, row["id"])
    await service.drain()
    assert service.receivers.ids() == [event_id] * 9
    details = await webhooks.get_delivery(service.db, row["id"])
    assert details is not None
    assert (details["status"], details["attempts"], len(details["log"])) == ("delivered", 1, 9)


@pytest.mark.acceptance("WH3")
async def test_a_retry_after_makes_a_wait_longer_within_bounds_and_never_shorter(small_service: Service):
    service = small_service
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(
        Answer("status", 429, retry_after=60.0),
        Answer("status", 503, retry_after=1.0),
        Answer("status", 503, retry_after=1e9),
        Answer("status", 500, retry_after=1e6),
    )
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    waits = []
    for _ in range(4):
        (row,) = await service.deliveries(hook["id"])
        waits.append((row["next_at"] - clock.now()).total_seconds())
        await service.advance(waits[-1] + 1)
    assert waits[0] == 60
    assert 270 <= waits[1] <= 330
    assert waits[2] == 12 * 3600
    assert 6480 <= waits[3] <= 7920


@pytest.mark.acceptance("WH3")
async def test_410_disables_the_webhook_at_once_and_what_it_misses_can_be_replayed(service: Service):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(Answer("status", 410))
    since = clock.now()
    first = await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    shown = await webhooks.get_webhook(service.db, hook["id"])
    assert shown is not None
    assert (shown["is_active"], shown["disabled_reason"], shown["disabled_at"]) == (False, "gone", clock.now())
    assert service.security()[-1] == "webhook.disabled"
    second = await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    assert [row["status"] for row in await service.deliveries(hook["id"])] == ["dead", "skipped"]
    assert service.receivers.ids() == [first]
    for refused in (
        webhooks.replay_failed(service.db, hook["id"], since=since),
        webhooks.replay_delivery(service.db, (await service.deliveries(hook["id"]))[0]["id"]),
        webhooks.test_webhook(service.db, hook["id"]),
    ):
        with pytest.raises(WebhookConflict):
            await refused
    await webhooks.enable_webhook(service.db, hook["id"])
    service.receivers.answers(Answer("delivered", 200))
    assert await webhooks.replay_failed(service.db, hook["id"], since=since.isoformat()) == 2
    await service.drain()
    assert service.receivers.ids() == [first, first, second]
    assert [row["status"] for row in await service.deliveries(hook["id"])] == ["delivered"] * 2
    assert await webhooks.replay_failed(service.db, hook["id"], since=since) == 0


async def test_what_waits_is_tried_at_once_when_somebody_says_so_and_only_once(small_service: Service):
    service = small_service
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(DOWN)
    since = clock.now()
    for number in range(3):
        await trigger_webhook_event(service.db, "w1", event=EVENT, data={"n": number})
    await webhooks.test_webhook(service.db, hook["id"])
    await service.drain()
    tried = len(service.receivers.orders)
    first, *_ = rows = [row for row in await service.deliveries(hook["id"]) if row["event"] == EVENT]
    assert [row["status"] for row in rows] == ["pending"] * 3
    service.receivers.answers(Answer("delivered", 200))
    await webhooks.replay_delivery(service.db, first["id"])
    with pytest.raises(WebhookConflict, match="being tried now"):
        await webhooks.replay_delivery(service.db, first["id"])
    assert await webhooks.replay_failed(service.db, hook["id"], since=since) == 2, "tests are not sent again"
    assert await webhooks.replay_failed(service.db, hook["id"], since=since) == 0
    await service.drain()
    await service.advance(WAITS[0] * 2)
    assert len(service.receivers.orders) == tried + 3
    assert {row["status"] for row in await service.deliveries(hook["id"]) if row["event"] == EVENT} == {"delivered"}


async def test_a_webhook_that_fails_for_five_days_is_disabled_and_one_success_begins_anew(small_service: Service):
    service = small_service
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])

    async def fail_for(length: timedelta) -> bool:
        service.receivers.answers(DOWN)
        end = clock.now() + length
        while clock.now() < end:
            await trigger_webhook_event(service.db, "w1", event=EVENT)
            await service.drain()
            service.client.clock.advance(36_000)
        await trigger_webhook_event(service.db, "w1", event=EVENT)
        await service.drain()
        shown = await webhooks.get_webhook(service.db, hook["id"])
        assert shown is not None
        return bool(shown["is_active"])

    assert await fail_for(DISABLE_AFTER - timedelta(hours=20))
    service.receivers.answers(Answer("delivered", 200))
    await service.advance(400)
    shown = await webhooks.get_webhook(service.db, hook["id"])
    assert shown is not None
    assert shown["failing_since"] is None
    assert await fail_for(timedelta(days=4))
    assert not await fail_for(timedelta(days=1, hours=1))
    shown = await webhooks.get_webhook(service.db, hook["id"])
    assert shown is not None
    assert shown["disabled_reason"] == "failing"
    assert service.security().count("webhook.disabled") == 1
    await service.advance(40_000)
    assert {row["status"] for row in await service.deliveries(hook["id"])} == {"delivered", "dead", "skipped"}


async def test_two_failures_a_week_apart_disable_nothing(small_service: Service):
    service = small_service
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(DOWN)
    for _ in range(2):
        began = clock.now()
        await trigger_webhook_event(service.db, "w1", event=EVENT)
        await service.drain()
        shown = await webhooks.get_webhook(service.db, hook["id"])
        assert shown is not None
        assert (shown["is_active"], shown["failing_since"]) == (True, began)
        await service.client.jobs.drain()
        for row in await service.deliveries(hook["id"]):
            await get_job_client().cancel(f"webhook:{row['id']}:{row['run']}:0")
        service.client.clock.advance(7 * 86400)


@pytest.mark.acceptance("WH4")
async def test_what_is_triggered_in_a_transaction_leaves_with_its_commit_and_not_without(service: Service):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    with pytest.raises(RuntimeError):
        async with service.db.transaction():
            await trigger_webhook_event(service.db, "w1", event="rolled.back")
            await service.db.save_entity("things", {"id": "t1"})
            raise RuntimeError
    async with service.db.transaction():
        await trigger_webhook_event(service.db, "w1", event="committed.now")
        assert await service.deliveries(hook["id"]) == []
    await service.drain()
    assert [row["event"] for row in await service.deliveries(hook["id"])] == ["committed.now"]


async def test_a_job_that_was_overtaken_or_runs_twice_sends_nothing_more(service: Service):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.carried()
    (job,) = await service.client.jobs.enqueued("webhooks.deliver")
    feature = next(feature for feature in service.kernel.features if feature.name == "webhooks")
    handler = feature.tasks["webhooks.deliver"]
    service.receivers.answers(DOWN)
    for _ in range(3):
        await handler.handler(job.payload)
    await service.drain()
    assert len(service.receivers.orders) == 1
    (row,) = await service.deliveries(hook["id"])
    assert (row["status"], row["attempts"], len(row["log"])) == ("pending", 1, 1)
    (waiting,) = [each for each in await service.client.jobs.enqueued("webhooks.deliver") if each.status == "scheduled"]
    service.receivers.answers(Answer("delivered", 200))
    for payload in (job.payload, waiting.payload, waiting.payload):
        await handler.handler(payload)
    await service.advance(60)
    assert len(service.receivers.orders) == 2


async def test_events_of_several_workspaces_in_one_commit_go_to_their_own_webhooks(small_service: Service):
    service = small_service
    hooks = {name: await create_webhook(service.db, name, url=URL, events=["*"]) for name in ("w1", "w2")}
    async with service.db.transaction():
        sent = {name: await trigger_webhook_event(service.db, name, event=EVENT) for name in hooks}
    await service.drain()
    for name, hook in hooks.items():
        assert [row["event_id"] for row in await service.deliveries(hook["id"])] == [sent[name]]


async def test_a_delivery_whose_job_was_lost_is_taken_up_and_what_is_old_is_removed(service: Service):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(DOWN)
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    (row,) = await service.deliveries(hook["id"])
    (job,) = [each for each in await service.client.jobs.enqueued("webhooks.deliver") if each.status == "scheduled"]
    await get_job_client().cancel(job.id)
    service.receivers.answers(Answer("delivered", 200))
    await service.advance(1800)
    assert len(service.receivers.orders) == 1
    await service.advance(3 * 3600)
    await service.advance(1)
    assert [each["status"] for each in await service.deliveries(hook["id"])] == ["delivered"]
    await service.advance(29 * 86400)
    assert len(await service.deliveries(hook["id"])) == 1
    await service.advance(2 * 86400)
    assert await service.deliveries(hook["id"]) == []
    await service.advance(5 * 86400)
    assert await store.get_event(service.db, row["event_id"]) is None


async def test_what_is_sent_again_on_its_last_day_is_tried_to_the_end(small_service: Service):
    service = small_service
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(Answer("status", 410), DOWN)
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    await webhooks.enable_webhook(service.db, hook["id"])
    await service.advance(30 * 86400 - 600)
    (row,) = await service.deliveries(hook["id"])
    await webhooks.replay_delivery(service.db, row["id"])
    for _ in range(40):
        await service.advance(3600)
    assert len(service.receivers.orders) == 1 + MAX_ATTEMPTS
    assert await service.deliveries(hook["id"]) == []


async def test_after_a_queue_was_emptied_the_service_finds_what_was_lost_without_a_new_event(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
    service.receivers.answers(DOWN, Answer("delivered", 200))
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    for job in await service.client.jobs.enqueued():
        if job.status == "scheduled":
            await get_job_client().cancel(job.id)
    await service.advance(4 * 3600)
    assert len(service.receivers.orders) == 1
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    async with upkeep.looking_after(service.kernel), asyncio.timeout(10):
        while "scheduled" not in {job.status for job in await service.client.jobs.enqueued("webhooks.tidy")}:
            await service.carried()
    await service.advance(3601)
    assert [row["status"] for row in await service.deliveries(hook["id"])] == ["delivered"]


async def test_deleted_and_disabled_webhooks_get_nothing_of_what_waits(small_service: Service):
    service = small_service
    service.receivers.answers(DOWN)
    hooks = [await create_webhook(service.db, "w1", url=URL, events=["*"]) for _ in range(2)]
    await trigger_webhook_event(service.db, "w1", event=EVENT)
    await service.drain()
    assert await webhooks.delete_webhook(service.db, hooks[0]["id"])
    assert not await webhooks.delete_webhook(service.db, hooks[0]["id"])
    await webhooks.disable_webhook(service.db, hooks[1]["id"])
    await service.advance(60)
    assert len(service.receivers.orders) == 2
    states = [(row["status"], row["outcome"]) for each in hooks for row in await service.deliveries(each["id"])]
    assert states == [("skipped", "deleted"), ("skipped", "disabled")]
    with pytest.raises(WebhookConflict):
        await webhooks.replay_delivery(service.db, (await service.deliveries(hooks[0]["id"]))[0]["id"])


async def test_what_cannot_be_is_refused_by_name(small_service: Service):
    db = small_service.db
    hook = await create_webhook(db, "w1", url=URL, events=["*"])
    for event in ("", "a b", "a..b", ".a", "a.", "*", "a.*", "x" * 192, None, 7):
        with pytest.raises(InvalidWebhook):
            await trigger_webhook_event(db, "w1", event=event)
    for data in (object(), {"a": object()}, "x" * 300_000, {"s": "\ud800"}):
        with pytest.raises(InvalidWebhook):
            await trigger_webhook_event(db, "w1", event="a.b", data=data)
    for events in ([], "deployment.*", ["*.a"], ["a.*.b"], ["a*"], [7], ["a"] * 101, None):
        with pytest.raises(InvalidWebhook):
            await create_webhook(db, "w1", url=URL, events=events)
    for workspace in ("", 7, "x" * 192):
        with pytest.raises(InvalidWebhook):
            await create_webhook(db, workspace, url=URL, events=["*"])
    for secret in ("", "whsec_", "whsec_AAAA", "not base64", "whsec_" + "A" * 200, 7):
        with pytest.raises(InvalidWebhook):
            await create_webhook(db, "w1", url=URL, events=["*"], secret=secret)
        with pytest.raises(InvalidWebhook):
            await webhooks.rotate_webhook_secret(db, hook["id"], secret=secret)
    for hours in (-1, 721, 1.5, True, "24"):
        with pytest.raises(InvalidWebhook):
            await webhooks.rotate_webhook_secret(db, hook["id"], overlap_hours=hours)
    for since in ("2026-01-01", "never", 7, None, clock.now().replace(tzinfo=None)):
        with pytest.raises(InvalidWebhook):
            await webhooks.replay_failed(db, hook["id"], since=since)
    with pytest.raises(InvalidWebhook):
        await webhooks.list_deliveries(db, hook["id"], status="lost")
    with pytest.raises(DeliveryNotFound):
        await webhooks.replay_delivery(db, "nope")
    for call in (
        webhooks.update_webhook(db, "nope", url=URL),
        webhooks.rotate_webhook_secret(db, "nope"),
        webhooks.enable_webhook(db, "nope"),
        webhooks.test_webhook(db, "nope"),
    ):
        with pytest.raises(WebhookNotFound):
            await call
    assert await webhooks.get_webhook(db, "nope") is None
    assert await webhooks.get_delivery(db, "nope") is None
