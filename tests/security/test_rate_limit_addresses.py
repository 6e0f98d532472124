"""Nobody gets a second allowance by saying that they come from elsewhere (OWASP ASVS 5.0, 2.4; CWE-348)."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel import ServiceConfig
from app_kernel.rate_limit import rate_limit
from app_kernel.testing import kernel_client
from tests.small_service import call, http_scope, small_app

TIMES = {"x-forwarded-for": 1000, "several hops": 1000, "forwarded": 1000, "x-real-ip": 1000}
FEWER = 100
LIMIT = 5
PROXY = "10.0.0.9"

SPOOFS: dict[str, Callable[[int], list[tuple[bytes, bytes]]]] = {
    "x-forwarded-for": lambda n: [(b"x-forwarded-for", f"203.0.{n // 250}.{n % 250}".encode())],
    "several hops": lambda n: [(b"x-forwarded-for", f"198.51.100.1, 203.0.{n // 250}.{n % 250}".encode())],
    "several headers": lambda n: [(b"x-forwarded-for", f"203.0.113.{n % 250}".encode())] * 2,
    "forwarded": lambda n: [(b"forwarded", f'for="203.0.{n // 250}.{n % 250}";proto=https'.encode())],
    "x-real-ip": lambda n: [(b"x-real-ip", f"203.0.{n // 250}.{n % 250}".encode())],
    "cdn headers": lambda n: [
        (name, f"203.0.{n // 250}.{n % 250}".encode())
        for name in (b"cf-connecting-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip")
    ],
    "no address": lambda n: [(b"x-forwarded-for", f"client-{n}".encode())],
    "host": lambda n: [(b"x-forwarded-host", f"h{n}.example".encode())],
}

router = APIRouter()


@router.get("/search")
@rate_limit(LIMIT, per=60)
async def search() -> str:
    return "found"


async def statuses(
    app: Any, scopes: Iterable[dict[str, Any]], body: bytes = b'{"refresh_token": "none"}'
) -> Counter[int | None]:
    return Counter([(await call(app, scope, (body,))).status for scope in scopes])


def scope_of(n: int, path: str = "/auth/refresh", address: str = "192.0.2.1", **changes: Any) -> dict[str, Any]:
    """A request that nobody is signed in to make; it costs no hashing of passwords."""
    headers = [(b"host", b"testserver"), (b"content-type", b"application/json"), *changes.pop("headers", [])]
    method = "POST" if path.startswith("/auth") else "GET"
    return http_scope(method, path, headers=headers, client=(address, 1024 + n), **changes)


@pytest.mark.acceptance("RL1")
@pytest.mark.parametrize("spoof", SPOOFS)
async def test_without_trusted_proxies_no_header_is_another_caller(spoof: str) -> None:
    app = small_app(router, rate_limit_auth_requests=LIMIT)
    async with kernel_client(app):
        times = TIMES.get(spoof, FEWER)
        found = await statuses(app, (scope_of(n, headers=SPOOFS[spoof](n)) for n in range(times)))
        assert found == {401: LIMIT, 429: times - LIMIT}
        elsewhere = await statuses(app, [scope_of(0, address="198.51.100.77")])
        assert elsewhere == {401: 1}


@pytest.mark.acceptance("RL1")
@pytest.mark.parametrize("spoof", SPOOFS)
async def test_behind_a_trusted_proxy_what_the_client_wrote_itself_is_no_other_caller(spoof: str) -> None:
    app = small_app(router, rate_limit_auth_requests=LIMIT, trusted_proxies=["10.0.0.0/8"])

    def through_the_proxy(n: int, client: str) -> dict[str, Any]:
        # The proxy adds whom it saw, behind what it was sent.
        headers = [*SPOOFS[spoof](n), (b"x-forwarded-for", client.encode())]
        return scope_of(n, address=PROXY, headers=headers)

    async with kernel_client(app):
        times = TIMES.get(spoof, FEWER)
        found = await statuses(app, (through_the_proxy(n, "192.0.2.1") for n in range(times)))
        assert found == {401: LIMIT, 429: times - LIMIT}
        assert await statuses(app, [through_the_proxy(0, "192.0.2.2")]) == {401: 1}
        # Who goes around the proxy is not believed either.
        around = (scope_of(n, address="192.0.2.3", headers=SPOOFS[spoof](n)) for n in range(20))
        assert await statuses(app, around) == {401: LIMIT, 429: 20 - LIMIT}


@pytest.mark.acceptance("RL1")
@pytest.mark.parametrize("behind_a_proxy", [False, True])
async def test_a_subscriber_with_a_whole_ipv6_network_is_one_caller(behind_a_proxy: bool) -> None:
    app = small_app(router, rate_limit_auth_requests=LIMIT, trusted_proxies=[PROXY] if behind_a_proxy else [])

    def from_ipv6(n: int, address: str) -> dict[str, Any]:
        if behind_a_proxy:
            return scope_of(n, address=PROXY, headers=[(b"x-forwarded-for", f"[{address}]:{1024 + n}".encode())])
        return scope_of(n, address=address)

    async with kernel_client(app):
        mine = (from_ipv6(n, f"2001:db8:1:2:{n:x}:{n * 7 % 65536:x}::1") for n in range(1000))
        assert await statuses(app, mine) == {401: LIMIT, 429: 1000 - LIMIT}
        assert await statuses(app, [from_ipv6(0, "2001:db8:1:3::1")]) == {401: 1}


@pytest.mark.acceptance("RL1")
async def test_an_ipv4_address_written_as_ipv6_is_the_same_caller() -> None:
    app = small_app(router, rate_limit_auth_requests=LIMIT)
    spellings = ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"]
    async with kernel_client(app):
        found = await statuses(app, (scope_of(n, address=spellings[n % 3]) for n in range(30)))
        assert found == {401: LIMIT, 429: 30 - LIMIT}


@pytest.mark.acceptance("RL1")
async def test_routes_with_a_limit_of_their_own_and_anonymous_limits_hold_as_well() -> None:
    app = small_app(router, rate_limit_anonymous=LIMIT)
    async with kernel_client(app):
        for path, passes in (("/search", 200), ("/nowhere", 404)):
            spoofed = (scope_of(n, path, headers=SPOOFS["x-forwarded-for"](n)) for n in range(100))
            assert await statuses(app, spoofed) == {passes: LIMIT, 429: 100 - LIMIT}, path


async def test_no_spelling_of_a_sign_in_path_gets_around_its_limit() -> None:
    app = small_app(rate_limit_auth_requests=LIMIT)
    body = b'{"email": "a@example.com", "password": "wrong guess"}'
    async with kernel_client(app):
        assert await statuses(app, (scope_of(n) for n in range(LIMIT))) == {401: LIMIT}
        for path in ("/auth/login", "/auth/login/", "/auth//login", "/auth/./login", "/auth/login%00", "/auth/LOGIN"):
            assert await statuses(app, [scope_of(0, path)], body) == {429: 1}, path
        for path in ("//auth/login", "/AUTH/login", "/%61uth/login", "/x/../auth/login"):
            # These are no routes at all.
            assert await statuses(app, [scope_of(0, path) | {"method": "POST"}], body) == {404: 1}, path


@pytest.mark.parametrize("credential", ["sk_live_garbage", "garbage", ""])
async def test_a_made_up_credential_does_not_get_around_a_routes_own_limit(credential: str) -> None:
    app = small_app(router)
    headers = [(b"authorization", f"Bearer {credential}".encode())]
    async with kernel_client(app):
        found = await statuses(app, (scope_of(n, "/search", headers=headers) for n in range(30)))
        assert found == {200: LIMIT, 429: 30 - LIMIT}


async def test_callers_whose_address_nobody_knows_share_one_allowance() -> None:
    app = small_app(router, rate_limit_auth_requests=LIMIT)
    async with kernel_client(app):
        found = await statuses(app, (scope_of(n) | {"client": None} for n in range(30)))
        assert found == {401: LIMIT, 429: 30 - LIMIT}


def test_limits_are_on_unless_they_are_switched_off() -> None:
    config = ServiceConfig()
    assert config.rate_limit_enabled
    assert (config.rate_limit_requests, config.rate_limit_window, config.rate_limit_auth_requests) == (100, 60, 60)
