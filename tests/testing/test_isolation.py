"""The proof of isolation finds every planted hole by the name of its route, and nothing where there is none."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, Depends, Response
from starlette.staticfiles import StaticFiles

from app_kernel import KernelError, UserIdentity, get_current_user, get_current_user_optional, public
from app_kernel.api_keys import Auth, require_scope
from app_kernel.core.exchange import failures
from app_kernel.db import db_connection
from app_kernel.testing import IsolationReport, KernelClient, assert_tenant_isolation, kernel_client
from tests.testing import boards
from tests.testing.boards import WORKSPACE, boards_app

MayRead = Depends(require_scope("notes:read"))

HOLES = [
    (boards.missing_filter, "leak", f"GET {WORKSPACE}/everything"),
    (boards.get_without_check, "leak", f"GET {WORKSPACE}/peek/{{board_id}}"),
    (boards.trusted_body_id, "changed", f"POST {WORKSPACE}/archive"),
    (boards.update_by_foreign_id, "changed", f"PUT {WORKSPACE}/rename/{{board_id}}"),
    (boards.delete_without_check, "changed", "DELETE /burn/{board_id}"),
    (boards.header_and_path_disagree, "leak", "GET /spaces/{space}/boards"),
    (boards.leak_in_an_error, "leak", f"GET {WORKSPACE}/show/{{board_id}}"),
    (boards.forbidden_instead_of_not_found, "told", f"GET {WORKSPACE}/look/{{board_id}}"),
    (boards.leak_through_a_conflict, "told", f"POST {WORKSPACE}/labels"),
    (boards.workspace_of_the_body, "changed", f"POST {WORKSPACE}/notes"),
    (boards.query_without_check, "leak", f"GET {WORKSPACE}/page"),
    (boards.rows_elsewhere, "leak", f"GET {WORKSPACE}/uploads/{{upload_id}}"),
    (boards.shared_cache, "leak", f"GET {WORKSPACE}/summary"),
    (boards.failing, "failed", f"GET {WORKSPACE}/ratio/{{board_id}}"),
    (boards.never_good, "never exercised", f"POST {WORKSPACE}/odd"),
    (boards.no_policy, "undeclared", "GET /hello"),
]


async def findings_of(app: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        await assert_tenant_isolation(app, **options)
    return str(caught.value)


def lines_of(text: str) -> list[str]:
    return [line.removeprefix("  - ") for line in text.splitlines() if line.startswith("  - [")]


async def test_a_sound_service_passes_and_everybody_got_what_is_theirs():
    report = await assert_tenant_isolation(boards_app())
    assert isinstance(report, IsolationReport)
    assert report.findings == []
    row = report.matrix[f"PATCH {WORKSPACE}/boards/{{board_id}}"]
    assert {name: row[name] for name in ("anonymous", "user", "viewer", "member", "owner", "other_owner")} == {
        "anonymous": 401, "user": 404, "viewer": 403, "member": 200, "owner": 200, "other_owner": 404,
    }  # fmt: skip
    assert {row[name] for name in ("key", "key_of_workspace", "revoked_key", "expired_token")} == {401}
    assert report.requests > 300


@pytest.fixture(scope="module")
def found() -> list[str]:
    """What is found in a service with all of the holes."""
    return lines_of(asyncio.run(findings_of(boards_app(*(hole for hole, _, _ in HOLES)))))


# In one process, which looks once.
@pytest.mark.xdist_group("isolation")
@pytest.mark.parametrize(("hole", "kind", "route"), HOLES, ids=lambda each: getattr(each, "__name__", None))
def test_a_hole_is_found_by_name(hole, kind, route, found):
    assert any(line.startswith(f"[{kind}] {route}") for line in found), found


@pytest.mark.xdist_group("isolation")
def test_no_sound_route_is_accused(found):
    planted = {route for _, _, route in HOLES}
    assert [line for line in found if not any(route in line for route in planted)] == []


async def test_all_holes_are_listed_at_once_with_who_and_what():
    text = await findings_of(boards_app(boards.missing_filter, boards.no_policy, boards.update_by_foreign_id))
    assert "findings about the isolation of workspaces" in text
    assert f"[leak] GET {WORKSPACE}/everything" in text
    assert "(as other_owner, viewer, member, admin, owner)" in text
    assert "does not say who may call it" in text
    assert "tests.testing.boards.no_policy.<locals>.hello" in text
    assert f"PUT {WORKSPACE}/rename" in text
    assert "{board_id} is the other workspace's: PUT /workspaces/" in text


async def test_what_is_told_of_a_hole_can_be_read_and_says_what_to_do():
    router = APIRouter()

    @router.get(WORKSPACE + "/crash")
    async def crash(member: Any = boards.Member) -> None:
        raise ZeroDivisionError("nothing to divide by")

    @router.get(WORKSPACE + "/blob")
    async def blob(member: Any = boards.Member, db: Any = boards.Db) -> Response:
        rows = str(await db.find_entities("boards"))
        return Response(b"\x00\xff\x1b" * 20 + rows.encode() + bytes(40), media_type="application/octet-stream")

    app = boards_app(boards.header_and_path_disagree)
    app.include_router(router)
    with pytest.raises(AssertionError) as caught:
        await assert_tenant_isolation(app)
    text, (*_, last) = str(caught.value), caught.traceback
    assert last.ishidden(caught), "pytest shows the line of the test"
    assert [line.split(" answered")[0] for line in lines_of(text)] == [
        "[leak] GET /spaces/{space}/boards",
        f"[failed] GET {WORKSPACE}/crash",
        f"[leak] GET {WORKSPACE}/blob",
    ], "one for each route, and what fails is not told to be never exercised as well"
    assert "answered 500 ZeroDivisionError: nothing to divide by (as " in text
    assert text.count("GET /spaces/") == 1 + 4, "one request for each place"
    assert all(line.isprintable() and "\ufffd" not in line for line in text.splitlines())
    assert "with a text of workspace A: ...{'id': '" in text
    assert "db.in_workspace(member.workspace_id)" in text.splitlines()[-1]
    assert failures.get() is None, "outside of it nothing keeps what a request raised"


async def test_no_advice_is_given_where_nothing_crosses():
    text = await findings_of(boards_app(boards.never_good))
    assert text.startswith("1 finding about the isolation of workspaces:")
    assert "in_workspace" not in text


async def test_a_route_is_open_on_purpose_only_where_it_says_so(tmp_path):
    router = APIRouter()

    @router.get("/maybe")
    async def maybe(user: UserIdentity | None = Depends(get_current_user_optional)) -> str:
        return "hello"

    @router.get("/open")
    @public
    async def open_to_all() -> str:
        return "hello"

    app = boards_app()
    app.include_router(router)
    app.mount("/files", StaticFiles(directory=tmp_path))
    app.mount("/assets", public(StaticFiles(directory=tmp_path)))
    found = lines_of(await findings_of(app))
    assert [line.split(" (")[0] for line in found] == ["[undeclared] GET /maybe", "[undeclared] MOUNT /files"]


async def test_dependencies_of_a_router_count_and_keys_are_tried():
    router = APIRouter(prefix="/v1", dependencies=[Depends(get_current_user)])

    @router.get("/me")
    async def me() -> str:
        return "hello"

    keys = APIRouter()

    @keys.get("/mine")
    async def mine(auth: Auth = MayRead, db: Any = Depends(db_connection)) -> Any:
        return await db.find_entities("boards")

    @keys.get("/whose")
    async def whose(auth: Auth = MayRead) -> Any:
        return {"workspace": auth.workspace_id}

    app = boards_app()
    app.include_router(router)
    app.include_router(keys)
    found = lines_of(await findings_of(app))
    assert {line.split(" answered")[0] for line in found} == {"[leak] GET /mine"}
    assert "key_of_workspace" in found[0]
    assert "key_without_scopes" not in found[0]


async def test_a_service_says_itself_what_no_schema_says():
    router = APIRouter()

    @router.post(WORKSPACE + "/codes", status_code=201)
    async def add(data: dict[str, Any], member: Any = boards.Writer, db: Any = boards.Db) -> Any:
        assert data["code"].startswith("code-")
        return await db.save_entity("codes", {"code": data["code"], "workspace_id": member.workspace_id})

    @router.get(WORKSPACE + "/imports/{source}")
    async def imported(source: str, member: Any = boards.Member, db: Any = boards.Db) -> Any:
        found = await db.find_entities("imports", "[source] = ?", (source,))
        return found[0] if found else boards._not_found()

    async def seed(client: KernelClient, workspace_id: str, marker: str) -> dict[str, str]:
        await client.db.save_entity("imports", {"source": f"file-{marker}", "workspace_id": workspace_id})
        return {"source": f"file-{marker}"}

    app = boards_app()
    app.include_router(router)
    bodies = {f"POST {WORKSPACE}/codes": lambda workspace_id, marker: {"code": f"code-{marker}"}}
    text = await findings_of(app, seed=seed, bodies=bodies)
    assert [line.split(" answered")[0] for line in lines_of(text)][:1] == [f"[leak] GET {WORKSPACE}/imports/{{source}}"]
    left_out = [f"GET {WORKSPACE}/imports/{{source}}"]
    report = await assert_tenant_isolation(app, seed=seed, bodies=bodies, exclude=left_out)
    assert left_out[0] not in report.matrix
    assert report.matrix[f"POST {WORKSPACE}/codes"]["owner"] == 201
    with pytest.raises(KernelError, match="no route 'GET /nope'"):
        await assert_tenant_isolation(app, exclude=["GET /nope"])


async def test_two_runs_say_the_same_and_leave_the_service_as_it_was():
    app = boards_app(rate_limit_requests=3)
    first, second = await assert_tenant_isolation(app), await assert_tenant_isolation(app)
    assert first.table() == second.table()
    async with kernel_client(app) as client:
        ada = await client.log_in_as("ada@example.com")
        assert [(await ada.get("/auth/me")).status_code for _ in range(4)] == [200, 200, 200, 429]


async def test_a_service_without_workspaces_has_nothing_to_prove():
    with pytest.raises(KernelError, match="saas_enabled"):
        await assert_tenant_isolation(boards_app(saas_enabled=False))


def test_a_mark_needs_something_to_stand_on():
    with pytest.raises(TypeError, match="put the decorator on the function"):
        public(len)


def test_the_mark_leaves_a_function_as_it_is():
    async def endpoint(a: int) -> int:
        return a

    assert public(endpoint) is endpoint
