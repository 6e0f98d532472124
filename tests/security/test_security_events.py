"""Every security event is a part of the commit of what it tells of."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest
import pytest_asyncio

from app_kernel.api_keys import create_api_key
from app_kernel.core import clock, emitter
from app_kernel.core.events import REFUSALS, SecurityEvent
from app_kernel.jobs import get_job_client
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS
from tests.security.event_cases import REFUSED, Case
from tests.security.event_cases_of_workspaces import CASES
from tests.security.event_world import PASSWORD, Recorded, RecorderBroke, World, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Undo(Exception):
    pass


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SERVICE_BACKENDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One service for all cases: each makes rows of its own."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(BACKENDS[request.param]())
        yield await stack.enter_async_context(running(place.url))


class Look:
    """What was recorded, heard and written since."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def begin(self) -> "Look":
        self._recorded, self._heard = len(await self._world.recorded()), len(self._world.heard)
        self._contents = await self._world.contents()
        return self

    async def recorded(self) -> list[str]:
        return (await self._world.names())[self._recorded :]

    async def bodies(self) -> list[Recorded]:
        return (await self._world.recorded())[self._recorded :]

    def heard(self) -> list[str]:
        return [event.name for event in self._world.heard[self._heard :]]

    async def written(self) -> list[str]:
        """The tables in which anything is another."""
        now = await self._world.contents()
        return [table for table, rows in now.items() if rows != self._contents[table]]


async def finish(steps: AsyncIterator[None]) -> None:
    with pytest.raises(StopAsyncIteration):
        await anext(steps)


async def test_every_event_has_a_case():
    listed = re.search(r"`name` is one of (.*?)\.\n", SecurityEvent.__doc__ or "", re.DOTALL)
    assert listed is not None
    names = set(re.findall(r"[a-z_]+\.[a-z_]+", re.sub(r"\(.*?\)", "", listed[1], flags=re.DOTALL)))
    assert {case.event for case in CASES} | {case.event for case in REFUSED} == names
    assert {case.event for case in REFUSED} == REFUSALS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_change_and_its_event_are_one_commit(world: World, case: Case):
    """EV3: the row and the event are both there or both not, and a listener hears of what was committed, once."""
    with world.here():
        steps = case.steps(world)
        await anext(steps)
        look = await Look(world).begin()
        await finish(steps)
    assert await look.recorded() == look.heard()
    assert sorted(look.heard()) == sorted(case.names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_change_that_is_rolled_back_by_its_caller_leaves_no_event(world: World, case: Case):
    """EV3: neither the row, nor the message, nor a word to a listener."""
    with world.here():
        steps = case.steps(world)
        await anext(steps)
        look = await Look(world).begin()
        with pytest.raises(Undo):
            async with world.db.transaction():
                await finish(steps)
                assert look.heard() == []
                raise Undo
    assert (await look.recorded(), look.heard(), await look.written()) == ([], [], [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_change_whose_event_cannot_be_recorded_is_refused(world: World, case: Case):
    """EV3: no change without its event."""
    with world.here():
        steps = case.steps(world)
        await anext(steps)
        look = await Look(world).begin()
        with world.broken_recorder(), pytest.raises(RecorderBroke):
            await anext(steps)
    assert (await look.recorded(), look.heard(), await look.written()) == ([], [], [])


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
async def test_a_refusal_is_recorded_once(world: World, case: Case):
    with world.here():
        steps = case.steps(world)
        await anext(steps)
    look = await Look(world).begin()
    await finish(steps)
    assert await look.recorded() == look.heard() == [case.event]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
async def test_a_refusal_stands_where_it_cannot_be_recorded(world: World, case: Case):
    with world.here():
        steps = case.steps(world)
        await anext(steps)
    look = await Look(world).begin()
    with world.broken_recorder():
        await finish(steps)
    assert (await look.recorded(), look.heard()) == ([], [case.event])


async def test_nobody_fills_the_outbox_with_refusals(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(emitter, "MOST_ALIKE", 3)
    monkeypatch.setattr(world.kernel._emitter, "_shares", emitter._Shares())
    look = await Look(world).begin()
    for _ in range(9):
        answer = await world.client.get("/key", headers={"X-API-Key": "sk_wrong"})
        assert answer.status_code == 401
    assert await look.recorded() == ["api_key.refused"] * 3
    assert look.heard() == ["api_key.refused"] * 9


async def test_an_event_names_the_admin_the_key_or_the_job_that_made_the_change(world: World):
    """EV3: who did it is read where the change is made, and not where it is carried."""
    admin, ada = await world.person(role="admin"), await world.person()
    token = (await world.session(admin)).access_token
    with world.here():
        key = await create_api_key(world.db, ada.id, name="ci")
        look = await Look(world).begin()
        job = await get_job_client().enqueue("shut_out", {"user_id": ada.id})
    flag = f"flag_{clock.new_id()}"
    answer = await world.client.post(f"/flags-by-key/{flag}", headers={"X-API-Key": key["key"]})
    assert answer.status_code == 200, answer.text
    change = {"role": "auditor"}
    answer = await world.client.patch(
        f"/auth/users/{ada.id}", json=change, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200, answer.text
    await world.client.jobs.drain()
    by_key, by_admin, by_job = await look.bodies()
    assert (by_key["name"], by_key["api_key_id"], by_key["actor_id"]) == ("flag.changed", key["id"], ada.id)
    assert (by_admin["name"], by_admin["user_id"], by_admin["actor_id"]) == ("auth.role_changed", ada.id, admin.id)
    assert (by_job["name"], by_job["job_id"], by_job["user_id"]) == ("auth.deactivated", job.job_id, ada.id)


async def test_a_login_that_cannot_be_recorded_is_answered_with_an_error_and_leaves_no_session(world: World):
    ada = await world.person(PASSWORD)
    transport = httpx2.ASGITransport(app=world.client.app, raise_app_exceptions=False)
    look = await Look(world).begin()
    with world.broken_recorder():
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            answer = await client.post("/auth/login", json={"email": ada.email, "password": PASSWORD})
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert (await look.recorded(), look.heard()) == ([], [])
    assert "kernel_sessions" not in await look.written()
