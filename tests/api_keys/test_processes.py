"""Keys across processes: what one of them ends, another one refuses within a second, Redis or not."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app_kernel.api_keys import create_api_key, revoke_api_key
from app_kernel.auth import deactivate_user, set_role
from tests.api_keys.serving import SECRET, serving
from tests.live_server import live_server
from tests.redis_server import own_redis

ROOT = Path(__file__).parents[2]
REMEMBERED = 1.0
"""Seconds for which another process may go on with what it read."""

MAIN = """
from fastapi import APIRouter, Depends
from app_kernel import FEATURES, Feature, ServiceConfig, create_service, get_current_user
from app_kernel.api_keys import create_combined_auth
from app_kernel.core.ports import Memberships
from app_kernel.db import get_db_connection

router = APIRouter()
get_auth = create_combined_auth(get_db_connection, get_current_user)

class Workspaces:
    async def role_in(self, db, workspace_id, user_id):
        found = await db.find_entities("members", "[workspace_id] = ? AND [user_id] = ?", (workspace_id, user_id))
        return found[0]["role"] if found else None

    async def recent_role(self, workspace_id, user_id):
        async with get_db_connection() as db:
            return await self.role_in(db, workspace_id, user_id)

    async def current_workspace(self, db, user_id):
        return None

@router.get("/may-administer")
async def may_administer(auth=Depends(get_auth)):
    return auth.has_scope("admin")

workspaces = Feature(name="workspaces", provides={Memberships: lambda kernel: Workspaces()})
app = create_service("keys", config=ServiceConfig.from_env(None), routers=[router], features=[*FEATURES, workspaces])
"""


class Watch:
    """Asks another process again and again what it says to a key: when each request was sent, and the answer."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self._url = url
        self._keys = keys
        self.said: dict[str, list[tuple[float, object]]] = {name: [] for name in keys}

    async def ask(self, client: httpx2.AsyncClient, name: str) -> None:
        sent = time.monotonic()
        answer = await client.get(f"{self._url}/may-administer", headers={"X-API-Key": self._keys[name]})
        self.said[name].append((sent, answer.json() if answer.status_code == 200 else answer.status_code))

    async def until(self, moment: float) -> None:
        async with httpx2.AsyncClient(timeout=30) as client:
            while time.monotonic() < moment:
                for name in self._keys:
                    await self.ask(client, name)
                await asyncio.sleep(0.02)

    def before(self, name: str, moment: float) -> set[object]:
        return {said for sent, said in self.said[name] if sent < moment}

    def after(self, name: str, moment: float) -> set[object]:
        return {said for sent, said in self.said[name] if sent > moment}


async def end(service, name: str, user_id: str, key_id: str) -> None:
    if name == "revoked":
        await revoke_api_key(service.db, key_id)
    elif name == "deactivated":
        await deactivate_user(service.db, user_id)
    elif name == "demoted":
        await set_role(service.db, user_id, "user")
    else:
        await service.db.delete_entity("members", name)


@pytest.mark.slow
@pytest.mark.acceptance("AK1")
@pytest.mark.acceptance("AK3")
@pytest.mark.acceptance("AZ4")
async def test_another_process_sees_every_end_of_a_key_within_a_second_also_with_redis_stopped(database, tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    async with own_redis(tmp_path) as redis, serving(database) as service:
        await redis.start()
        ends = ("revoked", "deactivated", "demoted", "left")
        keys, changes = {}, []
        for name in ends:
            user = await service.user(f"{name}@example.com", "admin")
            await service.db.save_entity("members", {"id": name, "workspace_id": "w", "user_id": user.id, "role": "x"})
            service.workspaces.members["w", user.id] = "x"
            made = await create_api_key(service.db, user.id, "w" if name == "left" else None, name=name)
            keys[name] = made["key"]
            changes.append((name, user.id, made["id"]))
        environment = {"JWT_SECRET": SECRET, "DATABASE_URL": database, "REDIS_URL": redis.url}
        environment |= {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "RATE_LIMIT_ENABLED": "false",
            "EMBEDDED_WORKER": "false",
        }
        with live_server(tmp_path, **environment) as server:
            redis.kill()
            watch = Watch(server.url, keys)
            watching = asyncio.create_task(watch.until(time.monotonic() + 60))
            while not all(said and said[-1][1] is True for said in watch.said.values()):
                assert not watching.done(), watch.said
                await asyncio.sleep(0.02)
            began = time.monotonic()
            for name, user_id, key_id in changes:
                await end(service, name, user_id, key_id)
            committed = time.monotonic()
            while not all(watch.after(name, committed + REMEMBERED) for name in ends):
                assert not watching.done(), "the watch ended before a second had passed"
                await asyncio.sleep(0.02)
            watching.cancel()
            for name in ends:
                assert watch.before(name, began) == {True}
                # Whatever was sent a second after the commit, or later, meets the new state.
                assert watch.after(name, committed + REMEMBERED) == {False if name == "demoted" else 401}, name


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that other users can reach: pytest's own belong to the user who runs it."""
    directory = Path(tempfile.mkdtemp(prefix="app-kernel-keys-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


@pytest.mark.acceptance("AK1")
async def test_a_key_is_accepted_on_a_read_only_database(public_directory):
    path = public_directory / "app.db"
    async with serving(f"sqlite:///{path}") as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        # Kept open by somebody who may write it: a file in WAL mode that nobody may write cannot be opened first.
        for file in public_directory.iterdir():
            file.chmod(0o444)
        public_directory.chmod(0o555)
        command = [sys.executable, "-m", "tests.api_keys.readonly_checker", str(path), key["key"]]
        done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = json.loads(done.stderr.strip().splitlines()[-1])
    assert said == {"statuses": [200, 200, 200], "last_used_at": None, "written": False}, done.stderr
