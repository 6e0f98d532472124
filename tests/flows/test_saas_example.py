"""examples/saas as a team uses it, from sign-up to the removal of a member, and the proof that teams stay apart."""

import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from app_kernel.flags import set_flag
from app_kernel.testing import KernelClient, assert_tenant_isolation, kernel_client
from app_kernel.webhooks import WebhookEvent, verify_webhook
from tests.api_keys.serving import fresh_schema
from tests.conformance.mysql_place import empty_database
from tests.faults.figures import SOAK
from tests.page_reader import reading

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "saas"
MODULES = ("main", "board", "tasks")
SECRET = "whsec_c2VjcmV0LW9mLXRoZS1ib2FyZC1leGFtcGxl"
PASSWORD = "plum tree over water"
SETTINGS = {
    "JWT_SECRET": "a-secret-for-the-example-of-32-bytes",
    "HOOK_SECRET": SECRET,
    "ALLOW_SELF_SIGNUP": "true",
    "WEBHOOK_ALLOW_PRIVATE": "true",
}


@contextmanager
def example(**settings: str) -> Iterator[FastAPI]:
    """The application; other examples have modules of the same names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        for name, value in {**SETTINGS, **settings}.items():
            patch.setenv(name, value)
        for name in MODULES:
            patch.delitem(sys.modules, name, raising=False)
        try:
            yield import_module("main").app
        finally:
            for name in MODULES:
                sys.modules.pop(name, None)


@asynccontextmanager
async def place_of(request: pytest.FixtureRequest, number: int) -> AsyncIterator[tuple[str, str | None]]:
    """A database of its own, and for one on a server a numbered one of Redis."""
    if request.param == "sqlite":
        yield "sqlite://:memory:", None
        return
    is_mysql = request.param.startswith("mysql")
    fresh = empty_database() if is_mysql else fresh_schema(request.getfixturevalue("postgres_url"))
    async with fresh as url:
        yield url, urlsplit(request.getfixturevalue("redis_url"))._replace(path=f"/{number}").geturl()


@pytest.fixture(params=["sqlite", "postgres and redis", "mysql and redis"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str | None]]:
    async with place_of(request, 5) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres and redis", *(["mysql and redis"] if SOAK else [])])
async def other_place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str | None]]:
    async with place_of(request, 6) as found:
        yield found


class Receiver(HTTPServer):
    """Somebody else's system: it takes webhooks on a port of the loopback, and keeps those that are signed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.events: list[WebhookEvent] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks"


class _Receiving(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.events.append(verify_webhook(SECRET, self.headers.items(), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


class Team:
    """A team's board, as one of its people calls it."""

    def __init__(self, client: Any, id: str) -> None:
        self.client = client
        self.id = id

    async def get(self, path: str) -> Any:
        return await self.client.get(f"/workspaces/{self.id}{path}")

    async def post(self, path: str, **body: Any) -> Any:
        return await self.client.post(f"/workspaces/{self.id}{path}", json=body)

    async def board(self) -> list[tuple[str, str]]:
        answer = await self.get("/projects")
        assert answer.status_code == 200, answer.text
        return [(project["name"], project["latest"]) for project in answer.json()]


async def signed_up(client: KernelClient) -> Team:
    """Ada signs up and makes a team."""
    body = {"email": "ada@example.com", "password": PASSWORD}
    answer = await client.post("/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    ada = await client.log_in_as("ada@example.com", password=PASSWORD)
    made = await ada.post("/workspaces", json={"name": "Analytical Engines"})
    assert made.status_code == 201, made.text
    return Team(ada, made.json()["id"])


async def joined(client: KernelClient, team: Team) -> Team:
    """Bob is invited by mail and accepts."""
    bob = await client.log_in_as("bob@example.com")
    assert (await Team(bob, team.id).get("/projects")).status_code == 404
    invited = await team.post("/invites", email="bob@example.com", role="member")
    assert invited.status_code == 201, invited.text
    mail = next(mail for mail in await client.mails() if mail.to == "bob@example.com")
    assert "Analytical Engines" in mail.text
    token = invited.json()["token"]
    assert token in mail.text
    assert (await bob.post("/invites/accept", json={"token": token})).status_code == 200
    return Team(bob, team.id)


@pytest.mark.slow
async def test_a_team_from_sign_up_to_the_removal_of_a_member(
    place: tuple[str, str | None], receiver: Receiver
) -> None:
    database, redis_url = place
    with example(**({"REDIS_URL": redis_url} if redis_url else {})) as app:
        options = {"database": database, "redis_url": redis_url}
        async with kernel_client(app, **options, webhooks="send") as client:
            ada = await signed_up(client)
            bob = await joined(client, ada)
            await check_deployments(client, ada, bob, receiver)
            await check_insights(client, ada, bob)
            await check_removal(ada, bob)


async def check_deployments(client: KernelClient, ada: Team, bob: Team, receiver: Receiver) -> None:
    """Bob deploys, the board follows, and the receiver hears of it."""
    hook = {"url": receiver.url, "events": ["deployment.*"], "secret": SECRET}
    made = await ada.client.post("/webhooks", json=hook, headers={"X-Workspace-ID": ada.id})
    assert made.status_code == 201, made.text
    assert await bob.board() == []
    project = (await bob.post("/projects", name="mill")).json()
    assert await ada.board() == [("mill", "never deployed")]
    assert (await bob.post("/projects", name="mill")).status_code == 409
    assert await ada.board() == [("mill", "never deployed")]

    for version, status in (("1.0", "succeeded"), ("1.1-broken", "failed")):
        path = f"/projects/{project['id']}/deployments"
        ordered = await bob.post(path, version=version)
        assert (ordered.status_code, ordered.json()["status"]) == (202, "queued")
        assert await ada.board() == [("mill", "queued")]
        await client.jobs.drain()
        assert await ada.board() == [("mill", status)]
        assert (await ada.get(path)).json()[0]["updated_by"] == bob.client.user.id
        heard = receiver.events[-1]
        assert (heard.type, heard.payload["workspace_id"]) == (f"deployment.{status}", ada.id)
        assert (heard.data["id"], heard.data["version"]) == (ordered.json()["id"], version)
    assert len(receiver.events) == 2
    await check_own_receiver(client, ada, receiver.events[0])


async def check_own_receiver(client: KernelClient, ada: Team, event: WebhookEvent) -> None:
    """The board takes webhooks too: unsigned ones are refused, and its own are noted."""
    assert (await client.post("/hooks/deployments", json=event.payload)).status_code == 401
    assert (await ada.get("/notices")).json() == []


async def check_insights(client: KernelClient, ada: Team, bob: Team) -> None:
    """An admin of the service turns the page on for this team."""
    assert (await bob.get("/insights")).status_code == 404
    boss = await client.log_in_as("boss@example.com", role="admin")
    assert (await bob.client.put("/flags/insights", json={"enabled": True})).status_code == 403
    set_ = await boss.put("/flags/insights", json={"enabled": True, "workspaces": [ada.id]})
    assert set_.status_code == 201, set_.text
    assert (await bob.get("/insights")).json() == {"queued": 0, "succeeded": 1, "failed": 1}
    assert (await boss.put("/flags/insights", json={"enabled": False})).status_code == 200
    assert (await bob.get("/insights")).status_code == 404


async def check_removal(ada: Team, bob: Team) -> None:
    """Bob is removed: with the next request he is an outsider."""
    path = f"/workspaces/{ada.id}/members/{bob.client.user.id}"
    assert (await bob.client.delete(f"/workspaces/{ada.id}/members/{ada.client.user.id}")).status_code == 403
    assert (await ada.client.delete(path)).status_code == 204
    assert (await bob.get("/projects")).status_code == 404
    assert (await bob.post("/projects", name="mine now")).status_code == 404
    assert await ada.board() == [("mill", "failed")]


async def with_insights(client: KernelClient, workspace_id: str, marker: str) -> None:
    """The page behind the flag is tried too."""
    await set_flag(client.db, "insights", enabled=True)


@pytest.mark.slow
@pytest.mark.acceptance("AZ1")
@pytest.mark.acceptance("AZ2")
async def test_no_team_reaches_another_one(other_place: tuple[str, str | None]) -> None:
    database, redis_url = other_place
    with example(**({"REDIS_URL": redis_url} if redis_url else {}), LOG_LEVEL="ERROR") as app:
        report = await assert_tenant_isolation(
            app,
            seed=with_insights,
            exclude=["POST /hooks/deployments"],  # takes what is signed alone; see the test of the README
            database=database,
            redis_url=redis_url,
        )
    row = report.matrix["DELETE /workspaces/{workspace_id}/projects/{project_id}"]
    assert [row[name] for name in ("member", "admin", "other_owner", "key")] == [403, 204, 404, 401]
    assert len(report.matrix) == 8


@pytest.mark.slow
def test_the_readme_works_as_written(tmp_path: Path) -> None:
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text((EXAMPLE / f"{name}.py").read_text())
    with reading(EXAMPLE / "README.md", tmp_path) as reader:
        assert reader.read() == []
        printed = [line for block in reader for line in block]
    webhook_id, *lines = printed
    assert re.fullmatch(r"[0-9a-f-]{36}", webhook_id)
    assert lines[:5] == [
        "queued", "queued", "mill: failed", "deployment.succeeded 1.0", "deployment.failed 1.1-broken",
    ]  # fmt: skip
    assert lines[5:7] == ["deployments: 2", "There is no such page."]
    assert lines[-2:] == ["true", json.dumps({"queued": 0, "succeeded": 1, "failed": 1}, separators=(",", ":"))]
