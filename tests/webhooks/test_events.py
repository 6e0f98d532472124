"""Which events there are: names and patterns, bodies, and the changes of entities that are events by themselves."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from uuid import UUID

import pytest

from app_kernel import FEATURES, ServiceConfig, create_service, webhooks
from app_kernel.core.errors import ConfigurationError, InvalidWebhook, WebhookError
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from app_kernel.webhooks.bodies import LARGEST_BODY, make_body
from app_kernel.webhooks.event_names import check_patterns, listens
from tests.redis_beside import redis_beside
from tests.webhooks.serving import SECRET, URL, serving


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("patterns", "name", "heard"),
    [
        (["deployment.failed"], "deployment.failed", True),
        (["deployment.failed"], "deployment.failed.twice", False),
        (["deployment.*"], "deployment.failed", True),
        (["deployment.*"], "deployment.failed.twice", True),
        (["deployment.*"], "deployment", False),
        (["deployment.*"], "deployments.failed", False),
        (["*"], "anything.at.all", True),
        (["a", "b.*"], "b.c", True),
        (["a", "b.*"], "c", False),
        (["a_b.*"], "aXb.c", False),
    ],
)
def test_a_pattern_names_what_begins_so(patterns, name, heard):
    assert listens(check_patterns(patterns), name) is heard


def test_a_body_holds_what_python_values_mean():
    data = {
        "decimal": Decimal("1.10"), "date": date(2026, 1, 2), "at": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1),
        "bytes": b"\x00\xff", "enum": Colour.RED, "set": {1}, "big": 1 << 70, "text": "Zoë \x00 \u2028",
    }  # fmt: skip
    body = json.loads(make_body("evt_1", "a.b", "2026-01-01T00:00:00.000000Z", "w1", data))
    assert body["data"] == {
        "decimal": "1.10", "date": "2026-01-02", "at": "2026-01-02T00:00:00+00:00", "id": str(UUID(int=1)),
        "bytes": "AP8=", "enum": "red", "set": [1], "big": 1 << 70, "text": "Zoë \x00 \u2028",
    }  # fmt: skip
    assert {name: body[name] for name in ("id", "type", "workspace_id")} == {
        "id": "evt_1",
        "type": "a.b",
        "workspace_id": "w1",
    }
    loop: list[object] = []
    loop.append(loop)
    for wrong in (object(), loop, "\ud800", {"n": 1 << 70, "s": "\ud800"}, "é" * (LARGEST_BODY // 2 + 1)):
        with pytest.raises(InvalidWebhook):
            make_body("evt_1", "a.b", "2026", None, wrong)
    assert make_body("evt_1", "a.b", "2026", None, "x" * (LARGEST_BODY - 200))


@dataclass
class Reading:
    value: float


class Special(Enum):
    NOTHING = float("nan")


@pytest.mark.parametrize(
    "data",
    [
        math.nan, {"a": [1, math.inf]}, (-math.inf,), {"none": None, "deep": [{"x": (math.nan,)}]}, Reading(math.nan),
        Special.NOTHING, MappingProxyType({"a": math.nan}), [1 << 70, math.nan], {1: "a", "1": "b"}, {True: 1},
        {"a": {None: 1}}, {UUID(int=1): 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_would_arrive_as_another_one_is_refused(data):
    with pytest.raises(InvalidWebhook):
        make_body("evt_1", "a.b", "2026", None, data)


def test_nothing_is_something_that_json_has():
    data = {"a": None, "b": [None, 1.5, {"c": None}], "d": Reading(1.5), "e": Colour.RED, "null": "null"}
    body = json.loads(make_body("evt_1", "a.b", "2026", None, data))
    assert body["data"] == {**data, "d": {"value": 1.5}, "e": "red"}


async def test_changes_of_the_named_entities_are_events_of_their_workspace(database, monkeypatch):
    async with serving(monkeypatch, database, webhook_entity_events=["projects"]) as service:
        await create_webhook(service.db, "w1", url=URL, events=["projects.*"])
        db = service.db
        row = await db.save_entity("projects", {"workspace_id": "w1", "name": "one", "price": Decimal("1.50")})
        await db.save_entity("projects", {"id": row["id"], "name": "two"})
        await db.save_entity("projects", {"id": row["id"], "name": "two"})  # nothing new
        await db.delete_entity("projects", row["id"])
        await db.restore_entity("projects", row["id"])
        await db.delete_entity("projects", row["id"], permanent=True)
        await db.save_entities("projects", [{"workspace_id": "w1", "n": n} for n in range(3)])
        await db.save_entity("projects", {"workspace_id": "w2", "name": "of another workspace"})
        await db.save_entity("projects", {"name": "of none"})
        await db.save_entity("others", {"workspace_id": "w1"})
        with pytest.raises(RuntimeError):
            async with db.transaction():
                await db.save_entity("projects", {"workspace_id": "w1", "name": "rolled back"})
                raise RuntimeError
        await service.drain()
        sent = [json.loads(order.body) for order in service.receivers.orders]
        sent.sort(key=lambda body: body["id"])
        verbs = ["created", "updated", "deleted", "restored", "purged", *["created"] * 3]
        assert [body["type"] for body in sent] == [f"projects.{verb}" for verb in verbs]
        assert [body["data"]["name"] for body in sent[:5]] == ["one", *["two"] * 4]
        # As it is stored: MySQL keeps no zeros at the end.
        price = str(row["price"])
        assert (sent[0]["data"]["price"], sent[0]["data"]["id"], sent[0]["workspace_id"]) == (price, row["id"], "w1")
        assert row["price"] == Decimal("1.50")
        assert sent[2]["data"]["deleted_at"] is not None


async def test_a_row_that_no_event_can_hold_is_saved_and_told_of_by_its_id(monkeypatch):
    async with serving(monkeypatch, webhook_entity_events=["*"]) as service:
        await create_webhook(service.db, None, url=URL, events=["*"])
        await service.db.save_entity("papers", {"id": "p1", "text": "x" * LARGEST_BODY})
        await service.db.save_entity("papers", {"id": "p2", "n": 1 << 70, "workspace_id": 7})
        await service.drain()
        bodies = sorted((json.loads(order.body) for order in service.receivers.orders), key=lambda body: body["id"])
        assert [body["type"] for body in bodies] == ["papers.created"] * 2
        assert bodies[0]["data"] == {"id": "p1", "omitted": True}
        assert (bodies[1]["data"]["n"], bodies[1]["workspace_id"]) == (1 << 70, None)


@pytest.mark.parametrize("name", ["kernel_webhooks", "a b", "a.b", "a*", "1a"])
def test_a_name_that_no_entity_has_refuses_to_start(name):
    with pytest.raises(ConfigurationError, match="webhook_entity_events"):
        create_service("x", config=ServiceConfig(jwt_secret=SECRET, webhook_entity_events=["good", name]))


@pytest.mark.parametrize("with_workspaces", [True, False])
async def test_the_snippet_of_the_contract_works_as_written(monkeypatch, with_workspaces):
    async with serving(monkeypatch, with_workspaces=with_workspaces) as service:
        db, workspace_id = service.db, "ws-123"
        webhook = await create_webhook(db, workspace_id,
            url="https://slack.com/webhook/xxx",
            events=["deployment.succeeded", "deployment.failed"],
        )  # fmt: skip
        await trigger_webhook_event(db, workspace_id,
            event="deployment.succeeded",
            data={"service": "api", "version": 42},
        )  # fmt: skip
        await service.drain()
        assert [order.target.origin for order in service.receivers.orders] == ["https://slack.com"]
        assert webhook["events"] == ["deployment.succeeded", "deployment.failed"]


async def test_events_and_jobs_in_redis_take_the_same_way(monkeypatch, redis_url):
    async with serving(monkeypatch, redis_url=redis_url, frozen_at=None, embedded_worker=False) as service:
        hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
        async with service.db.transaction():
            event_id = await trigger_webhook_event(service.db, "w1", event="a.b")
        while not await service.deliveries(hook["id"]):
            await service.carried()
        await service.drain()
        assert service.receivers.ids() == [event_id]
        assert [row["status"] for row in await service.deliveries(hook["id"])] == ["delivered"]


async def test_a_service_that_was_made_without_webhooks_takes_none(database: str):
    features = [each for each in FEATURES if each is not webhooks.create_feature]
    redis = redis_beside(database)
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:", **redis)
    app = create_service("mute", config=config, features=features)
    async with kernel_client(app, database=database, **redis) as client:
        for call in (
            create_webhook(client.db, "w1", url="https://example.com/hook", events=["*"]),
            trigger_webhook_event(client.db, "w1", event="a.b"),
        ):
            with pytest.raises(WebhookError, match=r"no feature webhooks: .* FEATURES has it"):
                await call


def test_a_receiver_without_a_secret_and_a_parsed_body_are_mistakes_that_are_named():
    for none in (None, [], ""):
        with pytest.raises(InvalidWebhook, match="secret"):
            webhooks.require_webhook(none)
    with pytest.raises(TypeError, match="the body as it came"):
        webhooks.verify_webhook("whsec_" + "a" * 44, {}, {"type": "parsed"})
