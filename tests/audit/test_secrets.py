"""No secret reaches the audit log, by whatever way: canaries are looked for in every place that an event passes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app_kernel.admin_worker import AdminWorker
from app_kernel.api_keys import create_api_key, rotate_api_key
from app_kernel.audit import record
from app_kernel.audit.tables import TOPIC
from app_kernel.core.outbox import Message
from app_kernel.db import create_database
from app_kernel.redis_wire import create_redis
from app_kernel.webhooks import create_webhook, rotate_webhook_secret
from tests.audit.serving import Audited, audited_service
from tests.outbox.carrying import until
from tests.redis_server import own_redis

CANARY = "canary-7f3a9c"
PASSWORDS = [f"{CANARY}-old-password-1", f"{CANARY}-new-password-2"]


async def live(service: Audited) -> list[str]:
    """Everything that has to do with secrets; those that the kernel made."""
    client, db = service.client, service.db
    answer = await client.post("/auth/register", json={"email": "ada@example.com", "password": PASSWORDS[0]})
    assert answer.status_code < 300, answer.text
    sign_in = {"email": "ada@example.com", "password": PASSWORDS[0]}
    assert (await client.post("/auth/login", json={**sign_in, "password": f"{CANARY}-guess"})).status_code == 401
    tokens = (await client.post("/auth/login", json=sign_in)).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    fresh = (await client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    change = {"current_password": PASSWORDS[0], "new_password": PASSWORDS[1]}
    assert (await client.post("/auth/change-password", json=change, headers=headers)).status_code < 300
    made = [tokens["access_token"], tokens["refresh_token"], fresh["access_token"], fresh["refresh_token"]]
    user_id = tokens["user"]["id"]
    key = await create_api_key(db, user_id, name="deploy")
    made += [key["key"], (await rotate_api_key(db, key["id"]))["key"]]
    webhook = await create_webhook(db, None, url=f"https://example.com/{CANARY}", events=["*"])
    made += [webhook["secret"], (await rotate_webhook_secret(db, webhook["id"]))["secret"]]
    wrong_key = {"Authorization": f"Bearer {key['key'][:-1]}x"}
    assert (await client.post("/by-key", headers=wrong_key)).status_code == 401
    await save_secrets(db, made)
    return made


async def save_secrets(db: Any, made: list[str]) -> None:
    """An application's own fields that hold some."""
    hidden = {
        "password_hash": f"$argon2id${CANARY}",
        "api_key": CANARY,
        "salary": f"{CANARY}-configured",
        "profile": {"tokens": [{"access_token": CANARY}], "Authorization": f"Bearer {CANARY}", "cards": {"cvv": 321}},
        "notes": f"written out: {made[4]} {made[6]} {made[0]}",
    }
    await db.save_entity("people", {"id": "p1", **hidden})
    await db.save_entities("people", [{"id": "p1", "api_key": f"{CANARY}-2"}, {"id": "p2", **hidden}])
    await db.increment("people", "p1", "n", 1)
    await db.delete_entity("people", "p2", permanent=True)
    await record("person.seen", ("people", "p1"), {"token": CANARY, "note": made[5]}, reason=f"with {made[4]}", db=db)


def canaries_in(text: str, made: list[str]) -> list[str]:
    assert text
    return [secret for secret in (CANARY, *made) if secret in text]


@pytest.mark.acceptance("EV4")
async def test_no_secret_passes_through_the_outbox_redis_the_admin_database_dead_letters_or_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EV4: 0 hits."""
    monkeypatch.setattr("app_kernel.db.outbox.stream_reader.MAX_ATTEMPTS", 1)
    admin_url = f"sqlite:///{tmp_path / 'admin.db'}"
    async with own_redis(tmp_path) as server:
        await server.start()
        redis = create_redis(server.url, "test")
        settings = {
            "database_name": f"sqlite:///{tmp_path / 'app.db'}",
            "admin_db_url": admin_url,
            "redis_url": server.url,
            "audit_redact": ["salary"],
        }
        async with audited_service(None, **settings) as service:
            made = await live(service)
            secret_reason = {"app": "audited", "action": "x", "timestamp": "2026", "reason": 5}
            await service.db.privileged.send_messages([Message(TOPIC, secret_reason)])
            await service.carried()
            sent = await service.db.privileged.execute("SELECT * FROM [kernel_outbox]")
            assert canaries_in("\n".join(map(repr, sent)), made) == []
            stream = await redis.xrange(TOPIC)
            assert len(stream) > 15
            assert canaries_in(repr(stream), made) == []
            worker = AdminWorker(redis, create_database(admin_url), list(service.client.kernel.features))
            working = asyncio.create_task(worker.run())

            async def is_drained() -> bool:
                return not await redis.xlen(TOPIC)

            await until("the end of the stream", is_drained, 30)
            worker.end()
            await working
            entries = await service.entries()
            assert len(entries) == len(stream) - 1
            for table in ("audit_logs", "kernel_dead_letters", "kernel_inbox"):
                rows = await service.admin_db.privileged.execute(f"SELECT * FROM [{table}]")
                assert canaries_in(f"{table} {rows!r}", made) == []
        await redis.aclose()
    assert canaries_in(capsys.readouterr().out, made) == []
    assert canaries_in((tmp_path / "admin.db").read_bytes().decode("latin-1"), made) == []
    people = [entry for entry in entries if entry["entity"] == "people"]
    assert people[0]["changes"]["salary"] == ["[redacted]", "[redacted]"]
    assert people[0]["changes"]["profile"][1] == {
        "tokens": "[redacted]",
        "Authorization": "[redacted]",
        "cards": {"cvv": "[redacted]"},
    }
    assert people[0]["changes"]["notes"] == [None, "written out: [redacted] [redacted] [redacted]"]
    updated = next(entry for entry in people if entry["action"] == "update")
    assert updated["changes"] == {"api_key": ["[redacted]", "[redacted]"]}
