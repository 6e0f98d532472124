"""Who is limited, by what, and what the answers say of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from fastapi import APIRouter, WebSocket

from app_kernel.core.ports import RateLimiter
from app_kernel.testing import KernelClient
from tests.rate_limit.places import PLACES, from_address, left, serving
from tests.small_service import events, log_lines

pytestmark = pytest.mark.usefixtures("patient")

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
EMAIL, PASSWORD = "ada@example.com", "plum tree over water"
SIGN_IN = {"email": EMAIL, "password": PASSWORD}

router = APIRouter()


@router.get("/open")
async def open_to_all() -> str:
    return "open"


@router.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture(params=PLACES)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[KernelClient]:
    """A service with a frozen clock, three requests a minute for a user and four for an address that signs in."""
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    limits = {"rate_limit_requests": 3, "rate_limit_auth_requests": 4}
    async with serving(router, redis_url=redis_url, frozen_at=START, **limits) as running:
        yield running


@pytest.mark.acceptance("RL2")
async def test_headers_say_what_is_left_and_for_how_long(client: KernelClient) -> None:
    ada = await client.log_in_as(EMAIL)
    told = []
    for _ in range(3):
        answer = await ada.get("/open")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
        told.append(left(answer))
        client.clock.advance(15)
    assert told == [("default", 2, 60), ("default", 1, 45), ("default", 0, 30)]

    refused = await ada.get("/open")
    assert refused.status_code == 429
    assert left(refused) == ("default", 0, 15)
    assert refused.headers["retry-after"] == "15"
    client.clock.advance(14)
    assert (await ada.get("/open")).status_code == 429
    client.clock.advance(1)
    assert (await ada.get("/open")).status_code == 200
    assert (await ada.get("/open")).headers["retry-after"] == "15"


async def test_a_refusal_is_a_problem_that_a_page_of_another_origin_may_read(client: KernelClient) -> None:
    ada = await client.log_in_as(EMAIL)
    for _ in range(3):
        await ada.get("/open")
    refused = await ada.get("/open", headers={"Origin": "https://app.example"})
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert (body["status"], body["title"]) == (429, "Too Many Requests")
    assert body["request_id"] == refused.headers["x-request-id"]
    assert refused.headers["access-control-allow-origin"] == "*"
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= {
        name.strip() for name in refused.headers["access-control-expose-headers"].split(",")
    }
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_each_user_has_a_limit_of_their_own_wherever_they_come_from(client: KernelClient) -> None:
    ada, bob = await client.log_in_as(EMAIL), await client.log_in_as("bob@example.com")
    token = {"Authorization": ada.headers["authorization"]}
    statuses = []
    for number in range(5):
        async with from_address(client, f"192.0.2.{number}") as elsewhere:
            statuses.append((await elsewhere.get("/open", headers=token)).status_code)
    assert statuses == [200, 200, 200, 429, 429]
    assert (await bob.get("/open")).status_code == 200


async def test_requests_that_nothing_answers_count_too(client: KernelClient) -> None:
    ada = await client.log_in_as(EMAIL)
    statuses = [(await ada.get(f"/nowhere/{number}")).status_code for number in range(4)]
    assert statuses == [404, 404, 404, 429]


async def test_whoever_is_not_signed_in_is_limited_where_one_signs_in_and_nowhere_else(client: KernelClient) -> None:
    assert [(await client.get("/open")).status_code for _ in range(10)] == [200] * 10
    assert "ratelimit" not in (await client.get("/open")).headers
    answers = [await client.post("/auth/login", json={**SIGN_IN, "email": f"u{n}@example.com"}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 4 + [429] * 2
    assert left(answers[0]) == ("auth", 3, 60)
    assert (await client.post("/auth/refresh", json={"refresh_token": "x"})).status_code == 429
    assert (await client.post("/auth/no-such-thing")).status_code == 429
    assert (await client.get("/auth/me")).status_code == 401


async def test_to_be_signed_in_gives_no_second_allowance_of_guesses(client: KernelClient) -> None:
    ada = await client.log_in_as(EMAIL)
    guesses = [
        await ada.post("/auth/login", json={"email": "b@example.com", "password": f"guess {n}"}) for n in range(5)
    ]
    assert [answer.status_code for answer in guesses] == [401] * 3 + [429] * 2
    assert (await ada.post("/auth/logout")).status_code == 204


async def test_the_way_through_another_provider_is_limited_by_address(client: KernelClient) -> None:
    statuses = [(await client.get("/auth/oauth/nobody/login")).status_code for _ in range(6)]
    assert statuses == [404] * 4 + [429] * 2


async def test_probes_and_metrics_are_never_limited() -> None:
    async with serving(rate_limit_anonymous=2, rate_limit_requests=2) as client:
        ada = await client.log_in_as(EMAIL, role="admin")
        for who in (client, ada):
            for path in ("/healthz", "/readyz", "/metrics"):
                answers = [await who.get(path) for _ in range(5)]
                assert {answer.status_code for answer in answers} == {200}, path
                assert "ratelimit" not in answers[0].headers


async def test_everybody_else_is_limited_by_address_when_that_is_set() -> None:
    async with serving(router, rate_limit_anonymous=3) as client:
        answers = [await client.get("/open") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert left(answers[0]) == ("anonymous", 2, 60)
        async with from_address(client, "198.51.100.7") as other:
            assert (await other.get("/open")).status_code == 200
        ada = await client.log_in_as(EMAIL)
        assert left(await ada.get("/open"))[:2] == ("default", 99)


async def test_a_key_or_a_broken_token_counts_as_nobody_signed_in() -> None:
    async with serving(router, rate_limit_anonymous=3) as client:
        statuses = []
        for credential in ("sk_live_abc", "broken", "sk_live_def", "sk_live_abc"):
            answer = await client.get("/open", headers={"Authorization": f"Bearer {credential}"})
            statuses.append(answer.status_code)
        assert statuses == [200, 200, 200, 429]


async def test_with_a_prefix_the_sign_in_routes_are_below_it() -> None:
    async with serving(router, rate_limit_auth_requests=2, api_prefix="/api") as client:
        wrong = {"email": "nobody@example.com", "password": "wrong guess"}
        assert [(await client.post("/api/auth/login", json=wrong)).status_code for _ in range(3)] == [401, 401, 429]
        assert (await client.post("/auth/login", json=wrong)).status_code == 404
        assert "ratelimit" not in (await client.get("/healthz")).headers


async def test_switched_off_nobody_is_limited_and_nobody_provides_a_limiter() -> None:
    limits = {"rate_limit_requests": 1, "rate_limit_auth_requests": 1, "rate_limit_anonymous": 1}
    async with serving(router, rate_limit_enabled=False, **limits) as client:
        ada = await client.log_in_as(EMAIL)
        answers = [await who.get("/open") for who in (client, ada) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
        assert not any("ratelimit" in answer.headers for answer in answers)
        assert client.kernel.find_port(RateLimiter) is None


async def test_without_auth_there_is_nobody_to_limit_but_addresses() -> None:
    async with serving(router, auth_enabled=False, rate_limit_anonymous=1) as client:
        assert [(await client.get("/open")).status_code for _ in range(2)] == [200, 429]


async def test_two_services_in_one_process_count_apart() -> None:
    limits = {"rate_limit_anonymous": 2}
    async with serving(router, **limits) as one, serving(router, **limits) as two:
        assert [(await one.get("/open")).status_code for _ in range(3)] == [200, 200, 429]
        assert (await two.get("/open")).status_code == 200


async def test_a_service_that_starts_again_in_the_same_process_counts_from_zero() -> None:
    for _ in range(2):
        async with serving(router, rate_limit_anonymous=1) as client:
            assert [(await client.get("/open")).status_code for _ in range(2)] == [200, 429]


async def test_refusals_are_counted_by_policy_and_logged_as_the_requests_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(router, rate_limit_anonymous=1, rate_limit_requests=1) as client:
        ada = await client.log_in_as(EMAIL)
        capsys.readouterr()
        for who in (client, client, ada, ada, ada):
            await who.get("/open")
        text = (await client.get("/metrics")).text
    assert 'app_kernel_rate_limited_total{policy="anonymous"} 1.0' in text
    assert 'app_kernel_rate_limited_total{policy="default"} 2.0' in text
    assert "app_kernel_rate_limiter_fallback_total 0.0" in text
    lines = log_lines(capsys)
    assert [line["status"] for line in events(lines, "request")[:5]] == [200, 429, 200, 429, 429]
    assert not [line for line in lines if line["level"] in ("warning", "error")]


async def test_the_port_counts_in_the_same_buckets_as_the_layer(client: KernelClient) -> None:
    ada = await client.log_in_as(EMAIL)
    limiter = client.kernel.port(RateLimiter)
    assert (await limiter.hit(f"user:{ada.user.id}", 3, 60)).remaining == 2
    assert left(await ada.get("/open")) == ("default", 1, 60)
    told = [await limiter.hit("job:report", 1, 5) for _ in range(2)]
    assert [each.allowed for each in told] == [True, False]
    assert told[1].reset_after == pytest.approx(5)


@pytest.mark.parametrize("answers_in_http", [True, False])
async def test_a_websocket_over_the_limit_is_refused_before_it_is_accepted(answers_in_http: bool) -> None:
    async with serving(router, rate_limit_anonymous=1) as client:
        told = [await handshake(client, answers_in_http) for _ in range(2)]
    assert told[0][0]["type"] == "websocket.accept"
    if answers_in_http:
        assert told[1][0]["status"] == 429
        assert (b"retry-after", b"60") in told[1][0]["headers"]
    else:
        assert told[1] == [{"type": "websocket.close", "code": 1013, "reason": ""}]


async def handshake(client: KernelClient, answers_in_http: bool) -> list[dict]:
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/talk",
        "raw_path": b"/talk",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("192.0.2.1", 1),
        "server": ("testserver", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}} if answers_in_http else {},
    }
    await client.app(scope, receive, send)
    return sent
