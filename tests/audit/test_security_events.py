"""What happens to accounts, keys, workspaces, webhooks and flags is in the audit log, under what it is about."""

from typing import Any

import pytest

from app_kernel import acting_as
from app_kernel.api_keys import create_api_key, revoke_api_key, rotate_api_key
from app_kernel.audit import get_audit_logs
from app_kernel.audit.recorder import ChangeRecorder, SecurityRecorder
from app_kernel.core.context import Context, in_context
from app_kernel.core.events import SecurityEvent
from app_kernel.core.ports import JobQueue
from app_kernel.db import get_db_connection
from app_kernel.flags import set_flag
from app_kernel.jobs import JobRegistry
from app_kernel.saas import add_member, create_workspace, remove_member, set_member_role
from app_kernel.testing import PASSWORD, kernel_client
from app_kernel.webhooks import create_webhook
from tests.audit.serving import audited_service
from tests.outbox.carrying import until_empty
from tests.small_service import small_app


def body_of(event: SecurityEvent, context: Context | None = None) -> dict[str, Any]:
    with in_context(context or Context()):
        [message] = SecurityRecorder(ChangeRecorder("app"))(None, event)  # type: ignore[arg-type]
    return dict(message.body)


@pytest.mark.parametrize(
    ("name", "user_id", "detail", "target"),
    [
        ("auth.login", "u1", {"method": "password"}, ("users", "u1", None)),
        ("auth.login_failed", None, {}, ("users", None, None)),
        ("oauth.linked", "u1", {"provider": "x", "workspace_id": "w1"}, ("users", "u1", None)),
        ("api_key.created", "u1", {"key_id": "k1"}, ("api_keys", "k1", None)),
        ("api_key.created", "u1", {"key_id": "k1", "workspace_id": "w1"}, ("api_keys", "k1", "w1")),
        ("workspace.invited", "u1", {"workspace_id": "w1"}, ("workspaces", "w1", "w1")),
        ("workspace.selected", "u1", {"workspace_id": "w1"}, ("workspaces", "w1", None)),
        ("workspace.selected", "u1", {"workspace_id": ""}, ("workspaces", None, None)),
        ("webhook.created", None, {"webhook_id": "h1", "workspace_id": "w1"}, ("webhooks", "h1", "w1")),
        ("webhook.created", None, {"webhook_id": "h1", "workspace_id": None}, ("webhooks", "h1", None)),
        ("flag.changed", None, {"flag": "new"}, ("flags", "new", None)),
        ("something.new", "u1", {}, ("users", "u1", None)),
    ],
)
def test_an_event_is_found_by_what_it_is_about(
    name: str, user_id: str | None, detail: dict[str, Any], target: tuple[Any, ...]
) -> None:
    body = body_of(SecurityEvent(name, user_id, "192.0.2.1", detail, "actor"), Context(workspace_id="w-context"))
    assert (body["entity"], body["entity_id"], body["workspace_id"]) == target
    assert (body["action"], body["address"], body["user_id"]) == (name, "192.0.2.1", "actor")
    # Whose account it is about is told in every case.
    about = {} if user_id is None or target[0] == "users" else {"user_id": user_id}
    assert body["meta"] == ({**about, **detail} or None)


def test_who_signs_in_acts_for_themselves_in_a_request_and_nobody_does_elsewhere() -> None:
    event = SecurityEvent("auth.login", "u1", None, {})
    assert body_of(event, Context(request_id="r1"))["user_id"] == "u1"
    assert body_of(event, Context(command="users create"))["user_id"] is None
    assert body_of(SecurityEvent("auth.login_failed", "u1", None, {}), Context(request_id="r1"))["user_id"] is None


def test_details_are_redacted_as_changes_are() -> None:
    detail = {"token": "canary", "note": "sk_live_abcdefgh", "n": 1}
    assert body_of(SecurityEvent("auth.login", "u1", None, detail))["meta"] == {
        "token": "[redacted]",
        "note": "[redacted]",
        "n": 1,
    }


async def test_the_services_own_events_and_changes_by_keys_arrive_with_their_actor() -> None:
    async with audited_service() as service:
        client, db = service.client, service.db
        ada = await client.log_in_as("ada@example.com")
        wrong = {"email": "ada@example.com", "password": "wrong-password-1"}
        assert (await client.post("/auth/login", json=wrong)).status_code == 401
        key = await create_api_key(db, ada.user.id, name="deploy")
        made = await client.post("/by-key", headers={"Authorization": f"Bearer {key['key']}", "X-Request-ID": "req-7"})
        assert made.status_code == 200
        await revoke_api_key(db, key["id"])
        webhook = await create_webhook(db, None, url="https://example.com/x", events=["*"])
        await set_flag(db, "new", enabled=True)
        found = {entry["action"]: entry for entry in await service.entries()}
        thing = (await service.entries(entity="things"))[0]
    assert found["auth.login"]["user_id"] == found["auth.login"]["entity_id"] == ada.user.id
    assert (found["auth.login"]["source"], found["auth.login"]["address"]) == ("request", "127.0.0.1")
    assert found["auth.login_failed"]["entity_id"] == ada.user.id
    assert found["api_key.created"]["entity_id"] == found["api_key.revoked"]["entity_id"] == key["id"]
    assert found["webhook.created"]["entity_id"] == webhook["id"]
    assert found["flag.changed"]["entity_id"] == "new"
    assert (thing["source"], thing["api_key_id"], thing["user_id"]) == ("api_key", key["id"], ada.user.id)
    assert (thing["request_id"], thing["changes"]["name"]) == ("req-7", [None, "by key"])
    assert PASSWORD not in str(found)


async def test_who_was_let_in_promoted_and_removed_is_told_with_who_did_it() -> None:
    async with audited_service() as service:
        ada, eve = [(await service.client.log_in_as(f"{name}@example.com")).user.id for name in ("ada", "eve")]
        place = (await create_workspace(service.db, "Engines", ada))["id"]
        await add_member(service.db, place, eve, "member", by=ada)
        await set_member_role(service.db, place, eve, "admin", by=ada)
        await remove_member(service.db, place, eve, by=ada)
        key = await create_api_key(service.db, ada, name="deploy", workspace_id=place)
        await revoke_api_key(service.db, (await rotate_api_key(service.db, key["id"]))["id"])
        entries = await service.entries(entity="workspaces", entity_id=place)
        of_keys = await service.entries(entity="api_keys", workspace_id=place)
    assert [(entry["action"], entry["user_id"], entry["meta"]["user_id"]) for entry in entries[1:]] == [
        (f"workspace.{what}", ada, eve) for what in ("joined", "role_changed", "member_removed")
    ]
    assert [(entry["action"], entry["meta"]["user_id"]) for entry in of_keys] == [
        (f"api_key.{what}", ada) for what in ("created", "rotated", "revoked")
    ]


async def test_what_a_job_changes_is_told_as_the_jobs_with_the_user_who_enqueued_it() -> None:
    tasks = JobRegistry()

    @tasks.task("make")
    async def make(payload: Any) -> None:
        async with get_db_connection() as db:
            await db.save_entity("things", {"name": "by job"})

    async with kernel_client(small_app(tasks=tasks)) as client:
        with acting_as("u1"):
            job = await client.kernel.port(JobQueue).enqueue("make")  # type: ignore[type-abstract]
        await client.jobs.drain()
        await until_empty(client.kernel.db)  # type: ignore[arg-type]  # the engine behind the port
        [entry] = await get_audit_logs(client.admin_db, app="small", entity="things")
    assert (entry["source"], entry["job_id"], entry["user_id"]) == ("job", job.job_id, "u1")
