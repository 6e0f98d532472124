"""What a test sees of webhooks: captured and signed, never sent unless it asks for that."""

from datetime import UTC, datetime

import pytest

from app_kernel import FEATURES, create_service
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import InvalidSignature, KernelError
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_feature, create_webhook, sending, trigger_webhook_event
from app_kernel.webhooks.signing import make_secret
from tests.webhooks.serving import SECRET, URL, Receivers, make_app

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_webhooks_are_captured_with_what_their_receiver_would_get(monkeypatch: pytest.MonkeyPatch):
    receivers = Receivers()
    monkeypatch.setattr(sending, "send", receivers.send)
    app = make_app(None, [])
    async with kernel_client(app, frozen_at=START) as client:
        hooks = [await create_webhook(client.db, "w1", url=f"{URL}{n}", events=["*"]) for n in range(2)]
        ids = [await trigger_webhook_event(client.db, "w1", event="a.b", data={"n": n}) for n in range(2)]
        guest = await client.log_in_as("ada@example.com")
        found = await guest.webhooks()
        assert sorted((each.id, each.url) for each in found) == sorted((i, hook["url"]) for i in ids for hook in hooks)
        first = next(each for each in found if each.url == hooks[0]["url"] and each.id == ids[0])
        assert (first.type, first.data, first.body["workspace_id"]) == ("a.b", {"n": 0}, "w1")
        assert set(first.headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
        client.clock.advance(86_400)
        event = first.verify(hooks[0]["secret"])
        assert (event.id, event.type, event.data) == (ids[0], "a.b", {"n": 0})
        with pytest.raises(InvalidSignature):
            first.verify(hooks[1]["secret"])
        await trigger_webhook_event(client.db, "w1", event="c.d")
        assert [each.type for each in await client.webhooks()][4:] == ["c.d"] * 2
    async with kernel_client(app) as client:
        assert await client.webhooks() == []
    assert receivers.orders == []
    async with kernel_client(app, webhooks="send") as client:
        hook = await create_webhook(client.db, "w1", url=URL, events=["*"], secret=make_secret())
        await trigger_webhook_event(client.db, "w1", event="a.b")
        await client.jobs.drain()
        assert [order.target.host for order in receivers.orders] == ["hooks.example.com"]
        with pytest.raises(KernelError, match="really sent"):
            await client.webhooks()
        assert hook["is_active"]


async def test_a_service_without_webhooks_says_so():
    features = [feature for feature in FEATURES if feature is not create_feature]
    app = create_service("plain", config=ServiceConfig(jwt_secret=SECRET), features=features)
    async with kernel_client(app) as client:
        with pytest.raises(KernelError, match="Courier"):
            await client.webhooks()
