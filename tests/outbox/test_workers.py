"""A service of three worker processes behind uvicorn: every change has its effect once, and one relay carries."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.faults.outbox_feature import look
from tests.live_server import LiveServer, live_server

ROOT = Path(__file__).parents[2]
APP = """
import os
from fastapi import APIRouter, Request
from app_kernel import FEATURES, ServiceConfig, create_service
from app_kernel.core.ports import Outbox
from app_kernel.db import get_db_connection
from tests.outbox.test_service import diary

router = APIRouter()

@router.post("/things/{id}")
async def save(id: str, value: int):
    async with get_db_connection() as db:
        row = await db.save_entity("things", {"id": id, "value": value})
    return {"version": row["_version"]}

@router.get("/who")
async def who(request: Request):
    figures = await request.app.state.kernel.find_port(Outbox).figures()
    return {"pid": os.getpid(), "active": figures.is_active, "unsent": figures.unsent, "streams": figures.in_streams}

config = ServiceConfig(
    jwt_secret="s" * 40, database_name=os.environ["APP_URL"], admin_db_url=os.environ["ADMIN_URL"],
    redis_url=os.environ.get("USE_REDIS"),
)
app = create_service("workers", config=config, routers=[router], features=[*FEATURES, diary()])
"""


def ask(server: LiveServer, path: str, method: str = "GET") -> dict[str, object] | None:
    """The answer; None when its worker was killed meanwhile. Raises for any status that is no success."""
    request = urllib.request.Request(server.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found
    except urllib.error.HTTPError:
        raise
    except OSError:
        return None


def active_pid(server: LiveServer, seconds: float = 15, *, other_than: object = None) -> object:
    """The one worker whose relay carries, found by asking until it is the one that answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ask(server, "/who")
        if found and found["active"] and found["pid"] != other_than:
            return found["pid"]
    raise AssertionError(f"no relay became active in {seconds} s")


def active_pids(server: LiveServer) -> set[object]:
    """Every worker that says of itself, within a hundred answers, that its relay carries."""
    answers = [ask(server, "/who") for _ in range(100)]
    assert len({each["pid"] for each in answers if each}) > 1, "one worker gave all answers"
    return {each["pid"] for each in answers if each and each["active"]}


@contextmanager
def admin_worker(folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """One beside the service where there is Redis."""
    if "USE_REDIS" not in variables:
        yield
        return
    options = ("--redis", variables["USE_REDIS"], "--db", variables["ADMIN_URL"], "--app", "main:app")
    process = subprocess.Popen(
        [sys.executable, "-m", "app_kernel.admin_worker", *options],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def save_some(server: LiveServer, acked: dict[str, list[int]], count: int) -> None:
    """Saves over HTTP and notes what was acknowledged."""
    for number in range(count):
        id = f"thing-{number % 7}"
        answer = ask(server, f"/things/{id}?value={secrets.randbelow(10**9)}", "POST")
        if answer is not None:
            acked.setdefault(id, []).append(int(str(answer["version"])))


def run(folder: Path, variables: dict[str, str]) -> float:
    """Seconds that the takeover lasted."""
    (folder / "main.py").write_text(APP)
    variables = {**variables, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    acked: dict[str, list[int]] = {}
    with live_server(folder, "--workers", "3", **variables) as server, admin_worker(folder, variables):
        killed = active_pid(server)
        save_some(server, acked, 100)
        assert active_pids(server) == {killed}
        os.kill(int(str(killed)), signal.SIGKILL)
        began = time.monotonic()
        save_some(server, acked, 20)
        heir = active_pid(server, 8, other_than=killed)
        taken = time.monotonic() - began
        save_some(server, acked, 100)
        assert active_pids(server) == {heir}
        deadline = time.monotonic() + 20
        saved = look(variables["APP_URL"], "SELECT id, _version FROM things_history ORDER BY id, _version")
        sql = "SELECT entity, version FROM diary ORDER BY id"
        while len(written := look(variables["ADMIN_URL"], sql)) < len(saved) and time.monotonic() < deadline:
            time.sleep(0.05)
    # Sorted by entity only, which keeps the order of arrival within each.
    assert sorted(written, key=lambda row: row[0]) == saved
    assert {(id, version) for id, versions in acked.items() for version in versions} <= set(saved)
    assert sum(map(len, acked.values())) > 200
    return taken


@pytest.mark.slow
@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("kind", ["sqlite", "postgres, redis and an admin worker"])
async def test_three_workers_write_every_change_down_once_and_one_of_them_takes_over(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        variables = {"APP_URL": f"sqlite:///{tmp_path / 'app.db'}", "ADMIN_URL": f"sqlite:///{tmp_path / 'admin.db'}"}
        taken = await asyncio.to_thread(run, tmp_path, variables)
    else:
        server, redis_url = request.getfixturevalue("postgres_url"), request.getfixturevalue("redis_url")
        names = [f"w_{role}_{secrets.token_hex(5)}" for role in ("app", "admin")]
        urls = [f"{server}?schema={name}" for name in names]
        try:
            variables = {"APP_URL": urls[0], "ADMIN_URL": urls[1], "USE_REDIS": redis_url}
            taken = await asyncio.to_thread(run, tmp_path, variables)
        finally:
            connection = await asyncpg.connect(server)
            await connection.execute(f"DROP SCHEMA IF EXISTS {', '.join(names)} CASCADE")
            await connection.close()
    assert taken < 6, f"the takeover lasted {taken:.1f} s"
