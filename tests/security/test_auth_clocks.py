"""Processes whose clocks differ, and clocks that jump: expired is expired, and nothing lives for less than no time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app_kernel.auth import TABLES, create_user
from tests.auth.forging import parts
from tests.auth.processes import Client, auth_process
from tests.auth.serving import EMAIL, PASSWORD, settings_of
from tests.conformance.backends import Place

pytestmark = pytest.mark.slow

HOUR = 3600


class Clocks:
    """Two processes on one database, each with a clock that can be set."""

    def __init__(self, folder: Path, db: Any) -> None:
        self.files = {name: folder / f"clock-{name}" for name in ("one", "two")}
        self.db = db
        self.one: Client
        self.two: Client

    def set(self, **seconds: float) -> None:
        """Moves the clocks to these seconds from the machine's."""
        for name, by in seconds.items():
            written = self.files[name].with_suffix(".new")
            written.write_text(str(by))
            written.replace(self.files[name])


@pytest.fixture
async def clocks(place: Place, tmp_path: Path) -> AsyncIterator[Clocks]:
    async with AsyncExitStack() as stack:
        db = await place.open()
        await db.privileged.ensure_tables(TABLES)
        await create_user(db, EMAIL, PASSWORD, config=settings_of(":memory:", name="auth_tests"))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60))
        clocks = Clocks(tmp_path, db)
        clocks.set(one=0, two=0)
        clocks.one, clocks.two = (
            Client(stack.enter_context(auth_process(tmp_path, place.url, CLOCK=str(file), HOURS="1")), http)
            for file in clocks.files.values()
        )
        yield clocks


@pytest.mark.acceptance("AU16")
async def test_clocks_that_differ_or_jump_neither_admit_what_expired_nor_lock_anybody_out(clocks):
    given: list[Any] = []

    async def sign_in(client: Client) -> Any:
        given.append(await client.sign_in(EMAIL))
        assert 0 < given[-1]["expires_in"] <= HOUR
        return given[-1]

    async def renew(client: Client, session: Any) -> Any:
        answer = await client.refresh(session)
        assert answer.status_code == 200, answer.text
        given.append(answer.json())
        assert 0 < given[-1]["expires_in"] <= HOUR
        return given[-1]

    # A minute apart, either way round: what one gives, the other takes.
    for one, two in ((30, -30), (-30, 30), (0, -59), (0, 60)):
        clocks.set(one=one, two=two)
        session = await sign_in(clocks.one)
        assert await clocks.two.me(session) == 200, (one, two)
        session = await renew(clocks.two, session)
        assert await clocks.one.me(session) == 200, (one, two)
        assert await clocks.one.me(await renew(clocks.one, session)) == 200

    # Beyond the leeway: a token from the future is refused, and the session can be renewed all the same.
    clocks.set(one=90, two=0)
    session = await sign_in(clocks.one)
    assert parts(session["access_token"])[1]["iat"] > 0
    assert await clocks.two.me(session) == 401
    assert await clocks.two.me(await renew(clocks.two, session)) == 200

    # An hour ahead: what lives for an hour is over, to the second, and to whoever remembered it.
    clocks.set(one=0, two=0)
    session = await sign_in(clocks.one)
    assert [await clocks.one.me(session), await clocks.two.me(session)] == [200, 200]
    clocks.set(two=HOUR)
    assert [await clocks.one.me(session), await clocks.two.me(session)] == [200, 401]
    assert await clocks.two.me(await renew(clocks.two, session)) == 200
    assert await clocks.two.me(await sign_in(clocks.two)) == 200

    # An hour back: tokens are from the future now, to whoever has not checked them before, and a sign-in works at once.
    clocks.set(one=-HOUR, two=-HOUR)
    assert await clocks.two.me(session) == 401
    assert await clocks.one.me(await sign_in(clocks.one)) == 200
    body = {"email": EMAIL, "password": "wrong guess"}
    answers = [await clocks.one.call("POST", "/auth/login", json=body) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    clocks.set(one=-HOUR - 30)
    held = await clocks.one.call("POST", "/auth/login", json=body)
    assert held.status_code == 429
    assert 1 <= int(held.headers["retry-after"]) <= 60
    clocks.set(one=0)
    assert await clocks.one.me(await sign_in(clocks.one)) == 200
    clocks.set(one=-2 * HOUR)  # failures that lie hours ahead hold nobody back
    assert await clocks.one.me(await sign_in(clocks.one)) == 200

    sids = {parts(each["access_token"])[1]["sid"] for each in given}
    assert len({parts(each["access_token"])[1]["jti"] for each in given}) == len(given)
    rows = await clocks.db.privileged.find_entities("kernel_sessions")
    assert {row["id"] for row in rows} == sids
    assert len(rows) == len(sids)
    assert all(row["expires_at"] > row["last_used_at"] for row in rows)
