"""Requests count themselves: for whom they were, at a route template, once; and nobody can have another one pay."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, HTTPException
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app_kernel import UserIdentity, get_current_user
from app_kernel.api_keys import create_api_key
from app_kernel.core.beside import Beside
from app_kernel.core.errors import MeteringError, Unavailable
from app_kernel.core.events import RequestFinished
from app_kernel.core.outbox import Message
from app_kernel.db import create_database
from app_kernel.metering import get_usage, get_usage_by_endpoint, requests, track_usage
from app_kernel.metering.requests import RequestCounts
from app_kernel.testing import KernelClient, kernel_client
from tests.metering.serving import rows_of, settle
from tests.outbox.carrying import until
from tests.saas.serving import Person, Service
from tests.saas.serving import serving as saas_serving
from tests.small_service import call, http_scope, serving, small_app


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/widgets/{id}")
    async def widget(id: str) -> str:
        if id == "none":
            raise HTTPException(404)
        return id

    @router.get("/answers/{status}")
    async def answer(status: int) -> Response:
        return PlainTextResponse("", status)

    @router.get("/mine")
    async def mine(user: Annotated[UserIdentity, Depends(get_current_user)]) -> str:
        return user.id

    return router


async def requests_of(client: KernelClient, **of: Any) -> dict[str, int]:
    """Requests by endpoint."""
    await settle(client.kernel)
    name = client.kernel.name
    parts = await get_usage_by_endpoint(client.admin_db, app=name, **of)
    found = {part["endpoint"]: part["amount"] for part in parts}
    assert sum(found.values()) == (await get_usage(client.admin_db, app=name, **of)).get("requests", 0)
    return found


@pytest.mark.acceptance("EV10")
async def test_many_paths_of_one_route_are_one_label() -> None:
    """EV10, with 200 of the million paths, through the whole service."""
    async with serving(make_router()) as client:
        for number in range(200):
            await call(client.app, http_scope(path=f"/widgets/{number}"))
            await call(client.app, http_scope(path=f"/nowhere/{number}"))
        assert await requests_of(client) == {"GET /widgets/{id}": 200}
        assert len({row["endpoint"] for row in await rows_of(client.admin_db)} - {None}) == 1


@pytest.mark.acceptance("EV10")
async def test_many_requests_take_the_memory_of_their_routes_alone() -> None:
    """EV10, with 200,000 of the million paths."""
    async with serving(make_router()) as client:
        counts, kernel = RequestCounts(), client.kernel
        for number in range(200_000):
            counts.count(kernel, _finished("/widgets/{id}", path=f"/widgets/{number}"))
        assert sum(counts._counts.values()) == 200_000
        assert len(counts._counts) <= 2  # two, should midnight come meanwhile


def _finished(route: str, *, path: str = "/", method: str = "GET", user_id: str | None = None) -> RequestFinished:
    return RequestFinished(method, route, path, 200, 0.001, user_id, "r")


class Anything(HTTPEndpoint):
    async def dispatch(self) -> None:
        await PlainTextResponse("yes")(self.scope, self.receive, self.send)


@pytest.mark.acceptance("EV10")
async def test_made_up_methods_are_one_label() -> None:
    app = small_app()
    app.router.routes.append(Route("/any", Anything))
    async with kernel_client(app) as client:
        for number in range(20):
            assert (await call(app, http_scope(f"MADEUP{number}", "/any"))).status == 200
        assert (await call(app, http_scope("PATCH", "/any"))).status == 200
        assert await requests_of(client) == {"OTHER /any": 20, "PATCH /any": 1}


async def test_what_nobody_would_pay_for_is_not_counted() -> None:
    async with serving(make_router(), api_prefix="/api") as client:
        for path in ("/healthz", "/readyz", "/metrics", "/api/nowhere", "/"):
            await client.get(path)
        await client.post("/api/widgets/1")  # 405
        for status in (402, 429, 500, 503):
            await client.get(f"/api/answers/{status}")
        assert await requests_of(client) == {}
        for status in (200, 204, 302, 400, 404, 409):
            await client.get(f"/api/answers/{status}")
        await client.get("/api/widgets/none")
        await client.get("/api/mine")  # 401
        found = await requests_of(client)
        assert found == {
            "GET /api/answers/{status}": 6,
            "GET /api/widgets/{id}": 1,
            "GET /api/mine": 1,
        }


async def test_requests_and_counts_by_hand_are_one_metric() -> None:
    async with serving(make_router()) as client:
        await client.get("/widgets/1")
        await track_usage(None, app="small", requests=5, tokens=2)
        await settle(client.kernel)
        assert await get_usage(client.admin_db, app="small") == {"requests": 6, "tokens": 2}


@pytest.mark.acceptance("EV9")
async def test_requests_around_midnight_count_on_their_own_days() -> None:
    app = small_app(make_router())
    async with kernel_client(app, frozen_at=datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC)) as client:
        await client.get("/widgets/1")
        client.clock.advance(1)
        await client.get("/widgets/1")
        await client.get("/widgets/1")
        await settle(client.kernel)
        for period, amount in (("2024", 1), ("2024-12-31", 1), ("2025-01", 2), ("2025-01-01", 2)):
            assert await get_usage(client.admin_db, app="small", period=period) == {"requests": amount}


async def test_a_service_that_stops_loses_no_request(tmp_path: Any) -> None:
    urls = {"database_name": f"sqlite:///{tmp_path / 'app.db'}", "admin_db_url": f"sqlite:///{tmp_path / 'admin.db'}"}
    async with kernel_client(small_app(make_router(), **urls), database=None) as client:
        for _ in range(7):
            await client.get("/widgets/1")
    admin = create_database(urls["admin_db_url"])
    await admin.open()
    assert await get_usage(admin.connection(), app="small") == {"requests": 7}
    await admin.close()


async def test_a_database_that_is_away_delays_counts_and_doubles_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_router()) as client:
        counts, store = client.kernel.port(RequestCounts), type(client.db)
        tries: list[list[str]] = []
        plain = store.send_messages

        async def writes_but_says_it_did_not(self: Any, messages: Sequence[Message]) -> None:
            tries.append([message.id for message in messages])
            if len(tries) == 2:
                await plain(self, messages)
            raise Unavailable

        monkeypatch.setattr(store, "send_messages", writes_but_says_it_did_not)
        for _ in range(3):
            await client.get("/widgets/1")
            await counts.flush()
        monkeypatch.setattr(store, "send_messages", plain)
        await client.get("/widgets/2")
        assert tries[0] == tries[1] == tries[2]
        assert len(tries[0]) == 1
        assert await requests_of(client) == {"GET /widgets/{id}": 4}


async def test_two_writes_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_router()) as client:
        counts, store = client.kernel.port(RequestCounts), type(client.db)
        plain, began, go = store.send_messages, asyncio.Event(), asyncio.Event()
        tries: list[str] = []

        async def slow_then_away(self: Any, messages: Sequence[Message]) -> None:
            tries.extend(message.id for message in messages)
            if len(tries) == 1:
                began.set()
                await go.wait()
            elif len(set(tries)) > 1:
                raise Unavailable
            await plain(self, messages)

        monkeypatch.setattr(store, "send_messages", slow_then_away)
        await client.get("/widgets/1")
        first = asyncio.create_task(counts.flush())
        await began.wait()
        await client.get("/widgets/2")
        second = asyncio.create_task(counts.flush())
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, second)
        monkeypatch.setattr(store, "send_messages", plain)
        assert await requests_of(client) == {"GET /widgets/{id}": 2}


async def test_what_could_not_be_written_is_tried_again_without_a_further_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "Beside", partial(Beside, collect=0.01))
    async with serving(make_router()) as client:
        store, refused = type(client.db), asyncio.Event()
        plain = store.send_messages

        async def away_once(self: Any, messages: Sequence[Message]) -> None:
            if not refused.is_set() and messages:
                refused.set()
                raise Unavailable
            await plain(self, messages)

        monkeypatch.setattr(store, "send_messages", away_once)
        await client.get("/widgets/1")
        await asyncio.wait_for(refused.wait(), 10)

        async def is_there() -> bool:
            return await get_usage(client.admin_db, app="small") == {"requests": 1}

        await until("the arrival of the request", is_there)
        assert refused.is_set()


async def test_an_outage_never_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(requests, "CAPACITY", 10)
    async with serving() as client:
        counts = client.kernel.port(RequestCounts)
        for number in range(30):
            counts.count(client.kernel, _finished("/widgets/{id}", user_id=f"u{number % 15}"))
        assert len(counts._counts) == 10
        assert [record.message for record in caplog.records].count("requests_not_counted") == 1
        assert sum((await requests_of(client)).values()) == 20


async def test_long_routes_and_many_callers_are_written_in_parts() -> None:
    async with serving() as client:
        counts = client.kernel.port(RequestCounts)
        for number in range(450):
            counts.count(client.kernel, _finished(f"/{'x' * 300}", user_id=f"u{number}"))
        found = await requests_of(client)
        assert [len(endpoint) for endpoint in found] == [191]
        assert list(found.values()) == [450]
        assert await requests_of(client, user_id="u449") == dict.fromkeys(found, 1)


@pytest.mark.parametrize("user_id", ["", "u" * 400, "u\0", "\ud800"], ids=ascii)
async def test_an_id_that_cannot_be_stored_takes_no_other_request_with_it(user_id: str) -> None:
    async with serving() as client:
        counts = client.kernel.port(RequestCounts)
        for caller in (user_id, "u1"):
            counts.count(client.kernel, _finished("/widgets/{id}", user_id=caller))
        assert await requests_of(client) == {"GET /widgets/{id}": 2}
        assert await requests_of(client, user_id="u1") == {"GET /widgets/{id}": 1}


async def workspace_bills(service: Service, *workspaces: str) -> list[int]:
    await settle(service.kernel)
    found = [await get_usage(service.client.admin_db, app="spaces", workspace_id=each) for each in workspaces]
    return [each.get("requests", 0) for each in found]


async def test_no_request_is_billed_to_a_workspace_of_others() -> None:
    async with saas_serving() as service:
        ada, eve, root = (
            await service.person("ada"),
            await service.person("eve"),
            await service.person("r", role="admin"),
        )
        hers, his = await ada.made("Hers"), await eve.made("His")
        before = await workspace_bills(service, hers, his)
        for caller in (eve, root):
            await _name_everywhere(caller, hers)
        key = (await create_api_key(service.db, user_id=eve.id, name="k"))["key"]
        for path in ("/key", "/whoami", "/role", "/auth/me"):
            await service.call("GET", path, key, x_workspace_id=hers)
            await service.call("GET", f"{path}?workspace_id={hers}", key)
        await service.call("GET", "/whoami", None, x_workspace_id=hers)
        # Both named: she is a member of one of them only.
        await eve.get(f"/whoami?workspace_id={his}", x_workspace_id=hers)
        assert await workspace_bills(service, hers, his) == before
        # And it is not that nothing would be billed.
        await ada.get("/whoami", x_workspace_id=hers)
        await ada.get(f"/w/{hers}/admin")
        assert await workspace_bills(service, hers, his) == [before[0] + 2, before[1]]


async def _name_everywhere(caller: Person, workspace_id: str) -> None:
    for path in ("/whoami", "/role", "/key", "/auth/me", "/usage", "/workspaces"):
        await caller.get(path, x_workspace_id=workspace_id)
        await caller.get(f"{path}?workspace_id={workspace_id}")
        await caller.get(f"{path}?workspace%5Fid={workspace_id}")
    for path in (f"/w/{workspace_id}/admin", f"/workspaces/{workspace_id}", f"/workspaces/{workspace_id}/usage"):
        await caller.get(path)
    await caller.get(f"/admin/usage?workspace_id={workspace_id}")


async def test_who_left_a_workspace_is_not_billed_to_it_any_more() -> None:
    async with saas_serving() as service:
        ada, bob = await service.people("ada", "bob")
        place = await ada.made()
        await service.join(place, bob, "member")
        assert (await bob.get("/whoami", x_workspace_id=place)).json() == place
        before = await workspace_bills(service, place)
        assert await bob.status("POST", f"/workspaces/{place}/leave") == 204
        await bob.get("/whoami", x_workspace_id=place)
        assert await workspace_bills(service, place) == [before[0] + 1]


async def test_a_request_with_a_key_counts_for_its_owner_and_workspace() -> None:
    async with saas_serving() as service:
        ada = await service.person()
        place = await ada.made()
        bound = (await create_api_key(service.db, user_id=ada.id, name="k", workspace_id=place))["key"]
        loose = (await create_api_key(service.db, user_id=ada.id, name="l"))["key"]
        assert (await service.call("GET", "/key", bound)).status_code == 200
        assert (await service.call("GET", "/key", loose)).status_code == 200
        await settle(service.kernel)
        admin, wanted = service.client.admin_db, {"app": "spaces", "metric": "requests"}
        of_user = await get_usage_by_endpoint(admin, user_id=ada.id, **wanted)
        assert {"endpoint": "GET /key", "amount": 2} in of_user
        of_both = await get_usage_by_endpoint(admin, user_id=ada.id, workspace_id=place, **wanted)
        assert {"endpoint": "GET /key", "amount": 1} in of_both


async def test_a_service_that_does_not_meter_counts_nothing_and_says_so() -> None:
    async with serving(make_router(), metering_enabled=False) as client:
        assert (await client.get("/widgets/1")).status_code == 200
        assert (await client.get("/usage")).status_code == 404
        with pytest.raises(MeteringError, match="metering_enabled"):
            await track_usage(None, app="small", tokens=1)
    async with serving(make_router(), features=[]) as client:
        with pytest.raises(MeteringError, match="FEATURES"):
            await track_usage(None, app="small", tokens=1)
