"""A workspace that was deleted sends nothing more, and goes on where it stopped once it is restored."""

import pytest

from app_kernel import FEATURES, ServiceConfig, create_service, webhooks
from app_kernel.auth import create_user
from app_kernel.core import clock
from app_kernel.core.errors import WebhookConflict
from app_kernel.core.ports import Outbox
from app_kernel.saas.workspaces import create_workspace, delete_workspace, restore_workspace
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from tests.redis_beside import redis_beside
from tests.webhooks.serving import SECRET, START, URL


async def test_the_webhooks_of_a_deleted_workspace_are_skipped_until_it_is_restored(database: str):
    redis = redis_beside(database)
    config = ServiceConfig(jwt_secret=SECRET, saas_enabled=True, database_name="sqlite://:memory:", **redis)
    app = create_service("hooks", config=config, features=[*FEATURES])
    async with kernel_client(app, database=database, frozen_at=START, **redis) as client:
        owner = await create_user(client.db, "ada@example.com", "plum tree over water")
        here = (await create_workspace(client.db, "Here", owner.id))["id"]
        there = (await create_workspace(client.db, "There", owner.id))["id"]
        hooks = {
            place: await create_webhook(client.db, place, url=f"{URL}{place}", events=["*"])
            for place in (here, there, "not-of-the-kernel", None)
        }
        since = clock.now()
        ids = [await trigger_webhook_event(client.db, here, event="before.it")]
        await client.jobs.enqueued()
        for place in (there, "not-of-the-kernel"):
            await trigger_webhook_event(client.db, place, event="of.others")
        await delete_workspace(client.db, here)
        ids.append(await trigger_webhook_event(client.db, here, event="after.it"))
        sent = await client.webhooks()
        assert [each for each in sent if each.url == hooks[here]["url"]] == []
        assert len(sent) == 6  # each event to the whole service, and those of others to them
        rows = await webhooks.list_deliveries(client.db, hooks[here]["id"])
        assert [(row["status"], row["outcome"]) for row in rows] == [("skipped", "workspace")] * 2
        for refused in (
            webhooks.test_webhook(client.db, hooks[here]["id"]),
            webhooks.replay_failed(client.db, hooks[here]["id"], since=since),
            webhooks.replay_delivery(client.db, rows[0]["id"]),
        ):
            with pytest.raises(WebhookConflict, match="workspace"):
                await refused
        await restore_workspace(client.db, here)
        assert await webhooks.replay_failed(client.db, hooks[here]["id"], since=since) == 2
        later = (await client.webhooks())[len(sent) :]
        assert [each.id for each in later] == ids


async def test_a_delivery_on_its_way_is_skipped_when_the_workspace_is_deleted_meanwhile(database: str):
    redis = redis_beside(database)
    config = ServiceConfig(jwt_secret=SECRET, saas_enabled=True, database_name="sqlite://:memory:", **redis)
    app = create_service("hooks", config=config, features=[*FEATURES])
    async with kernel_client(app, database=database, frozen_at=START, **redis) as client:
        owner = await create_user(client.db, "ada@example.com", "plum tree over water")
        here = (await create_workspace(client.db, "Here", owner.id))["id"]
        hook = await create_webhook(client.db, here, url=URL, events=["*"])
        await trigger_webhook_event(client.db, here, event="a.b")
        outbox = client.kernel.port(Outbox)  # type: ignore[type-abstract]
        while (await outbox.figures()).unsent:
            await client.jobs.enqueued()
        assert len(await webhooks.list_deliveries(client.db, hook["id"])) == 1
        await delete_workspace(client.db, here)
        assert await client.webhooks() == []
        (row,) = await webhooks.list_deliveries(client.db, hook["id"])
        assert (row["status"], row["outcome"]) == ("skipped", "workspace")
