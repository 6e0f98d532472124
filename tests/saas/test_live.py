"""What is remembered of memberships, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from app_kernel.auth import create_user
from app_kernel.core.context import current_context
from app_kernel.core.errors import Unavailable
from app_kernel.saas import (
    add_member,
    create_workspace,
    delete_workspace,
    live,
    remove_member,
    restore_workspace,
    store,
)
from app_kernel.saas.live import LiveMemberships
from tests.saas.serving import Service, serving

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Place:
    """A workspace of Ada's with Bob in it, and how often the database was asked for a role."""

    def __init__(self, service: Service, workspace_id: str, user_id: str, asked: list[str]) -> None:
        self.service, self.workspace_id, self.user_id, self.asked = service, workspace_id, user_id, asked
        memberships = service.kernel.memberships
        assert isinstance(memberships, LiveMemberships)
        self.live = memberships

    async def role(self) -> str | None:
        return await self.live.recent_role(self.workspace_id, self.user_id)


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    asked: list[str] = []
    real = store.get_role

    async def counted(db: object, workspace_id: str, user_id: str, **more: bool) -> str | None:
        asked.append(user_id)
        return await real(db, workspace_id, user_id, **more)

    async with serving(frozen_at=START) as service:
        ada = await create_user(service.db, "ada@example.com", None)
        bob = await create_user(service.db, "bob@example.com", None)
        workspace_id = (await create_workspace(service.db, "Engines", ada.id))["id"]
        await add_member(service.db, workspace_id, bob.id)
        monkeypatch.setattr(store, "get_role", counted)
        yield Place(service, workspace_id, bob.id, asked)


async def test_a_role_is_read_once_a_second_for_all_who_ask(place: Place) -> None:
    assert set(await asyncio.gather(*(place.role() for _ in range(20)))) == {"member"}
    assert await place.role() == "member"
    assert len(place.asked) == 1
    place.service.client.clock.advance(0.99)
    assert await place.role() == "member"
    assert len(place.asked) == 1
    place.service.client.clock.advance(0.02)
    assert await place.role() == "member"
    assert len(place.asked) == 2
    place.service.client.clock.advance(-3600)
    assert await place.role() == "member"
    assert len(place.asked) == 3


async def test_a_change_counts_at_once_and_when_its_transaction_is_committed(place: Place) -> None:
    db = place.service.db
    assert await place.role() == "member"
    async with db.transaction():
        await remove_member(db, place.workspace_id, place.user_id)
        # Others go on with what is committed, and it is not what stays remembered.
        assert await place.role() == "member"
    assert await place.role() is None
    await add_member(db, place.workspace_id, place.user_id, "admin")
    assert await place.role() == "admin"
    await delete_workspace(db, place.workspace_id)
    assert await place.role() is None
    await restore_workspace(db, place.workspace_id)
    assert await place.role() == "admin"


async def test_a_read_that_a_change_overtakes_is_not_remembered(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, read, go_on = store.get_role, asyncio.Event(), asyncio.Event()

    async def slow(db: object, workspace_id: str, user_id: str, **more: bool) -> str | None:
        role = await counted(db, workspace_id, user_id, **more)
        read.set()
        await go_on.wait()
        return role

    monkeypatch.setattr(store, "get_role", slow)
    asking = asyncio.create_task(place.role())
    await read.wait()
    monkeypatch.setattr(store, "get_role", counted)
    await remove_member(place.service.db, place.workspace_id, place.user_id)
    assert await place.role() is None
    go_on.set()
    assert await asking == "member"
    assert await place.role() is None


async def test_who_asks_first_may_leave_and_a_database_that_fails_is_asked_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, go_on = store.get_role, asyncio.Event()

    async def waiting(db: object, *ids: str) -> str | None:
        assert current_context().kernel is place.service.kernel
        await go_on.wait()
        return await counted(db, *ids)

    monkeypatch.setattr(store, "get_role", waiting)
    first, second = asyncio.create_task(place.role()), asyncio.create_task(place.role())
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await second == "member"

    async def failing(db: object, *ids: str) -> str | None:
        raise Unavailable("away")

    place.service.client.clock.advance(2)
    monkeypatch.setattr(store, "get_role", failing)
    with pytest.raises(Unavailable):
        await place.role()
    monkeypatch.setattr(store, "get_role", counted)
    assert await place.role() == "member"


async def test_so_many_roles_are_remembered_and_outsiders_are_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CAPACITY", 2)
    db = place.service.db
    for name in ("c", "d", "e"):
        user = await create_user(db, f"{name}@example.com", None)
        await add_member(db, place.workspace_id, user.id)
        assert await place.live.recent_role(place.workspace_id, user.id) == "member"
    for number in range(5):
        assert await place.live.recent_role(f"w{number}", place.user_id) is None
    for odd in ("", "x" * 10_000, "a\x00b", "\ud800", f"{place.workspace_id}:"):
        assert await place.live.recent_role(odd, place.user_id) is None
        assert await place.live.recent_role(place.workspace_id, odd) is None
    assert len(place.live._known) == 2
    assert not place.live._loading
