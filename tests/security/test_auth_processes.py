"""What ends a session ends it in every process, with Redis away, and after a restart."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app_kernel.auth import TABLES, create_user
from app_kernel.auth.email_tokens import new_email_token
from app_kernel.auth.store import insert_email_token
from app_kernel.core import clock
from tests.auth.processes import Client, auth_process, cookies_of
from tests.auth.serving import NEW_PASSWORD, PASSWORD, settings_of
from tests.conformance.backends import Place
from tests.live_server import LiveServer
from tests.redis_server import own_redis

pytestmark = pytest.mark.slow

WAYS = (
    "logout",
    "logout all",
    "change password",
    "reset password",
    "admin revokes",
    "admin deactivates",
    "owner deletes",
    "admin deletes",
    "refresh token reused",
)


def email_of(way: str) -> str:
    return f"{way.replace(' ', '.')}@example.com"


class Twins:
    """Two processes on one database, and accounts in it."""

    def __init__(self, db: Any, servers: list[LiveServer], http: httpx2.AsyncClient) -> None:
        self.db = db
        self.servers = servers
        self.one, self.two = (Client(server, http) for server in servers)
        self.ids: dict[str, str] = {}

    async def make_accounts(self) -> None:
        await self.db.privileged.ensure_tables(TABLES)
        config = settings_of(":memory:", name="auth_tests")
        for name in (*WAYS, "role", "kept"):
            user = await create_user(self.db, email_of(name), PASSWORD, config=config)
            self.ids[name] = user.id
        await create_user(self.db, "root@example.com", PASSWORD, role="admin", config=config)

    async def reset_token(self, way: str) -> str:
        token = new_email_token("reset")
        row = {"purpose": "reset", "user_id": self.ids[way], "email": email_of(way), "used_at": None}
        later = clock.now().replace(year=2100)
        await insert_email_token(self.db, {**row, "token_hash": token.token_hash, "expires_at": later})
        return token.text


@pytest.fixture
async def twins(place: Place, tmp_path: Path) -> AsyncIterator[Twins]:
    """Both were started with Redis there; it is gone by now."""
    async with AsyncExitStack() as stack:
        db = await place.open()
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60))
        redis = await stack.enter_async_context(own_redis(tmp_path))
        await redis.start()
        servers = [stack.enter_context(auth_process(tmp_path, place.url, REDIS=redis.url)) for _ in range(2)]
        both = Twins(db, servers, http)
        await both.make_accounts()
        redis.kill()
        yield both


async def end(twins: Twins, way: str, sessions: list[Any], root: str) -> None:
    """Ends, through the first process, the last of these sessions or all of them."""
    call, user_id, last = twins.one.call, twins.ids[way], sessions[-1]["access_token"]
    calls: dict[str, Callable[[], Awaitable[httpx2.Response]]] = {
        "logout": lambda: call("POST", "/auth/logout", last),
        "logout all": lambda: call("POST", "/auth/logout-all", last),
        "change password": lambda: call(
            "POST", "/auth/change-password", last, json={"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        ),
        "admin revokes": lambda: call("DELETE", f"/auth/users/{user_id}/sessions", root),
        "admin deactivates": lambda: call("PATCH", f"/auth/users/{user_id}", root, json={"is_active": False}),
        "owner deletes": lambda: call("DELETE", "/auth/me", last, json={"password": PASSWORD}),
        "admin deletes": lambda: call("DELETE", f"/auth/users/{user_id}", root),
        "refresh token reused": lambda: twins.one.refresh(sessions[-1]),
    }
    if way == "reset password":
        body = {"token": await twins.reset_token(way), "new_password": NEW_PASSWORD}
        answer = await call("POST", "/auth/reset-password", json=body)
    else:
        if way == "refresh token reused":
            newer = (await twins.one.refresh(sessions[-1])).json()
            await twins.one.refresh(newer)
        answer = await calls[way]()
    assert answer.status_code == (401 if way == "refresh token reused" else 200 if way == "admin deactivates" else 204)


def ended_by(way: str, sessions: list[Any]) -> list[Any]:
    if way in ("logout", "refresh token reused"):
        return sessions[-1:]
    return sessions[:-1] if way == "change password" else sessions


@pytest.mark.acceptance("AU7")
@pytest.mark.acceptance("AZ4")
async def test_every_way_of_ending_a_session_counts_everywhere_within_a_second_without_redis(twins, place, tmp_path):
    root = (await twins.one.sign_in("root@example.com"))["access_token"]
    kept = await twins.one.sign_in(email_of("kept"))
    role = await twins.one.sign_in(email_of("role"))
    promote = f"/auth/users/{twins.ids['role']}"
    await twins.one.call("PATCH", promote, root, json={"role": "admin"})
    assert (await twins.two.call("GET", "/auth/users", role["access_token"])).status_code == 200
    sessions = {}
    for way in WAYS:
        email = email_of(way)
        sessions[way] = [await twins.one.sign_in(email, cookie=True), await twins.two.sign_in(email)]
    dead = {way: ended_by(way, given) for way, given in sessions.items()}
    for way in WAYS:
        for each in sessions[way]:
            assert [await twins.one.me(each), await twins.two.me(each)] == [200, 200], way
        await end(twins, way, sessions[way], root)
        for each in dead[way]:
            assert await twins.one.me(each) == 401, way
            # What renews a session asks the database itself: there is no second in which it does not know yet.
            assert (await twins.two.refresh(each)).status_code == 401, way
    await twins.one.call("PATCH", promote, root, json={"role": "user"})
    done = time.monotonic()
    assert (await twins.one.call("GET", "/auth/users", role["access_token"])).status_code == 403
    await asyncio.sleep(max(0.0, done + 1 - time.monotonic()))  # the promise is this second
    assert (await twins.two.call("GET", "/auth/users", role["access_token"])).status_code == 403
    late = {way: [await twins.two.me(each) for each in given] for way, given in dead.items()}
    assert late == {way: [401] * len(given) for way, given in dead.items()}
    survivors = [kept, sessions["logout"][0], sessions["change password"][-1], sessions["refresh token reused"][0]]
    with auth_process(tmp_path, place.url) as server:
        again = Client(server, twins.two._http)
        for way, given in dead.items():
            for each in given:
                assert [await again.me(each), (await again.refresh(each)).status_code] == [401, 401], way
        for each in survivors:
            assert await again.me(each) == 200


@pytest.mark.acceptance("AU6")
async def test_of_twenty_refreshes_over_two_processes_one_rotates_and_later_reuse_ends_the_family(twins):
    for cookie in (False, True):
        first = await twins.one.sign_in(email_of("kept"), cookie=cookie)
        both = [twins.one, twins.two] * 10
        answers = await asyncio.gather(*(process.refresh(first) for process in both))
        assert {answer.status_code for answer in answers} == {200}
        given = [cookies_of(answer) if cookie else answer.json() for answer in answers]
        name = "refresh" if cookie else "refresh_token"
        assert len({each[name] for each in given}) == 1
        second = given[0]
        answer = await twins.two.refresh(second)
        third = cookies_of(answer) if cookie else answer.json()
        assert third[name] != second[name]
        assert await twins.one.me(third) == 200
        assert (await twins.one.refresh(first)).status_code == 401  # two generations old: copied, not late
        assert (await twins.two.refresh(third)).status_code == 401
        assert await twins.one.me(third) == 401
        rows = await twins.db.privileged.find_entities("kernel_sessions", "[user_id] = ?", (twins.ids["kept"],))
        assert all(row["revoked_at"] for row in rows)
        assert max(row["generation"] for row in rows) == 3
    twins.servers[0].stop()
    reused = [line for line in twins.servers[0].lines() if line["event"] == "auth.refresh_reused"]
    assert [line["subject_id"] for line in reused] == [twins.ids["kept"]] * 2
