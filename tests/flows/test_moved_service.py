"""The same service before and after its database was copied, with nothing changed but the address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import ServiceConfig, UserIdentity, create_saas_router, create_service, get_current_user
from app_kernel.api_keys import Auth, create_api_key, create_combined_auth
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection, get_db_connection
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.moves import opened_copy
from app_kernel.flags import set_flag
from app_kernel.jobs import JOB_TABLES, JobRegistry
from app_kernel.testing import KernelClient, kernel_client
from tests.db.transfer.places import empty_place
from tests.faults.figures import figure
from tests.redis_beside import redis_beside

PASSWORD = "plum tree over water"
_WAYS = [("sqlite", "postgres"), ("mysql", "sqlite")]
_OTHERS = [("sqlite", "mysql"), ("postgres", "mysql"), ("mysql", "postgres"), ("postgres", "sqlite")]
WAYS = figure(short=_WAYS, long=[*_WAYS, *_OTHERS])

get_auth = create_combined_auth(get_db_connection, get_current_user)


def make_app(url: str) -> FastAPI:
    router, tasks = APIRouter(), JobRegistry()

    @router.post("/notes")
    async def save(
        note: dict[str, Any],
        user: UserIdentity = Depends(get_current_user),
        db: EntityStore = Depends(db_connection),
    ) -> dict[str, Any]:
        return await db.save_entity("notes", note)

    @router.get("/notes")
    async def notes(auth: Auth = Depends(get_auth), db: EntityStore = Depends(db_connection)) -> list[dict[str, Any]]:
        return await db.find_entities("notes", order_by="[n]")

    @tasks.task("later")
    async def later(payload: dict[str, Any]) -> None:
        async with get_db_connection() as db:
            await db.save_entity("done", {"id": payload["id"]})

    config = ServiceConfig(
        jwt_secret="secret-of-a-service-that-moves-0123456789",
        allow_self_signup=True,
        log_level="ERROR",
        database_name=url,
        embedded_worker=False,
        **redis_beside(url),
    )
    return create_service(name="moving", routers=[router, create_saas_router()], tasks=tasks, config=config)


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[KernelClient]:
    async with kernel_client(make_app(url), database=None) as client:
        yield client


async def use(client: KernelClient) -> dict[str, Any]:
    """What somebody did before the move."""
    signed_up = await client.post("/auth/register", json={"email": "ada@example.com", "password": PASSWORD})
    assert signed_up.status_code == 201, signed_up.text
    signed_in = await client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    tokens = signed_in.json()
    mine = {"Authorization": f"Bearer {tokens['access_token']}"}
    made = await client.post("/notes", json={"n": 1, "text": "first"}, headers=mine)
    await client.post("/notes", json={"id": made.json()["id"], "text": "second"}, headers=mine)
    await client.post("/notes", json={"n": 2, "deep": {"list": [1, 2.5]}}, headers=mine)
    workspace = await client.post("/workspaces", json={"name": "Analytical Engines"}, headers=mine)
    assert workspace.status_code == 201, workspace.text
    async with get_db_connection() as db:
        key = await create_api_key(db, user_id=tokens["user"]["id"], name="robot")
        await set_flag(db, "engines", enabled=True)
    notes = await client.get("/notes", headers=mine)
    return {"tokens": tokens, "key": key["key"], "notes": notes.json(), "workspace": workspace.json()}


@pytest.mark.acceptance("DB18")
@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), WAYS, ids=["-".join(way) for way in WAYS])
async def test_a_service_goes_on_in_another_database(
    request: pytest.FixtureRequest, source: str, target: str, tmp_path: Path
) -> None:
    servers = [None if each == "sqlite" else request.getfixturevalue(f"{each}_url") for each in (source, target)]
    async with empty_place(source, tmp_path, servers[0]) as here, empty_place(target, tmp_path, servers[1]) as there:
        async with serving(here) as client:
            before = await use(client)
        async with opened_copy(here, there, (JOB_TABLES,), Options(), lambda _: None) as copy:
            await copy.round()
            result = await copy.finish()
        assert {table.name for table in result.tables} >= {"notes", "notes_history", "kernel_users"}
        async with serving(there) as client:
            await expect_all(client, before)


async def expect_all(client: KernelClient, before: dict[str, Any]) -> None:
    """Nobody has to sign in again, and nothing of theirs is missing."""
    mine = {"Authorization": f"Bearer {before['tokens']['access_token']}"}
    assert (await client.get("/notes", headers=mine)).json() == before["notes"]
    assert (await client.get("/notes", headers={"X-API-Key": before["key"]})).json() == before["notes"]
    renewed = await client.post("/auth/refresh", json={"refresh_token": before["tokens"]["refresh_token"]})
    assert renewed.status_code == 200, renewed.text
    again = await client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    assert again.status_code == 200, again.text
    workspaces = (await client.get("/workspaces", headers=mine)).json()
    assert before["workspace"]["id"] in str(workspaces)
    async with get_db_connection() as db:
        id = before["notes"][0]["id"]
        assert [entry["version"] for entry in await db.get_entity_history("notes", id)] == [1, 2]
        reverted = await db.revert("notes", id, 1)
        assert reverted is not None
        assert reverted["text"] == "first"
    more = await client.post("/notes", json={"n": 3}, headers=mine)
    assert more.status_code == 200, more.text
