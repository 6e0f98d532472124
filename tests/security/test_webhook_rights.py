"""Who may see and change webhooks: members see how they do, admins change them, nobody sees a secret a second time."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel import webhooks
from app_kernel.core.errors import WebhookKeyMissing
from app_kernel.testing import KernelClient, kernel_client
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.routes import TESTS
from app_kernel.webhooks.tables import WEBHOOKS
from tests.api_keys.serving import fresh_database
from tests.conformance.backends import SERVICE_BACKENDS
from tests.webhooks.serving import URL, Service, make_app, serving

NEW = {"url": URL, "events": ["deployment.*"], "description": "deploys"}


@pytest.fixture(params=SERVICE_BACKENDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Service, dict[str, KernelClient]]]:
    async with fresh_database(request, tmp_path) as url, serving(monkeypatch, url, frozen_at=None) as service:
        callers = {"nobody": service.client}
        for name in ("viewer", "member", "admin", "owner", "outsider"):
            callers[name] = await service.client.log_in_as(f"{name}@example.com")
            if name != "outsider":
                service.workspaces.members["w1", callers[name].user.id] = name
        callers["root"] = await service.client.log_in_as("root@example.com", role="admin")
        service.workspaces.members["w2", callers["admin"].user.id] = "admin"
        yield service, callers


async def call(caller: KernelClient, method: str, path: str, workspace: str | None = "w1", **options: Any) -> Any:
    headers = {} if workspace is None else {"X-Workspace-ID": workspace}
    return await caller.request(method, path, headers=headers, **options)


@pytest.mark.acceptance("WH7")
async def test_each_role_does_what_it_may_and_no_more(place: tuple[Service, dict[str, KernelClient]]):
    service, callers = place
    made = await call(callers["admin"], "POST", "/webhooks", json=NEW)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    hook = made.json()
    assert hook["secret"].startswith("whsec_")
    assert (hook["workspace_id"], hook["created_by"]) == ("w1", callers["admin"].user.id)
    await trigger_webhook_event(service.db, "w1", event="deployment.done", data={"private": "body-of-the-event"})
    service.receivers.answers(Answer("status", 404, excerpt="answer-of-the-receiver"))
    await service.drain()
    (delivery,) = await service.deliveries(hook["id"])
    at, log = f"/webhooks/{hook['id']}", f"/webhooks/{hook['id']}/deliveries"
    since = {"since": "2020-01-01T00:00:00+00:00"}
    reading = [("GET", "/webhooks", None), ("GET", at, None), ("GET", log, None)]
    managing: list[tuple[str, str, Any]] = [
        ("POST", "/webhooks", NEW), ("PATCH", at, {"description": "x"}), ("POST", f"{at}/rotate", {"overlap_hours": 1}),
        ("POST", f"{at}/disable", None), ("POST", f"{at}/enable", None), ("POST", f"{at}/test", None),
        ("POST", f"{at}/replay", since), ("GET", f"{log}/{delivery['id']}", None),
        ("POST", f"{log}/{delivery['id']}/replay", None), ("DELETE", at, None),
    ]  # fmt: skip
    expected = {
        "nobody": (401, 401),
        "outsider": (404, 404),
        "root": (404, 404),
        "viewer": (403, 403),
        "member": (200, 403),
    }
    for name, (reads, manages) in expected.items():
        for requests, status in ((reading, reads), (managing, manages)):
            for method, path, body in requests:
                answer = await call(callers[name], method, path, json=body)
                assert answer.status_code == status, (name, method, path, answer.text)
                for hidden in (hook["secret"], "path-secret", "body-of-the-event", "answer-of-the-receiver"):
                    assert hidden not in answer.text, (name, method, path)
    # Of the other workspace, and with no workspace at all.
    for method, path, body in [*reading[1:], *managing[1:]]:
        assert (await call(callers["admin"], method, path, "w2", json=body)).status_code == 404
        assert (await call(callers["admin"], method, path, None, json=body)).status_code == 400
        assert (await call(callers["root"], method, f"/admin{path}", None, json=body)).status_code == 404
        assert (await call(callers["owner"], method, f"/admin{path}", json=body)).status_code == 403
    assert (await call(callers["admin"], "GET", "/webhooks", "w2")).json() == []
    # Of another webhook of the same workspace.
    other = (await call(callers["admin"], "POST", "/webhooks", json={**NEW, "events": ["never"]})).json()
    for method, path in (("GET", ""), ("POST", "/replay")):
        answer = await call(callers["admin"], method, f"/webhooks/{other['id']}/deliveries/{delivery['id']}{path}")
        assert answer.status_code == 404
    # Nothing of it has happened.
    row = await webhooks.get_webhook(service.db, hook["id"])
    assert row is not None
    assert (row["description"], row["url"], row["is_active"], row["previous_until"]) == ("deploys", URL, True, None)
    seen = (await call(callers["owner"], "GET", f"{log}/{delivery['id']}")).json()
    assert json.loads(seen["body"])["data"] == {"private": "body-of-the-event"}
    assert seen["excerpt"] == "answer-of-the-receiver"
    assert seen["log"][0]["status_code"] == 404
    statuses = [(await call(callers["admin"], m, p, json=b)).status_code for m, p, b in managing]
    assert statuses == [201, 200, 200, 200, 200, 200, 200, 200, 409, 204]


@pytest.mark.acceptance("WH7")
async def test_a_secret_is_shown_when_it_is_made_and_never_again_and_kept_sealed(
    place: tuple[Service, dict[str, KernelClient]], capsys: pytest.CaptureFixture[str]
):
    service, callers = place
    admin = callers["admin"]
    made = (await call(admin, "POST", "/webhooks", json=NEW)).json()
    rotated = (await call(admin, "POST", f"/webhooks/{made['id']}/rotate")).json()
    secrets = [made["secret"], rotated["secret"]]
    given = [await webhooks.get_webhook(service.db, made["id"]), *await webhooks.list_webhooks(service.db, "w1")]
    given.append(await webhooks.update_webhook(service.db, made["id"], description=""))
    assert all(hook is not None and not [name for name in hook if "secret" in name] for hook in given)
    assert len(set(secrets)) == 2
    service.receivers.answers(Answer("delivered", 200))
    await trigger_webhook_event(service.db, "w1", event="deployment.done")
    await service.drain()
    (delivery,) = await service.deliveries(made["id"])
    at = f"/webhooks/{made['id']}"
    answers = [
        await call(admin, "GET", "/webhooks"),
        await call(admin, "GET", at),
        await call(admin, "GET", f"{at}/deliveries"),
        await call(admin, "GET", f"{at}/deliveries/{delivery['id']}"),
        await call(admin, "PATCH", at, json={"events": ["*"]}),
        await call(admin, "POST", f"{at}/disable"),
        await call(admin, "POST", f"{at}/enable"),
        await call(admin, "POST", f"{at}/deliveries/{delivery['id']}/replay"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 8
    text = "".join(answer.text for answer in answers) + repr(await service.db.privileged.find_entities(WEBHOOKS))
    said = capsys.readouterr()
    for secret in secrets:
        assert secret not in text + said.out + said.err + repr(service.events)
        assert secret.removeprefix("whsec_")[:20] not in text + said.out + said.err
    assert '"secret"' not in text
    assert "path-secret" not in said.out + said.err + repr(service.events)
    assert service.security()[-5:] == [
        "webhook.secret_rotated", "webhook.changed", "webhook.changed", "webhook.disabled", "webhook.enabled",
    ]  # fmt: skip


@pytest.mark.acceptance("WH7")
async def test_a_test_says_little_and_is_limited(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch, frozen_at=None) as service:
        admin = await service.client.log_in_as("a@example.com")
        service.workspaces.members["w1", admin.user.id] = "admin"
        hook = (await call(admin, "POST", "/webhooks", json={**NEW, "events": ["never.heard"]})).json()
        path = f"/webhooks/{hook['id']}/test"
        said = []
        for answer in (
            Answer("delivered", 204), Answer("status", 403), Answer("status", 500, excerpt="internals"),
            Answer("status", 302), Answer("connection"), Answer("timeout"), Answer("tls"), Answer("dns"),
            Answer("refused"), Answer("protocol"),
        ):  # fmt: skip
            service.receivers.answers(answer)
            given = await call(admin, "POST", path)
            assert given.status_code == 200
            said.append(tuple(given.json().values()))
        nothing = (False, "no_answer", None)
        answered = [(False, "answered", status) for status in ("4xx", "5xx", "3xx")]
        assert said == [(True, "delivered", "2xx"), *answered, *[nothing] * 6]
        assert len(said) == TESTS
        refused = await call(admin, "POST", path)
        assert (refused.status_code, len(service.receivers.orders)) == (429, TESTS)
        assert int(refused.headers["retry-after"]) >= 1
        assert {json.loads(order.body)["type"] for order in service.receivers.orders} == {"webhook.test"}
        rows = await service.deliveries(hook["id"])
        assert [row["status"] for row in rows] == ["delivered"] + ["dead"] * 9
        await service.drain()
        assert len(service.receivers.orders) == TESTS


async def test_what_a_test_does_not_tell_is_not_told_by_its_delivery_either(
    place: tuple[Service, dict[str, KernelClient]],
):
    service, callers = place
    hook = await create_webhook(service.db, "w1", url=URL, events=["a.b"])
    outcomes = ("refused", "dns", "connection", "tls", "timeout", "protocol", "secret")
    service.receivers.answers(*map(Answer, outcomes))
    path = f"/webhooks/{hook['id']}"
    for _ in outcomes:
        await call(callers["admin"], "POST", f"{path}/test")
    service.receivers.answers(Answer("connection", seconds=0.25))
    await trigger_webhook_event(service.db, "w1", event="a.b")
    await service.drain()
    real, *tests = (await call(callers["member"], "GET", f"{path}/deliveries")).json()
    assert [row["outcome"] for row in tests] == ["no_answer"] * len(outcomes)
    assert real["outcome"] == "connection"
    for row in tests:
        details = (await call(callers["admin"], "GET", f"{path}/deliveries/{row['id']}")).json()
        told = [(each["outcome"], each["duration_ms"], each["status_code"]) for each in details["log"]]
        assert (details["outcome"], told) == ("no_answer", [("no_answer", None, None)])
    details = (await call(callers["admin"], "GET", f"{path}/deliveries/{real['id']}")).json()
    assert [(each["outcome"], each["duration_ms"]) for each in details["log"]] == [("connection", 250)]
    replayed = await call(callers["admin"], "POST", f"{path}/deliveries/{tests[0]['id']}/replay")
    assert replayed.json()["outcome"] == "no_answer"


async def test_admins_of_the_service_have_its_own_webhooks_and_only_those(
    place: tuple[Service, dict[str, KernelClient]],
):
    service, callers = place
    root = callers["root"]
    made = await call(root, "POST", "/admin/webhooks", None, json=NEW)
    assert (made.status_code, made.json()["workspace_id"]) == (201, None)
    await create_webhook(service.db, "w1", url=URL, events=["*"])
    # A workspace that a request names beside it changes nothing.
    listed = await call(root, "GET", "/admin/webhooks?workspace_id=w1", "w1")
    assert [hook["id"] for hook in listed.json()] == [made.json()["id"]]
    assert (await call(callers["admin"], "GET", f"/webhooks/{made.json()['id']}")).status_code == 404
    assert (await call(callers["nobody"], "GET", "/admin/webhooks", None)).status_code == 401
    assert (await call(callers["owner"], "POST", "/admin/webhooks", json=NEW)).status_code == 403


BAD_BODIES: list[dict[str, Any]] = [
    {}, {"url": URL}, {"events": ["*"]}, {**NEW, "workspace_id": "w2"}, {**NEW, "secret": "short"},
    {**NEW, "events": []}, {**NEW, "events": ["a b"]}, {**NEW, "events": "*"}, {**NEW, "is_active": True},
    {**NEW, "url": "http://127.0.0.1/"}, {**NEW, "url": 7}, {**NEW, "description": "x" * 501},
    {**NEW, "description": "a\u0000b"}, {**NEW, "created_by": "x"}, {**NEW, "url": "https://user:pw@example.com/"},
]  # fmt: skip


async def test_what_a_body_may_not_say_is_refused(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch, frozen_at=None) as service:
        admin = await service.client.log_in_as("a@example.com")
        service.workspaces.members["w1", admin.user.id] = "admin"
        for body in BAD_BODIES:
            answer = await call(admin, "POST", "/webhooks", json=body)
            assert answer.status_code == 422, (body, answer.text)
        assert await service.db.privileged.count_entities(WEBHOOKS) == 0


async def test_without_workspaces_the_routes_of_workspaces_are_closed(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch, with_workspaces=False, frozen_at=None) as service:
        user = await service.client.log_in_as("a@example.com", role="admin")
        assert (await call(user, "GET", "/webhooks")).status_code == 403
        assert (await call(user, "GET", "/admin/webhooks")).status_code == 200


async def test_without_anything_to_seal_with_no_webhook_is_made_and_the_error_says_what_to_set():
    app = make_app(None, [], jwt_secret=None, auth_enabled=False)
    async with kernel_client(app) as client:
        with pytest.raises(WebhookKeyMissing, match="ENCRYPTION_KEY"):
            await create_webhook(client.db, "w1", url=URL, events=["*"])
        assert (await client.get("/webhooks")).status_code == 404
        await trigger_webhook_event(client.db, "w1", event="a.b")
