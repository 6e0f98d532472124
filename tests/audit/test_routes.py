"""Who may read what over HTTP: admins of the service all of it, those of a workspace its own, and nobody changes it."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app_kernel.api_keys import create_api_key
from app_kernel.audit import count_audit_logs, get_audit_logs
from app_kernel.audit.routes import make_router
from app_kernel.core.errors import AuditError, Unavailable
from app_kernel.core.route_walk import walk_routes
from app_kernel.testing import KernelClient
from tests.audit.serving import NAME, Audited, audited_service

ADMIN = "/admin/audit-logs"
KINDS = ("", "/count", "/export")


@pytest.fixture
async def service() -> AsyncIterator[Audited]:
    async with audited_service() as running:
        yield running


class Two:
    """Two workspaces with an owner each, a member in the first, and an admin of the service who is in none."""

    def __init__(self, service: Audited) -> None:
        self.service = service

    async def prepared(self) -> "Two":
        client = self.service.client
        self.root = await client.log_in_as("root@example.com", role="admin")
        self.ada, self.bob = await client.log_in_as("ada@example.com"), await client.log_in_as("bob@example.com")
        self.mia = await client.log_in_as("mia@example.com")
        self.first, self.second = [await self._made(person) for person in (self.ada, self.bob)]
        invite = (await self.ada.post(f"/workspaces/{self.first}/invites", json={"email": "mia@example.com"})).json()
        assert (await self.mia.post("/invites/accept", json={"token": invite["token"]})).status_code == 200
        for person, place in ((self.ada, self.first), (self.bob, self.second)):
            assert (await person.post(f"/w/{place}/things")).status_code == 200
        await client.db.save_entity("things", {"name": "of nobody"})
        await self.service.carried()
        return self

    async def _made(self, person: KernelClient) -> str:
        return str((await person.post("/workspaces", json={"name": "Engines"})).json()["id"])


def of(workspace_id: str, rest: str = "") -> str:
    return f"/workspaces/{workspace_id}/audit-logs{rest}"


async def entries(person: KernelClient, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await person.get(path, params={"limit": 200, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def test_admins_of_the_service_read_all_of_it(service: Audited) -> None:
    two = await Two(service).prepared()
    found = await entries(two.root, ADMIN)
    assert {entry["app"] for entry in found} == {"audited"}
    assert {two.first, two.second, None} == {entry["workspace_id"] for entry in found}
    assert [entry["timestamp"] for entry in found] == sorted((entry["timestamp"] for entry in found), reverse=True)
    things = await entries(two.root, ADMIN, entity="things", order="asc", workspace_id=two.first)
    assert [entry["changes"]["name"] for entry in things] == [[None, "gear"]]
    assert things[0]["user_id"] == two.ada.user.id
    assert things[0]["source"] == "request"
    assert things[0]["request_id"]
    assert len(await entries(two.root, ADMIN, action="workspace.created")) == 2
    both = await two.root.get(f"{ADMIN}?action=workspace.*&action=create&limit=1")
    assert both.json()["next_cursor"]
    assert both.headers["cache-control"] == "no-store"
    count = (await two.root.get(f"{ADMIN}/count", params={"entity": "things"})).json()
    assert count == {"count": 3}
    exported = (await two.root.get(f"{ADMIN}/export", params={"entity": "things", "format": "json"})).text
    assert [orjson.loads(line)["entity"] for line in exported.splitlines()] == ["things"] * 3


async def test_the_pages_of_a_list_follow_each_other(service: Audited) -> None:
    two = await Two(service).prepared()
    whole = [entry["id"] for entry in await entries(two.root, ADMIN)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({} if cursor is None else {"cursor": cursor})
        answer = (await two.root.get(ADMIN, params=params)).json()
        seen += [entry["id"] for entry in answer["entries"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == whole


async def test_a_workspaces_owner_sees_its_own_entries_alone_and_no_addresses(service: Audited) -> None:
    two = await Two(service).prepared()
    for person, place, other in ((two.ada, two.first, two.second), (two.bob, two.second, two.first)):
        found = await entries(person, of(place))
        assert {entry["workspace_id"] for entry in found} == {place}
        assert {"create", "workspace.created"} <= {entry["action"] for entry in found}
        assert not {"address", "trace_id", "command", "app"} & set(found[0])
        exported = (await person.get(of(place, "/export"))).text
        rows = list(csv.DictReader(io.StringIO(exported, newline="")))
        assert {row["workspace_id"] for row in rows} == {place}
        assert not {"address", "trace_id", "command", "app"} & set(rows[0])
        assert other not in exported
        assert (await person.get(of(place, "/count"))).json() == {"count": len(found)} == {"count": len(rows)}


@pytest.mark.acceptance("AZ2")
async def test_what_a_row_was_in_another_workspace_is_not_shown_in_the_one_it_came_to(service: Audited) -> None:
    two = await Two(service).prepared()
    db = service.db
    plan = await db.save_entity("plans", {"workspace_id": two.second, "text": "bobs-plan", "kept": 1})
    await db.save_entity("plans", {"id": plan["id"], "workspace_id": two.first, "text": "adas-plan"})
    await db.save_entity("plans", {"id": plan["id"], "text": "later"})
    assert await db.delete_entity("plans", plan["id"], permanent=True)
    await service.carried()
    came, changed, purged = await entries(two.ada, of(two.first), entity="plans", order="asc")
    assert came["changes"] == {"workspace_id": [None, two.first], "text": [None, "adas-plan"]}
    assert changed["changes"] == {"text": ["adas-plan", "later"]}
    assert (purged["changes"]["text"], purged["changes"]["workspace_id"]) == (["later", None], [two.first, None])
    for file_format in ("csv", "json"):
        exported = (await two.ada.get(of(two.first, f"/export?entity=plans&format={file_format}"))).text
        assert "adas-plan" in exported
        assert not {word for word in ("bobs-plan", two.second) if word in exported}
    [whole] = await entries(two.root, ADMIN, entity="plans", workspace_id=two.first, limit=1, order="asc")
    assert whole["changes"]["text"] == ["bobs-plan", "adas-plan"]


ATTACKS: list[dict[str, str]] = [
    {"workspace_id": "{other}"},
    {"entity": "things' OR '1'='1"},
    {"entity_id": "x) OR ([app] = 'audited'"},
    {"action": "*"},
    {"user_id": "{victim}"},
    {"since": "0001-01-01", "until": "9998-01-01"},
]


@pytest.mark.acceptance("AZ2")
async def test_no_parameter_shows_the_entries_of_another_workspace(service: Audited) -> None:
    two = await Two(service).prepared()
    page = (await two.root.get(ADMIN, params={"workspace_id": two.second, "limit": 1})).json()
    attacks = [*ATTACKS, {"cursor": page["next_cursor"]}]
    for attack in attacks:
        params = {name: value.format(other=two.second, victim=two.bob.user.id) for name, value in attack.items()}
        for kind in KINDS:
            answer = await two.ada.get(of(two.first, kind), params=params)
            assert answer.status_code in {200, 400}, answer.text
            assert two.second not in answer.text
            assert two.bob.user.id not in answer.text
    for headers in ({"X-Workspace-ID": two.second}, {"X-Workspace-ID": ""}):
        assert (await two.ada.get(of(two.first), headers=headers)).status_code in {400, 404}


@pytest.mark.acceptance("AZ2")
async def test_others_read_nothing(service: Audited) -> None:
    two = await Two(service).prepared()
    key = (await create_api_key(service.db, two.root.user.id, name="k", scopes=["*"]))["key"]
    for kind in KINDS:
        assert (await service.client.get(ADMIN + kind)).status_code == 401
        assert (await service.client.get(of(two.first, kind))).status_code == 401
        assert (await two.ada.get(ADMIN + kind)).status_code == 403
        assert (await two.ada.get(of(two.second, kind))).status_code == 404
        assert (await two.mia.get(of(two.first, kind))).status_code == 403
        assert (await two.root.get(of(two.first, kind))).status_code == 404
        assert (await two.ada.get(of("nowhere", kind))).status_code == 404
        with_key = {"Authorization": f"Bearer {key}"}
        assert (await service.client.get(ADMIN + kind, headers=with_key)).status_code in {401, 403}
        assert (await service.client.get(of(two.first, kind), headers=with_key)).status_code in {401, 403}


@pytest.mark.acceptance("EV5")
async def test_no_route_writes_to_the_audit_log(service: Audited) -> None:
    """EV5: the API has no write route."""
    two = await Two(service).prepared()
    paths = [place + kind for place in (ADMIN, "/workspaces/{workspace_id}/audit-logs") for kind in KINDS]
    routes = {route.path: route.methods for route in walk_routes(make_router().routes)}
    assert routes == {path: {"GET"} for path in paths}
    for path in paths:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await two.root.request(method, path.format(workspace_id=two.first))
            assert answer.status_code == 405


async def test_a_filter_that_is_none_is_refused(service: Audited) -> None:
    root = await service.client.log_in_as("root@example.com", role="admin")
    for query in ("limit=0", "limit=201", "since=x", "cursor=x", "order=up", "format=xml"):
        path = f"{ADMIN}/export" if query.startswith(("format", "since")) else ADMIN
        answer = await root.get(f"{path}?{query}")
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.acceptance("OP5")
async def test_while_the_admin_database_is_away_reading_says_so_and_saving_works(
    service: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = await Two(service).prepared()

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("The admin database at 10.0.0.7 is down.")

    monkeypatch.setattr(service.client.kernel, "admin_is_open", False)
    for path in (ADMIN, f"{ADMIN}/export", of(two.first)):
        person = two.root if path.startswith(ADMIN) else two.ada
        answer = await person.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await two.ada.post(f"/w/{two.first}/things")).status_code == 200
    monkeypatch.setattr(service.client.kernel, "admin_is_open", True)
    monkeypatch.setattr("app_kernel.audit.store.find_entries", away)
    assert (await two.root.get(ADMIN)).status_code == 503
    exported = await two.root.get(f"{ADMIN}/export")
    assert exported.status_code == 503
    assert "10.0.0.7" not in exported.text


async def test_a_handle_of_the_app_database_is_refused_instead_of_showing_an_empty_log(service: Audited) -> None:
    for read in (get_audit_logs, count_audit_logs):
        with pytest.raises(AuditError, match="admin database"):
            await read(service.client.db, app=NAME)  # type: ignore[operator]
