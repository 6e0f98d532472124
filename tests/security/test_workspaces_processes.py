"""Workspaces under races and across processes: what one process ends, another one knows within a second."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app_kernel.api_keys import create_api_key
from app_kernel.auth import delete_user
from app_kernel.core.errors import AccountNotFound
from app_kernel.saas import (
    accept_invite,
    add_member,
    choose_workspace,
    create_invite,
    create_workspace,
    delete_workspace,
    list_invites,
    list_members,
    list_workspaces,
    remove_member,
    set_member_role,
)
from tests.conformance.backends import SERVICE_BACKENDS
from tests.live_server import live_server
from tests.redis_beside import redis_beside
from tests.saas.serving import Person, Service, fresh_database, serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AT_ONCE = 50
REMEMBERED = 1.0
"""Seconds for which another process may go on with what it read."""
MAIN = """
import os
from tests.saas.serving import make_app

app = make_app(database_name=os.environ["DATABASE"], redis_url=os.environ["REDIS"] or None, embedded_worker=False)
"""


class Twins:
    """A service in this process and one in another process, on one database."""

    def __init__(self, service: Service, url: str, http: httpx2.AsyncClient) -> None:
        self.service = service
        self._url = url
        self._http = http

    async def there(self, person: Person, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        """A request to the other process."""
        fields = {"Authorization": f"Bearer {person.token}", **headers}
        options = {} if json is None else {"json": json}
        return await self._http.request(method, f"{self._url}{path}", headers=fields, **options)

    async def race(self, calls: Iterable[tuple[Person, str, str, Any]]) -> list[int]:
        """Sends all at the same time, one after the other to either process; the statuses."""
        sent = [
            person.call(method, path, body) if number % 2 else self.there(person, method, path, body)
            for number, (person, method, path, body) in enumerate(calls)
        ]
        return [answer.status_code for answer in await asyncio.gather(*sent)]


@asynccontextmanager
async def running(database: str, folder: Path) -> AsyncIterator[Twins]:
    (folder / "main.py").write_text(MAIN)
    redis = redis_beside(database).get("redis_url", "")
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "DATABASE": database, "REDIS": redis}
    async with serving(database, embedded_worker=False) as service, httpx2.AsyncClient(timeout=60) as http:
        with live_server(folder, forked=True, **path) as server:
            yield Twins(service, server.url, http)


@pytest.fixture(params=SERVICE_BACKENDS)
async def twins(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Twins]:
    async with fresh_database(request, tmp_path) as url, running(url, tmp_path) as both:
        yield both


@pytest.mark.acceptance("AZ6")
async def test_of_fifty_at_once_one_gets_the_slug_and_one_uses_the_invite(twins: Twins) -> None:
    db = twins.service.db
    ada, bob = await twins.service.people("ada", "bob")
    statuses = await twins.race([(ada, "POST", "/workspaces", {"name": "E", "slug": "engines"})] * AT_ONCE)
    assert sorted(statuses) == [201] + [409] * (AT_ONCE - 1)
    [workspace] = await list_workspaces(db, ada.id)
    # No orphan: one workspace and one membership were made, and nothing else.
    assert await db.privileged.count_entities("kernel_workspaces") == 1
    assert await db.privileged.count_entities("kernel_workspace_members") == 1
    invite = await create_invite(db, workspace["id"], bob.email, by=ada.id)
    accept = (bob, "POST", "/invites/accept", {"token": invite["token"]})
    statuses = await twins.race([accept] * AT_ONCE)
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 404, 409}
    assert [each["user_id"] for each in await list_members(db, workspace["id"])] == [ada.id, bob.id]
    assert await db.privileged.count_entities("kernel_workspace_invites") == 0


@pytest.mark.acceptance("AZ6")
async def test_no_race_leaves_a_workspace_without_an_owner(twins: Twins) -> None:
    db, owners = twins.service.db, await twins.service.people(*(f"owner{number}" for number in range(6)))
    chance = random.Random(6)
    for name in ("all leave", "all remove each other", "all step down", "anything"):
        workspace_id = await owners[0].made(name)
        for person in owners[1:]:
            await add_member(db, workspace_id, person.id, "owner")
        path = f"/workspaces/{workspace_id}"
        calls: list[tuple[Person, str, str, Any]] = []
        for number in range(AT_ONCE):
            person, other = owners[number % 6], owners[(number // 6) % 6]
            ways: dict[str, tuple[Person, str, str, Any]] = {
                "all leave": (person, "POST", f"{path}/leave", None),
                "all remove each other": (person, "DELETE", f"{path}/members/{other.id}", None),
                "all step down": (person, "PATCH", f"{path}/members/{person.id}", {"role": "member"}),
            }
            calls.append(ways.get(name) or chance.choice(list(ways.values())))
        statuses = await twins.race(calls)
        assert set(statuses) <= {200, 204, 403, 404, 409}, name
        roles = [each["role"] for each in await list_members(db, workspace_id)]
        assert "owner" in roles, name
    # The accounts of all owners but one are deleted at once, while those left step down.
    workspace_id = await owners[0].made("accounts")
    for person in owners[1:]:
        await add_member(db, workspace_id, person.id, "owner")
    last = owners[5]
    step_down = twins.race([(last, "POST", f"/workspaces/{workspace_id}/leave", None)] * 8)
    *_, statuses = await asyncio.gather(*(delete_user(db, person.id) for person in owners[:5]), step_down)
    assert set(statuses) <= {204, 404, 409}
    left = [each["role"] for each in await list_members(db, workspace_id)]
    removed = (await db.privileged.get_entity("kernel_workspaces", workspace_id) or {})["removed_at"]
    assert left == ["owner"] if removed is None else left == []
    # No membership of an account that is gone.
    assert {each["user_id"] for each in await db.privileged.find_entities("kernel_workspace_members")} <= {last.id}


@pytest.mark.acceptance("AZ4")
@pytest.mark.acceptance("AK3")
async def test_another_process_knows_within_a_second_of_every_end_of_a_membership(twins: Twins) -> None:
    service, db = twins.service, twins.service.db
    ada, bob, eve, ida, uma = await service.people("ada", "bob", "eve", "ida", "uma")
    first, second = await ada.made("first"), await ada.made("second")
    for person in (bob, eve, ida):
        await add_member(db, first, person.id, "admin")
    await add_member(db, second, eve.id, "member")
    key = (await create_api_key(db, ida.id, first, name="CI"))["key"]
    bound = (await create_api_key(db, eve.id, second, name="CI"))["key"]

    async def admin(person: Person) -> object:
        return (await twins.there(person, "GET", f"/w/{first}/admin")).status_code

    async def by_key(text: str) -> object:
        answer = await twins.there(Person(service, uma, text), "GET", "/key")
        return answer.json()[0] if answer.status_code == 200 else answer.status_code

    async def current() -> object:
        return (await twins.there(ada, "GET", "/whoami")).json()

    watched: dict[str, tuple[Callable[[], Awaitable[object]], object, object]] = {
        "removed": (lambda: admin(bob), 200, 404),
        "demoted": (lambda: admin(eve), 200, 403),
        "key of who left": (lambda: by_key(key), first, 401),
        "key of a deleted workspace": (lambda: by_key(bound), second, 401),
        "current workspace": (current, None, first),
        "joined": (lambda: admin(uma), 404, 200),
    }
    for ask, before, _ in watched.values():
        assert await ask() == before
    began = time.monotonic()
    await remove_member(db, first, bob.id)
    await set_member_role(db, first, eve.id, "member")
    await remove_member(db, first, ida.id)
    await delete_workspace(db, second)
    await choose_workspace(db, ada.id, first)
    await add_member(db, first, uma.id, "admin")
    committed = time.monotonic()
    # In this process each of them counts at once.
    assert await bob.status("GET", f"/w/{first}/admin") == 404
    assert await eve.status("GET", f"/w/{first}/admin") == 403
    assert (await service.call("GET", "/key", key)).status_code == 401
    assert (await service.call("GET", "/key", bound)).status_code == 401
    assert (await ada.get("/whoami")).json() == first
    while (asked := time.monotonic()) < committed + REMEMBERED + 0.5:
        for name, (ask, before, after) in watched.items():
            asked = time.monotonic()
            said = await ask()
            assert said == after or (said == before and asked < committed + REMEMBERED), (name, said, asked - began)
        await asyncio.sleep(0.05)


@pytest.mark.acceptance("AZ6")
async def test_no_membership_outlives_an_account_that_is_deleted_meanwhile(twins: Twins) -> None:
    db = twins.service.db
    ada = await twins.service.person("ada")
    workspace_id = await ada.made()
    people = await twins.service.people(*(f"p{number}" for number in range(8)))
    invites = [await create_invite(db, workspace_id, person.email) for person in people[:4]]
    joins = [
        *(accept_invite(db, each["token"], person.id) for each, person in zip(invites, people[:4], strict=True)),
        *(add_member(db, workspace_id, person.id) for person in people[4:6]),
        *(create_workspace(db, "Own", person.id) for person in people[6:]),
    ]
    ends = [delete_user(db, person.id) for person in people]
    mixed = [each for pair in zip(joins, ends, strict=True) for each in pair]
    done = await asyncio.gather(*mixed, return_exceptions=True)
    assert {type(each) for each in done} <= {dict, type(None), AccountNotFound}
    rows = await db.privileged.find_entities("kernel_workspace_members")
    assert [each["user_id"] for each in rows] == [ada.id]
    owned = await db.privileged.find_entities("kernel_workspaces", "[removed_at] IS NULL")
    assert [each["id"] for each in owned] == [workspace_id]


async def remembered(twins: Twins, person: Any, path: str) -> None:
    """Returns once the other process takes this person for an owner; on a slow machine it may have seen less before."""
    for _ in range(100):
        if (await twins.there(person, "GET", path)).json() == "owner":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the other process never learned of the role")


@pytest.mark.acceptance("AZ4")
async def test_a_right_that_ended_in_another_process_a_moment_ago_changes_nothing_more(twins: Twins) -> None:
    db = twins.service.db
    ada, bob, eve = await twins.service.people("ada", "bob", "eve")
    workspace_id = await ada.made()
    path = f"/workspaces/{workspace_id}"
    for person in (bob, eve):
        await add_member(db, workspace_id, person.id, "owner")
    invite = await create_invite(db, workspace_id, "ida@example.com", by=ada.id)
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("PATCH", f"{path}/members/{eve.id}", {"role": "viewer"}),
        ("DELETE", f"{path}/members/{eve.id}", None),
        ("POST", f"{path}/transfer", {"user_id": eve.id}),
        ("POST", f"{path}/invites", {"email": "mallory@example.com"}),
        ("POST", f"{path}/invites/{invite['id']}/resend", None),
        ("DELETE", f"{path}/invites/{invite['id']}", None),
    ]
    for method, target, body in writes:
        # The other process remembers the role, and this one, which it hears nothing of, takes it away.
        await remembered(twins, bob, f"/w/{workspace_id}/admin")
        await set_member_role(db, workspace_id, bob.id, "viewer")
        refused = await twins.there(bob, method, target, body)
        assert refused.status_code == 403, (method, target)
        await set_member_role(db, workspace_id, bob.id, "owner")
    assert (await ada.get(path)).json()["name"] == "Engines"
    assert {each["role"] for each in await list_members(db, workspace_id)} == {"owner"}
    assert [each["id"] for each in await list_invites(db, workspace_id)] == [invite["id"]]
