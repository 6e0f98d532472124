"""Switching on, events of the application's own, and what the sink refuses."""

from pathlib import Path
from typing import Any

import pytest

from app_kernel.audit import enable_audit, get_audit_logs, record
from app_kernel.audit.tables import TOPIC
from app_kernel.core.context import acting_as
from app_kernel.core.errors import AuditError, ConfigurationError, InvalidAuditEvent, OutsideWorkspace
from app_kernel.core.outbox import Message
from app_kernel.db import connect
from app_kernel.db.outbox import list_dead_letters
from app_kernel.testing import KernelClient, kernel_client
from tests.audit.trails import APP, Trail
from tests.outbox.carrying import until, until_empty
from tests.small_service import serving, small_app


async def told(client: KernelClient, app: str = "small", **filters: Any) -> list[dict[str, Any]]:
    await until_empty(client.kernel.db)  # type: ignore[arg-type]  # the engine behind the port
    return await get_audit_logs(client.admin_db, app=app, order="asc", **filters)


async def test_a_service_audits_by_itself_and_enabling_it_again_tells_nothing_twice() -> None:
    async def schema_init(db: Any) -> None:
        enable_audit(db, None, app="early")
        await db.save_entity("things", {"id": "0"})

    async with serving(schema_init=schema_init) as client:
        for app in ("first", "first", "second"):
            enable_audit(client.db, None, app=app)
            await client.db.save_entity("things", {"id": app})
        assert [entry["entity_id"] for entry in await told(client, "early")] == ["0"]
        assert [entry["entity_id"] for entry in await told(client, "first")] == ["first"]
        assert [entry["entity_id"] for entry in await told(client, "second")] == ["second"]


async def test_of_several_services_in_one_process_the_database_says_which_it_is() -> None:
    async with serving() as one, serving() as other, serving(audit_enabled=False) as silent:
        enable_audit(other.db, None, app="other")
        for client in (one, other):
            await record("thing.seen", db=client.db)
        with pytest.raises(AuditError, match="audit_enabled=False"):
            enable_audit(silent.db, None, app="silent")
        assert [len(await told(one)), len(await told(other, "other"))] == [1, 1]


async def test_where_audit_is_switched_off_nothing_is_told_and_enabling_it_says_why() -> None:
    async with serving(audit_enabled=False) as client:
        await client.db.save_entity("things", {"id": "a"})
        with pytest.raises(AuditError, match="audit_enabled=False"):
            enable_audit(client.db, None, app="small")
        with pytest.raises(AuditError, match="enable_audit"):
            await record("thing.seen")
        sent = await client.db.privileged.execute("SELECT COUNT(*) FROM [kernel_outbox] WHERE [topic] = ?", (TOPIC,))
        assert sent[0][0] == 0


async def test_without_a_service_events_wait_for_one_that_carries_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with connect(url) as db:
        enable_audit(db, None, app="small")
        enable_audit(db.in_workspace("w1"), None, app="small")
        await db.save_entity("things", {"id": "a"})
        await record("thing.seen", ("things", "a"), db=db)
    async with serving(database_name=url) as client:
        assert client.db is not None
    async with kernel_client(small_app(database_name=url), database=url) as client:
        assert [entry["action"] for entry in await told(client)] == ["create", "thing.seen"]


@pytest.mark.parametrize("app", ["", "x" * 192, None, "a\nb", 3])
async def test_the_name_of_an_app_is_checked(app: Any, small_trail: Trail) -> None:
    with pytest.raises(InvalidAuditEvent, match="name of a service"):
        enable_audit(small_trail.db, None, app=app)
    with pytest.raises(InvalidAuditEvent, match="name of a service"):
        await get_audit_logs(small_trail.admin_db, app=app)


@pytest.mark.parametrize(
    "names", [{"redact": "salary"}, {"redact": ["a.b.c"]}, {"redact": [".x"]}, {"redact": [""]}, {"exclude": "caches"},
              {"redact": [5]}],
)  # fmt: skip
async def test_names_that_would_hide_nothing_without_a_word_are_refused(
    names: dict[str, Any], small_trail: Trail
) -> None:
    with pytest.raises(InvalidAuditEvent):
        enable_audit(small_trail.db, None, app=APP, **names)
    with pytest.raises(ConfigurationError, match="audit_"):
        small_app(**{f"audit_{name}": value for name, value in names.items()})


async def test_an_event_of_the_application_is_there_exactly_if_its_transaction_commits(trail: Trail) -> None:
    db = trail.db
    with acting_as("u1", "w1"):
        async with db.transaction():
            await db.save_entity("invoices", {"id": 7 * "i", "status": "void"})
            made = await record("invoice.voided", ("invoices", 7 * "i"), {"amount": "12.50"}, reason="twice", db=db)
        with pytest.raises(KeyError):
            async with db.transaction():
                await record("invoice.voided", ("invoices", "never"), db=db)
                raise KeyError
        await record("report.opened", db=db, workspace_id="w2", meta={"password": "canary-1", "at\0": "nul \0"})
    _, voided, opened = await trail.entries()
    assert (voided["id"], voided["action"], voided["entity"], voided["entity_id"]) == (
        made, "invoice.voided", "invoices", 7 * "i",
    )  # fmt: skip
    assert (voided["meta"], voided["reason"], voided["user_id"]) == ({"amount": "12.50"}, "twice", "u1")
    assert (voided["workspace_id"], voided["source"], voided["changes"]) == ("w1", "code", None)
    assert (opened["entity"], opened["workspace_id"]) == (None, "w2")
    assert opened["meta"] == {"password": "[redacted]", "at\ufffd": "nul \ufffd"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": ""}, {"action": "two words"}, {"action": "update"}, {"action": "x" * 101}, {"action": None},
        {"action": "a.b\n"}, {"target": "invoices:1"}, {"target": ("invoices",)}, {"target": ("", 1)},
        {"target": ("x", None)},
        {"target": ("x", "\ud800")}, {"target": ("x", "a\0")}, {"meta": ["x"]}, {"reason": 5},
        {"reason": "x" * 10_001}, {"workspace_id": ""}, {"workspace_id": "\0"},
    ],
)  # fmt: skip
async def test_an_event_that_is_none_is_refused(arguments: dict[str, Any], small_trail: Trail) -> None:
    with pytest.raises(InvalidAuditEvent) as caught:
        await record(**{"action": "invoice.voided", "db": small_trail.db, **arguments})
    assert caught.value.status == 422
    assert not await small_trail.entries()


async def test_the_handle_of_a_workspace_tells_of_that_workspace_alone(small_trail: Trail) -> None:
    bound = small_trail.db.in_workspace("w1")
    await record("seen", db=bound)
    with pytest.raises(OutsideWorkspace):
        await record("seen", db=bound, workspace_id="w2")
    assert [entry["workspace_id"] for entry in await small_trail.entries()] == ["w1"]


GOOD = {"app": APP, "action": "create", "entity": "things", "timestamp": "2026-01-01T00:00:00.000000Z"}


@pytest.mark.acceptance("EV11")
async def test_what_is_no_event_becomes_a_dead_letter_and_the_rest_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """EV11: quarantined after some tries."""
    monkeypatch.setattr("app_kernel.db.outbox.channel.RETRY_SECONDS", (0.0,) * 4)
    poison: list[dict[str, Any]] = [
        {}, {**GOOD, "app": None}, {**GOOD, "entity_id": 5}, {**GOOD, "changes": "x"}, {**GOOD, "version": "1"},
        {**GOOD, "reason": "a\0b"}, {**GOOD, "version": 2**70},
    ]  # fmt: skip
    async with serving() as client:
        bodies = [GOOD, *poison, {**GOOD, "entity_id": "last"}]
        await client.db.privileged.send_messages([Message(TOPIC, body) for body in bodies if "version" not in body])
        await client.db.privileged.send_messages([Message(TOPIC, {**GOOD, "version": "1"})])
        await client.db.save_entity("things", {"id": "real"})

        async def all_dead() -> bool:
            return len(await list_dead_letters(client.db)) == len(poison) - 1

        await until("the end of the poison", all_dead)
        letters = await list_dead_letters(client.db)
        assert {letter.topic for letter in letters} == {TOPIC}
        assert all(letter.reason.startswith("InvalidAuditEvent") for letter in letters)
        assert [entry["entity_id"] for entry in await told(client, APP)] == [None, "last"]
        assert [entry["entity_id"] for entry in await told(client)] == ["real"]
