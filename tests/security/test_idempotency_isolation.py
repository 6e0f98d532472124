"""A kept answer goes to nobody who would not get a new one, and what is kept is of no use to anybody else."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app_kernel.api_keys import create_api_key, revoke_api_key
from app_kernel.auth import create_user, deactivate_user, set_role
from app_kernel.encryption import KeyRing
from app_kernel.idempotency.answers import PURPOSE
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS
from tests.idempotency.serving import SECRET, Service, serving

ORDER = {"item": "gear"}


@pytest.fixture(params=SERVICE_BACKENDS)
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with BACKENDS[request.param]() as place:
        yield place.url


@pytest.fixture
async def service(url: str) -> AsyncIterator[Service]:
    async with serving(url) as running:
        yield running


@pytest.fixture
async def with_accounts(url: str) -> AsyncIterator[Service]:
    async with serving(url, accounts=True) as running:
        yield running


async def kept(service: Service) -> list[dict[str, Any]]:
    """What is kept of answers, opened."""
    ring, opened = KeyRing([SECRET]), []
    for row in await service.keys():
        if row["answer"] is None:
            opened.append({"state": row["state"]})
            continue
        head, _, body = ring.unseal(PURPOSE, row["answer"]).partition(b"\n")
        status, headers = orjson.loads(head)
        opened.append({"status": status, "headers": dict(headers), "body": body})
    return opened


async def test_the_repeat_of_a_deactivated_user_is_401(with_accounts: Service) -> None:
    token = await with_accounts.token("ada@example.com")
    assert (await with_accounts.post("/orders", token, "k", json=ORDER)).status_code == 201
    user_id = (await with_accounts.call("GET", "/auth/me", token)).json()["id"]
    await deactivate_user(with_accounts.db, user_id)
    answer = await with_accounts.post("/orders", token, "k", json=ORDER)
    assert answer.status_code == 401
    assert "number" not in answer.json()


async def test_the_repeat_of_a_session_that_was_ended_is_401(with_accounts: Service) -> None:
    token = await with_accounts.token("ada@example.com")
    await with_accounts.post("/orders", token, "k", json=ORDER)
    await with_accounts.post("/auth/logout", token)
    assert (await with_accounts.post("/orders", token, "k", json=ORDER)).status_code == 401


async def test_the_repeat_of_a_user_who_lost_the_role_is_403(with_accounts: Service) -> None:
    token = await with_accounts.token("ada@example.com", role="admin")
    assert (await with_accounts.post("/admin", token, "k")).status_code == 200
    user_id = (await with_accounts.call("GET", "/auth/me", token)).json()["id"]
    await set_role(with_accounts.db, user_id, "user")
    assert (await with_accounts.post("/admin", token, "k")).status_code in (401, 403)
    assert with_accounts.shop.ran["admin"] == 1


@pytest.mark.acceptance("RL4")
async def test_the_repeat_with_a_revoked_api_key_is_401(service: Service) -> None:
    assert (await service.post("/machine", "sk_good", "k")).status_code == 200
    del service.shop.keys["sk_good"]
    answer = await service.post("/machine", "sk_good", "k")
    assert (answer.status_code, service.shop.ran["machine"]) == (401, 1)


@pytest.mark.acceptance("RL4")
async def test_real_api_keys_have_keys_of_their_own_and_a_revoked_one_gets_no_repeat(with_accounts: Service) -> None:
    db, user = with_accounts.db, await create_user(with_accounts.db, "ci@example.com", "plum tree over water")
    made = [await create_api_key(db, user.id, name=name, scopes=["deployments:write"]) for name in ("ci", "other")]
    numbers = [
        (await with_accounts.post("/deployments", made[which]["key"], "k")).json()["number"] for which in (0, 1, 0)
    ]
    assert numbers == [1, 2, 1]
    await revoke_api_key(db, made[0]["id"])
    assert (await with_accounts.post("/deployments", made[0]["key"], "k")).status_code == 401
    assert with_accounts.shop.ran["deployments"] == 2


async def test_an_api_key_that_is_shown_once_is_never_kept(with_accounts: Service) -> None:
    token = await with_accounts.token("ada@example.com")
    first = await with_accounts.post("/api-keys", token, "k", json={"name": "ci"})
    again = await with_accounts.post("/api-keys", token, "k", json={"name": "ci"})
    assert (first.status_code, again.status_code) == (201, 409)
    assert await kept(with_accounts) == [{"state": "done"}]


async def test_an_api_key_that_no_route_accepted_is_nobody(service: Service) -> None:
    for credential in ("sk_good", "sk_forged", "sk_forged"):
        await service.post("/machine", credential, "k")
    assert (len(await service.keys()), service.shop.ran["machine"]) == (1, 1)
    numbers = [(await service.post("/open", None, "k")).json()["number"] for _ in range(2)]
    assert numbers == [1, 2]


@pytest.mark.acceptance("RL4")
async def test_a_key_never_gives_what_another_user_got(service: Service) -> None:
    mine = await service.post("/orders", "user:ada", "k", json=ORDER)
    for guess in ("user:bob", "user:ada ", "user:ADA", "user:", "user:ada\x00"):
        theirs = await service.post("/orders", guess, "k", json=ORDER, headers={"X-Workspace-ID": ""})
        assert theirs.content != mine.content, guess
        assert "idempotency-replayed" not in theirs.headers


async def test_no_choice_of_key_and_workspace_makes_one_scope_of_two(service: Service) -> None:
    spelled = [("a", "bk"), ("ab", "k"), ("", "abk")]
    for workspace, key in spelled:
        await service.post("/payments", "user:ada", key, headers={"X-Workspace-ID": workspace})
    await service.post("/payments", "user:adaa", "bk")
    assert service.shop.ran["payments"] == len(spelled) + 1


@pytest.mark.acceptance("RL5")
async def test_cookies_credentials_and_the_request_id_are_never_kept(service: Service) -> None:
    first = await service.post("/orders", "user:ada", "k", json=ORDER)
    second = await service.post("/orders", "user:ada", "k", json=ORDER)
    assert "secret-cookie" in first.headers["set-cookie"]
    (answer,) = await kept(service)
    assert answer["headers"].keys() == {"content-type", "etag", "location"}
    assert "set-cookie" not in second.headers
    assert second.headers["x-request-id"] not in ("first", first.headers["x-request-id"])
    assert b"secret-cookie" not in orjson.dumps(await service.keys(), default=str)


@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("path", ["/secret", "/secret-by-exchange"])
async def test_an_answer_that_says_no_store_is_never_kept(service: Service, path: str) -> None:
    first = await service.post(path, "user:ada", "k")
    assert first.json() == {"token": "once-only"}
    assert "no-store" in first.headers["cache-control"]
    assert await kept(service) == [{"state": "done"}]
    again = await service.post(path, "user:ada", "k")
    assert (again.status_code, service.shop.ran[path.strip("/")]) == (409, 1)
    assert "once-only" not in again.text


@pytest.mark.acceptance("RL5")
async def test_tokens_of_the_auth_routes_are_never_kept(with_accounts: Service) -> None:
    token = await with_accounts.token("ada@example.com")
    login = {"email": "ada@example.com", "password": "plum tree over water"}
    tokens = [(await with_accounts.post("/auth/login", token, "k", json=login)).json() for _ in range(2)]
    assert tokens[0]["refresh_token"] != tokens[1]["refresh_token"]
    assert await with_accounts.keys() == []


async def test_what_is_kept_is_sealed_and_a_body_cannot_be_guessed_from_its_fingerprint(service: Service) -> None:
    await service.post("/orders", "user:ada", "my-key", json={"item": "a very private thing"})
    stored = orjson.dumps(await service.keys(), default=str)
    assert b"private" not in stored
    assert b"my-key" not in stored
    (answer,), (row,) = await kept(service), await service.keys()
    assert b"very private" in answer["body"]
    others = await _fingerprint_elsewhere()
    assert row["fingerprint"] not in others


async def test_an_answer_is_opened_after_the_secret_was_rotated_and_withheld_once_it_is_gone(url: str) -> None:
    new = "the-next-secret-of-the-tests-0123456789abcd"
    async with serving(url) as before:
        first = await before.post("/orders", "user:ada", "k", json=ORDER)
    async with serving(url, jwt_secret=new, jwt_secret_previous=SECRET) as rotated:
        assert (await rotated.post("/orders", "user:ada", "k", json=ORDER)).content == first.content
    async with serving(url, jwt_secret=new) as forgot:
        answer = await forgot.post("/orders", "user:ada", "k", json=ORDER)
        assert answer.status_code in (409, 422)
        assert forgot.shop.ran["orders"] == 0


async def _fingerprint_elsewhere() -> list[str]:
    """The fingerprint of the same request under another service's secret."""
    async with BACKENDS["sqlite"]() as place, serving(place.url, jwt_secret="another-" * 5) as other:
        await other.post("/orders", "user:ada", "my-key", json={"item": "a very private thing"})
        return [row["fingerprint"] for row in await other.keys()]
