"""A handle that is bound to a workspace has that workspace's webhooks and deliveries, whatever id it is asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app_kernel import webhooks
from app_kernel.core import clock
from app_kernel.core.errors import DeliveryNotFound, InvalidWebhook, OutsideWorkspace, WebhookNotFound
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from tests.api_keys.serving import fresh_database
from tests.conformance.backends import SERVICE_BACKENDS
from tests.webhooks.serving import URL, Service, serving


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


REFUSED: dict[str, Callable[[Any, str, str], Awaitable[Any]]] = {
    "update": lambda db, hook, _: webhooks.update_webhook(db, hook, url="https://example.com/elsewhere"),
    "rotate": lambda db, hook, _: webhooks.rotate_webhook_secret(db, hook),
    "disable": lambda db, hook, _: webhooks.disable_webhook(db, hook),
    "enable": lambda db, hook, _: webhooks.enable_webhook(db, hook),
    "test": lambda db, hook, _: webhooks.test_webhook(db, hook),
    "replay failed": lambda db, hook, _: webhooks.replay_failed(db, hook, since=clock.now()),
    "replay": lambda db, _, delivery: webhooks.replay_delivery(db, delivery),
}


async def filled(service: Service) -> dict[str | None, tuple[str, str]]:
    """A webhook and a delivery of two workspaces and of the whole service; their ids."""
    found: dict[str | None, tuple[str, str]] = {}
    for workspace in ("w1", "w2", None):
        hook = await create_webhook(service.db, workspace, url=URL, events=[f"{workspace}.*".lower()])
        await trigger_webhook_event(service.db, workspace, event=f"{workspace}.x".lower())
        await service.drain()
        (row,) = await service.deliveries(hook["id"])
        found[workspace] = hook["id"], row["id"]
    return found


@pytest.mark.acceptance("AZ2")
async def test_what_is_of_another_workspace_or_the_whole_service_is_not_there(database: str, monkeypatch):
    async with serving(monkeypatch, database) as service:
        there = await filled(service)
        bound = service.db.in_workspace("w1")
        before = await service.db.privileged.find_entities("kernel_webhooks", order_by="[id]")
        sent = len(service.receivers.orders)
        for handle in (bound, bound.privileged, service.db.privileged.in_workspace("w1")):
            for workspace in ("w2", None):
                hook, delivery = there[workspace]
                assert await webhooks.get_webhook(handle, hook) is None
                assert await webhooks.get_delivery(handle, delivery) is None
                assert await webhooks.list_deliveries(handle, hook) == []
                assert not await webhooks.delete_webhook(handle, hook)
                for name, refused in REFUSED.items():
                    with pytest.raises((WebhookNotFound, DeliveryNotFound)):
                        await refused(handle, hook, delivery)
                        pytest.fail(name)
                for other in (
                    webhooks.list_webhooks(handle, workspace),
                    create_webhook(handle, workspace, url=URL, events=["*"]),
                    trigger_webhook_event(handle, workspace, event="w2.x"),
                ):
                    with pytest.raises(OutsideWorkspace):
                        await other
        await service.drain()
        assert await service.db.privileged.find_entities("kernel_webhooks", order_by="[id]") == before
        assert len(service.receivers.orders) == sent


async def test_everything_works_through_the_handle_of_the_own_workspace(database: str, monkeypatch):
    async with serving(monkeypatch, database) as service:
        bound = service.db.in_workspace("w1")
        hook = await create_webhook(bound, "w1", url=URL, events=["*"])
        assert hook["workspace_id"] == "w1"
        async with bound.transaction():
            await bound.save_entity("deployments", {"id": "d1"})
            event_id = await trigger_webhook_event(bound, "w1", event="a.b")
        await service.drain()
        assert service.receivers.ids() == [event_id]
        (row,) = await webhooks.list_deliveries(bound, hook["id"])
        details = await webhooks.get_delivery(bound, row["id"])
        assert details is not None
        assert details["body"]
        assert [each["id"] for each in await webhooks.list_webhooks(bound, "w1")] == [hook["id"]]
        await webhooks.update_webhook(bound, hook["id"], description="new")
        await webhooks.rotate_webhook_secret(bound, hook["id"])
        await webhooks.replay_delivery(bound, row["id"])
        await webhooks.test_webhook(bound, hook["id"])
        await service.drain()
        assert len(service.receivers.orders) == 3
        await webhooks.disable_webhook(bound, hook["id"])
        await webhooks.enable_webhook(bound, hook["id"])
        assert await webhooks.delete_webhook(bound, hook["id"])


@pytest.mark.parametrize("workspace", ["w\x00", "\ud800", "", "w" * 192, 7])
async def test_a_workspace_that_no_database_can_hold_is_refused_before_it_holds_up_other_events(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
):
    async with serving(monkeypatch) as service:
        for refused in (
            trigger_webhook_event(service.db, workspace, event="a.b"),
            create_webhook(service.db, workspace, url=URL, events=["*"]),
        ):
            with pytest.raises(InvalidWebhook):
                await refused
