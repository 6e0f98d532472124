"""Usage over HTTP: one's own, that of one's workspace for those who run it, everything for admins; nothing else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app_kernel.api_keys import create_api_key
from app_kernel.metering import track_usage
from tests.metering.serving import settle
from tests.saas.serving import Person, Service
from tests.saas.serving import serving as saas_serving

PATHS = ("", "/endpoints", "/days")
PERIOD = "period=2025-01&metric=tokens"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with saas_serving() as running:
        yield running


async def use(service: Service, tokens: int, **of: Any) -> None:
    at = datetime(2025, 1, 15, tzinfo=UTC)
    await track_usage(None, app="spaces", endpoint="POST /answers", at=at, tokens=tokens, **of)


async def amounts(person: Person, path: str, **query: str) -> list[int]:
    """The tokens that each of the three routes tells of."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    found = []
    for part in PATHS:
        wanted = PERIOD if part else "period=2025-01"
        answer = await person.get(f"{path}{part}?{wanted}{more}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        told = answer.json()
        assert told.pop("period") == "2025-01"
        if not part:
            found.append(told["usage"].get("tokens", 0))
        else:
            found.append(sum(each["amount"] for each in told[part[1:]]))
    return found


async def test_everybody_sees_their_own_usage_and_nobody_elses(service: Service) -> None:
    ada, eve = await service.people("ada", "eve")
    place = await ada.made()
    await use(service, 1, user_id=ada.id, workspace_id=place)
    await use(service, 20, user_id=ada.id)
    await use(service, 300, user_id=eve.id, workspace_id=place)
    await settle(service.kernel)
    assert await amounts(ada, "/usage") == [21] * 3
    assert await amounts(eve, "/usage") == [300] * 3
    # Whoever is named, it is the caller's own.
    assert await amounts(eve, "/usage", user_id=ada.id) == [300] * 3
    assert await amounts(eve, "/usage", workspace_id=place) == [300] * 3


async def test_admins_of_a_workspace_see_its_usage_and_no_other_ones(service: Service) -> None:
    ada, bob, eve = await service.people("ada", "bob", "eve")
    hers, his = await ada.made("Hers"), await eve.made("His")
    await service.join(hers, bob, "admin")
    await use(service, 1, user_id=bob.id, workspace_id=hers)
    await use(service, 20, user_id=ada.id, workspace_id=hers)
    await use(service, 300, user_id=bob.id, workspace_id=his)
    await use(service, 4000, user_id=bob.id)
    await settle(service.kernel)
    for caller in (ada, bob):
        assert await amounts(caller, f"/workspaces/{hers}/usage") == [21] * 3
        assert await amounts(caller, f"/workspaces/{hers}/usage", user_id=bob.id) == [1] * 3
        assert await amounts(caller, f"/workspaces/{hers}/usage", user_id=eve.id) == [0] * 3
    assert await amounts(eve, f"/workspaces/{his}/usage") == [300] * 3


async def test_outsiders_and_members_of_lower_rank_see_nothing(service: Service) -> None:
    ada, bob, cid, eve = await service.people("ada", "bob", "cid", "eve")
    root = await service.person("root", role="admin")
    place, his = await ada.made(), await eve.made("His")
    await service.join(place, bob, "member")
    await service.join(place, cid, "viewer")
    key = (await create_api_key(service.db, user_id=ada.id, name="k", workspace_id=place))["key"]
    for part in PATHS:
        path = f"/workspaces/{place}/usage{part}"
        for caller, status in ((bob, 403), (cid, 403), (eve, 404), (root, 404)):
            assert await caller.status("GET", path) == status, (part, caller.email)
        assert await eve.status("GET", f"{path}?workspace_id={his}") == 400
        assert (await eve.get(f"/workspaces/{his}/usage{part}", x_workspace_id=place)).status_code == 400
        for caller in (ada, bob, eve):
            assert await caller.status("GET", f"/admin/usage{part}") == 403
            assert await caller.status("GET", f"/admin/usage{part}?workspace_id={place}") == 403
        for path in (f"/usage{part}", f"/workspaces/{place}/usage{part}", f"/admin/usage{part}"):
            for credential in (None, key):
                assert (await service.call("GET", path, credential)).status_code == 401


async def test_admins_of_the_service_see_all_of_it(service: Service) -> None:
    ada, root = await service.person("ada"), await service.person("root", role="admin")
    place = await ada.made()
    await use(service, 1, user_id=ada.id, workspace_id=place)
    await use(service, 20, user_id=ada.id)
    await use(service, 300, workspace_id=place)
    await track_usage(None, app="another", tokens=5000, user_id=ada.id)
    await settle(service.kernel)
    assert await amounts(root, "/admin/usage") == [321] * 3
    assert await amounts(root, "/admin/usage", workspace_id=place) == [301] * 3
    assert await amounts(root, "/admin/usage", user_id=ada.id) == [21] * 3
    assert await amounts(root, "/admin/usage", user_id=ada.id, workspace_id=place) == [1] * 3


async def test_answers_name_their_parts(service: Service) -> None:
    ada = await service.person()
    await use(service, 7, user_id=ada.id)
    await settle(service.kernel)
    assert (await ada.get("/usage?period=2025")).json() == {"period": "2025", "usage": {"tokens": 7}}
    endpoints = {"period": "2025", "metric": "tokens", "endpoints": [{"endpoint": "POST /answers", "amount": 7}]}
    assert (await ada.get("/usage/endpoints?period=2025&metric=tokens&limit=1")).json() == endpoints
    days = {"period": "2025", "metric": "tokens", "days": [{"day": "2025-01-15", "amount": 7}]}
    assert (await ada.get("/usage/days?period=2025&metric=tokens")).json() == days


@pytest.mark.parametrize("query", ["period=2025-13", "period=now", "period=", "period=%00", "period=2025-01-15T00"])
async def test_what_is_no_period_is_a_problem(service: Service, query: str) -> None:
    ada = await service.person()
    for part in PATHS:
        assert await ada.status("GET", f"/usage{part}?{query}") == 422
    assert await ada.status("GET", "/usage/days?metric=A%00") == 422
    assert await ada.status("GET", "/usage/endpoints?limit=1001") == 422


async def test_without_the_admin_database_there_is_a_problem_and_no_number(service: Service) -> None:
    ada = await service.person()
    service.kernel.admin_is_open = False
    try:
        for part in PATHS:
            answer = await ada.get(f"/usage{part}")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
    finally:
        service.kernel.admin_is_open = True
