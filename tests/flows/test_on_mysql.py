"""A whole service on MySQL and Redis, a flow of each feature, with a second process on the same database.

Workspaces with their invites, flags and webhooks that are really sent run on it in `test_saas_example.py`; the suites
of the features run whole there in the long run.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from app_kernel import ServiceConfig
from app_kernel.api_keys import create_api_key, revoke_api_key
from app_kernel.audit import get_audit_logs
from app_kernel.core.ports import Outbox
from app_kernel.flags import set_flag
from app_kernel.metering import RequestCounts, get_usage
from app_kernel.testing import KernelClient, kernel_client
from app_kernel.webhooks import create_webhook
from tests.conformance.mysql_place import empty_database
from tests.flows.mysql_service import NAME, SECRET, make_app
from tests.live_server import live_server
from tests.outbox.carrying import until
from tests.redis_beside import admin_readers, is_written, redis_beside
from tests.redis_server import own_redis

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PASSWORD, NEW_PASSWORD = "plum tree over water", "river stone under moon"
SECONDS = 1.0
"""How soon every process knows what another one changed."""
SETTINGS: dict[str, Any] = {"jwt_secret": SECRET, "allow_self_signup": True, "log_level": "ERROR"}


@asynccontextmanager
async def serving(url: str, redis_url: str | None = None) -> AsyncIterator[KernelClient]:
    """The service in this process, by its URL."""
    redis_url = redis_url or redis_beside(url)["redis_url"]
    config = ServiceConfig(**SETTINGS, database_name=url, redis_url=redis_url, embedded_worker=False)
    async with kernel_client(make_app(config), database=None) as client:
        yield client


def settings_apart(url: str) -> dict[str, str]:
    """The variables that name the same database by its parts."""
    parts = urlsplit(url)
    given = {
        "TYPE": "mysql",
        "NAME": parts.path[1:],
        "HOST": parts.hostname,
        "PORT": str(parts.port),
        "USER": parts.username,
        "PASSWORD": parts.password,
    }
    variables = {f"DATABASE_{name}": value for name, value in given.items() if value}
    others = {name.upper(): str(value) for name, value in {**SETTINGS, **redis_beside(url)}.items()}
    return {**others, **variables, "EMBEDDED_WORKER": "false"}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with empty_database() as fresh:
        yield fresh


@pytest.fixture
async def client(url: str) -> AsyncIterator[KernelClient]:
    async with serving(url) as running:
        yield running


async def soon(expected: Any, ask: Callable[[], Awaitable[Any]]) -> None:
    """Returns once it is so, which is within a second."""
    deadline = time.monotonic() + SECONDS
    while (found := await ask()) != expected:
        assert time.monotonic() < deadline, f"still {found!r} after {SECONDS} s"
        await asyncio.sleep(0.02)


async def written(client: KernelClient) -> None:
    """Returns when all that was counted and recorded is in the admin database."""
    await client.kernel.port(RequestCounts).flush()
    outbox = client.kernel.port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol

    async def is_there() -> bool:
        return is_written(await outbox.figures())

    await until("the end of the way to the admin database", is_there)


async def made_workspace(person: KernelClient) -> str:
    answer = await person.post("/workspaces", json={"name": "Engines"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_what_one_process_changes_another_one_knows_within_a_second(
    client: KernelClient, url: str, tmp_path: Path
) -> None:
    """Sessions, flags, keys and cached values; the other process was given the database by its parts."""
    (tmp_path / "main.py").write_text("from tests.flows.mysql_service import make_app\n\napp = make_app()\n")
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    ada = await client.log_in_as("ada@example.com", password=PASSWORD)
    workspace = await made_workspace(ada)
    with live_server(tmp_path, forked=True, **path, **settings_apart(url)) as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as other:

            async def is_ready() -> bool:
                return (await other.get("/readyz")).status_code == 200

            await until("the readiness of the other process", is_ready, 30)
            body = {"email": "ada@example.com", "password": PASSWORD}
            session = (await other.post("/auth/login", json=body)).json()
            renewed = (await client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})).json()
            given = {"Authorization": f"Bearer {renewed['access_token']}"}
            key = await create_api_key(client.db, ada.user.id, name="robot", scopes=["*"])
            by_key = {"Authorization": f"Bearer {key['key']}"}

            async def status(path: str, headers: dict[str, str]) -> int:
                return (await other.get(path, headers=headers)).status_code

            async def value(path: str) -> Any:
                return (await other.get(path, headers=given)).json()

            orders = f"/w/{workspace}/orders"
            assert (await value("/new"), await value(orders)) == (False, [])
            assert (await status("/auth/me", given), await status("/whoami", by_key)) == (200, 200)
            await set_flag(client.db, "new", enabled=True)
            await soon(True, lambda: value("/new"))
            assert (await ada.post(orders, json={"name": "gear"})).status_code == 201
            await soon(["gear"], lambda: value(orders))
            assert await revoke_api_key(client.db, key["id"])
            await soon(401, lambda: status("/whoami", by_key))
            assert (await client.post("/auth/logout", headers=given)).status_code < 300
            await soon(401, lambda: status("/auth/me", given))


async def test_an_order_is_kept_with_history_audit_entry_usage_job_and_webhook_or_not_at_all(
    url: str, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as redis:
        await redis.start()
        async with serving(url, redis_url=redis.url) as client, admin_readers(client):
            ada = await client.log_in_as("ada@example.com")
            workspace = await made_workspace(ada)
            orders = f"/w/{workspace}/orders"
            hook = await create_webhook(client.db, workspace, url="https://hooks.example.com/in", events=["order.*"])
            assert (await ada.post(orders, json={"name": "broken"})).status_code == 500
            made, again = [
                await ada.post(orders, json={"name": "gear"}, headers={"Idempotency-Key": "the-same"}) for _ in range(2)
            ]
            assert (made.status_code, made.content) == (201, again.content)
            id = made.json()["id"]

            [sent] = await client.webhooks()
            assert sent.verify(hook["secret"]).data == {"id": id}
            [row] = await client.db.find_entities("orders")
            assert (row["id"], row["state"]) == (id, "packed")
            history = await client.db.get_entity_history("orders", id)
            assert [(each["version"], each["entity"]["state"]) for each in history] == [(1, None), (2, "packed")]

            await written(client)
            [job, person] = await get_audit_logs(client.admin_db, app=NAME, entity="orders")
            assert (person["entity_id"], person["version"], person["user_id"]) == (id, 1, ada.user.id)
            assert (job["entity_id"], job["version"], job["source"]) == (id, 2, "job")
            place = await client.admin_db.execute("SELECT DATABASE()")
            assert place[0][0] == f"{urlsplit(url).path[1:]}_admin"
            usage = await get_usage(client.admin_db, app=NAME, user_id=ada.user.id)
            assert usage["requests"] == 3  # what failed is left out


async def test_an_account_from_sign_up_to_a_new_password(client: KernelClient) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await client.post("/auth/register", json=body)).status_code == 201
    assert (await client.post("/auth/register", json={**body, "email": "ADA@example.com"})).status_code == 409
    session = (await client.post("/auth/login", json=body)).json()
    assert (await client.post("/auth/forgot-password", json={"email": body["email"]})).status_code == 202
    token = (await client.mails())[-1].links[0].partition("#token=")[2]
    answer = await client.post("/auth/reset-password", json={"token": token, "new_password": NEW_PASSWORD})
    assert answer.status_code < 300, answer.text
    for email, password, expected in (
        (body["email"], PASSWORD, 401), ("ada@example.com ", NEW_PASSWORD, 200), ("äda@example.com", NEW_PASSWORD, 401),
    ):  # fmt: skip
        tried = await client.post("/auth/login", json={"email": email, "password": password})
        assert tried.status_code == expected, (email, tried.text)
    old = await client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert old.status_code == 401
