"""API keys where callers without a user are limited by address: no good key suffers, no made-up key gets around it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, WebSocket

from app_kernel.api_keys import Auth, create_api_key, require_scope, revoke_api_key
from app_kernel.api_keys.key_text import make_key
from app_kernel.api_keys.wrong_keys import LIMIT
from app_kernel.core import clock
from app_kernel.rate_limit.accepted_keys import REMEMBER, AcceptedKeys, mark_of
from app_kernel.testing import KernelClient
from tests.rate_limit.places import from_address, left, serving
from tests.small_service import http_scope

ANONYMOUS, OWN = 4, 12

needs_scope = require_scope("a:b")
router = APIRouter()


@router.get("/open")
async def open_to_all() -> str:
    return "open"


@router.get("/keyed")
async def keyed(auth: Auth = Depends(needs_scope)) -> str:
    return auth.user_id


@router.post("/upload")
async def upload(amount: int, auth: Auth = Depends(needs_scope)) -> str:
    return f"{amount} of {auth.user_id}"


@router.websocket("/talk")
async def talk(socket: WebSocket, auth: Auth = Depends(needs_scope)) -> None:
    await socket.accept()
    await socket.close()


@pytest.fixture
async def client() -> AsyncIterator[KernelClient]:
    limits = {"rate_limit_anonymous": ANONYMOUS, "rate_limit_requests": OWN}
    async with serving(router, **limits) as running:
        yield running


async def key_of(client: KernelClient, name: str = "CI") -> tuple[Any, dict[str, Any]]:
    ada = await client.log_in_as("ada@example.com")
    return ada, await create_api_key(client.db, ada.user.id, name=name, scopes=["a:b"])


def as_key(text: str) -> dict[str, str]:
    return {"X-API-Key": text}


async def statuses(client: Any, path: str, times: int, **options: Any) -> list[int]:
    return [(await client.get(path, **options)).status_code for _ in range(times)]


async def test_requests_with_a_good_key_count_for_their_owner_and_not_by_address(client: KernelClient) -> None:
    _, key = await key_of(client)
    with clock.frozen(clock.now()) as stopped:
        assert await statuses(client, "/keyed", OWN + 2, headers=as_key(key["key"])) == [200] * OWN + [429] * 2
        # One was counted by address, before it was known whose key it is; the others left all of that to others.
        assert await statuses(client, "/open", ANONYMOUS) == [200] * (ANONYMOUS - 1) + [429]
        stopped.advance(61)
        assert (await client.get("/keyed", headers=as_key(key["key"]))).status_code == 200


async def test_a_good_key_goes_on_where_its_address_has_used_up_everything(client: KernelClient) -> None:
    _, key = await key_of(client)
    for header in (as_key(key["key"]), {"Authorization": f"Bearer {key['key']}"}):
        assert (await client.get("/keyed", headers=header)).status_code == 200
        assert 429 in await statuses(client, "/open", ANONYMOUS + 1)
        answer = await client.get("/keyed", headers=header)
        assert (answer.status_code, left(answer)[0]) == (200, "default")


async def test_a_key_counts_each_request_once(client: KernelClient) -> None:
    ada, key = await key_of(client)
    told = [left(await client.get("/keyed", headers=as_key(key["key"])))[:2] for _ in range(4)]
    assert told == [("default", OWN - used) for used in (1, 2, 3, 4)]
    # On a route that asks for no key, too, and in the same bucket as the owner's own requests.
    assert left(await client.get("/open", headers=as_key(key["key"])))[:2] == ("default", OWN - 5)
    assert left(await ada.get("/open"))[:2] == ("default", OWN - 6)


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
async def test_a_made_up_key_is_no_way_around_the_limit_of_an_address(client: KernelClient, header: str) -> None:
    await key_of(client)
    for path, passes in (("/open", 200), ("/keyed", 401), ("/upload?amount=x", 405)):
        async with from_address(client, f"address of {path}") as elsewhere:
            told = []
            for _ in range(ANONYMOUS + 3):
                value = make_key() if header == "X-API-Key" else f"Bearer {make_key()}"
                told.append((await elsewhere.get(path, headers={header: value})).status_code)
            assert told == [passes] * ANONYMOUS + [429] * 3, path


async def test_a_key_that_is_not_looked_at_before_the_request_fails_counts_by_address(client: KernelClient) -> None:
    _, key = await key_of(client)
    broken = [
        (await client.post("/upload", content=b"{", headers=as_key(f"sk_live_{n}"))).status_code
        for n in range(ANONYMOUS + 1)
    ]
    assert broken[-1] == 429
    both = {"X-API-Key": key["key"], "Authorization": "Bearer sk_live_x"}
    async with from_address(client, "two credentials") as elsewhere:
        assert await statuses(elsewhere, "/keyed", ANONYMOUS + 1, headers=both) == [401] * ANONYMOUS + [429]


async def test_a_known_key_is_no_allowance_without_end_on_routes_that_ask_for_none(client: KernelClient) -> None:
    _, key = await key_of(client)
    assert (await client.get("/keyed", headers=as_key(key["key"]))).status_code == 200
    told = await statuses(client, "/open", OWN + 3, headers=as_key(key["key"]))
    assert told == [200] * (OWN - 1) + [429] * 4


async def test_a_revoked_key_counts_by_address_again(client: KernelClient) -> None:
    ada, key = await key_of(client)
    with clock.frozen(clock.now()):
        assert await statuses(client, "/keyed", 2, headers=as_key(key["key"])) == [200] * 2
        await revoke_api_key(client.db, key["id"])
        assert (await client.get("/keyed", headers=as_key(key["key"]))).status_code == 401
        # Nobody who holds it can use up what its owner may do.
        assert left(await client.get("/open", headers=as_key(key["key"])))[0] == "anonymous"
        assert left(await ada.get("/open"))[:2] == ("default", OWN - 4)


async def test_a_websocket_with_a_good_key_counts_for_its_owner_too(client: KernelClient) -> None:
    _, key = await key_of(client)
    header = (b"x-api-key", key["key"].encode())
    opened = []
    for _ in range(ANONYMOUS + 3):
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any], into: list[dict[str, Any]] = sent) -> None:
            into.append(message)

        scope = {**http_scope(path="/talk", headers=[header]), "type": "websocket", "subprotocols": []}
        del scope["method"]
        await client.app(scope, receive, send)
        opened.append(sent[0]["type"])
    assert opened == ["websocket.accept"] * (ANONYMOUS + 3)


async def test_wrong_keys_are_in_the_metric_of_refusals() -> None:
    async with serving(router) as client:
        await key_of(client)
        told = [(await client.get("/keyed", headers=as_key(make_key()))).status_code for _ in range(LIMIT + 3)]
        assert told == [401] * LIMIT + [429] * 3
        assert 'app_kernel_rate_limited_total{policy="keys"} 3.0' in (await client.get("/metrics")).text


def test_no_more_keys_are_remembered_than_fit_nor_for_longer_than_said() -> None:
    keys = AcceptedKeys(capacity=3)
    with clock.frozen(clock.now()) as stopped:
        for mark in (b"a", b"b", b"c", b"a", b"d"):
            keys.note(mark, mark.decode())
        assert len(keys) == 3
        assert [keys.owner_of(mark) for mark in (b"a", b"b", b"c", b"d", None)] == ["a", None, "c", "d", None]
        stopped.advance(REMEMBER - 1)
        keys.note(b"d", "d")
        stopped.advance(1)
        assert [keys.owner_of(mark) for mark in (b"a", b"d")] == [None, "d"]


def test_what_is_remembered_of_a_key_is_not_the_key() -> None:
    key = make_key()
    marks = [
        mark_of(http_scope(headers=[header]))
        for header in ((b"x-api-key", key.encode()), (b"authorization", f"bearer  {key}".encode()))
    ]
    assert marks[0] == marks[1]
    assert marks[0] is not None
    assert key.encode() not in marks[0]
    assert mark_of(http_scope(headers=[(b"authorization", b"Bearer eyJ.x.y")])) is None
