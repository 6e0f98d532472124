"""Redis away or slow: limits go on per process, nobody waits for long, and it is said once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import APIRouter

from app_kernel.core.clock import new_id
from app_kernel.core.ports import Allowance, RateLimiter
from app_kernel.rate_limit import shared as shared_module
from app_kernel.rate_limit.shared import SharedLimiter
from app_kernel.redis_wire import create_redis
from app_kernel.testing import KernelClient
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.rate_limit.places import left, serving
from tests.redis_server import OwnRedis, own_redis
from tests.small_service import events, log_lines, tasks_of

EMAIL = "ada@example.com"
HIT_SECONDS = shared_module.HIT_SECONDS
MOST_SECONDS = 0.05

router = APIRouter()


@router.get("/open")
async def open_to_all() -> str:
    return "open"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the service has, for tests of what happens and not of time, on a machine that is busy."""
    monkeypatch.setattr(shared_module, "HIT_SECONDS", 0.5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    """A Redis of the test's own, running."""
    async with own_redis(tmp_path) as running:
        await running.start()
        yield running


@pytest.fixture
async def proxy(server: OwnRedis) -> AsyncIterator[TcpProxy]:
    """Stands between the service and its Redis."""
    async with tcp_proxy(server.port) as running:
        yield running


def url_of(proxy: TcpProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


async def until_shared(client: KernelClient) -> None:
    """Returns when the limiter of a service asks Redis again."""
    limiter = client.kernel.find_port(RateLimiter)
    async with asyncio.timeout(30):
        while limiter._shared.is_away:  # type: ignore[union-attr]  # noqa: ASYNC110 - it asks by its own clock
            await asyncio.sleep(0.02)


def fallbacks(text: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith("app_kernel_rate_limiter_fallback_total "))
    return float(line.split()[1])


@pytest.mark.acceptance("RL3")
async def test_when_redis_dies_the_limit_goes_on_where_it_was(
    server: OwnRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"rate_limit_requests": 6, "rate_limit_auth_requests": 4}
    async with serving(router, redis_url=server.url, **limits) as client:
        ada = await client.log_in_as(EMAIL)
        before = [await ada.get("/open") for _ in range(3)]
        capsys.readouterr()
        server.kill()
        after = [await ada.get("/open") for _ in range(5)]
        guesses = [await client.post("/auth/login", json={"email": EMAIL, "password": f"guess {n}"}) for n in range(4)]
        text = (await client.get("/metrics")).text

        assert [answer.status_code for answer in before + after] == [200] * 6 + [429] * 2
        assert left(after[0]) == ("default", 2, 60)
        assert 55 <= int(after[-1].headers["retry-after"]) <= 60
        # One place was taken by the login itself; the limit of sign-ins is never off.
        assert [answer.status_code for answer in guesses] == [401] * 3 + [429]
        assert fallbacks(text) == 6

        await server.start()
        await until_shared(client)
        lines = log_lines(capsys)
        assert len(events(lines, "rate_limiter_counts_locally")) == 1
        assert len(events(lines, "rate_limiter_shared_again")) == 1
        assert not [line for line in lines if line["level"] == "error" and "rate_limit" in line["logger"]]
        # Redis knows nothing of what was, this process does.
        assert (await ada.get("/open")).status_code == 429
        bob = await client.kernel.port(RateLimiter).hit("user:bob", 6, 60)
        assert bob.remaining == 5
        assert await client.kernel.redis.exists(f"{client.kernel.name}:rate_limit:60:user:bob")


@pytest.mark.acceptance("RL3")
async def test_a_redis_that_hangs_holds_a_request_up_for_50_ms_at_most_and_the_next_not_at_all(
    proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(shared_module, "HIT_SECONDS", HIT_SECONDS)
    redis = create_redis(url_of(proxy), "stalled")
    told: list[Exception | None] = []
    limiter = SharedLimiter(redis, f"test:{new_id()}:", told.append)
    await limiter.connect()
    first, second, asleep = [], [], []
    for _ in range(5):
        async with asyncio.timeout(30):
            while await limiter.hit("user:ada", 1000, 60) is None:  # noqa: ASYNC110 - it asks by its own clock
                await asyncio.sleep(0.01)
        proxy.freeze()
        one, other = await asyncio.gather(seconds_to_fall_back(limiter), seconds_asleep(HIT_SECONDS))
        first.append(one)
        asleep.append(other)
        second.append(await seconds_to_fall_back(limiter))
        proxy.thaw()
    await limiter.close()
    await redis.aclose()
    # On a busy machine everything takes longer: what a sleep takes shows by how much. The best of several counts.
    late = min(one - other for one, other in zip(first, asleep, strict=True))
    assert HIT_SECONDS + late <= MOST_SECONDS, (first, asleep)
    assert max(first) < 1.5, "it waited for Redis's own time limit"
    assert min(second) < 0.005
    assert [error is None for error in told[:8]] == [False, True] * 4
    assert all(isinstance(error, TimeoutError) for error in told if error is not None)


async def seconds_asleep(seconds: float) -> float:
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    return time.perf_counter() - begun


async def seconds_to_fall_back(limiter: SharedLimiter) -> float:
    begun = time.perf_counter()
    told = await asyncio.gather(*(limiter.hit("user:ada", 1000, 60) for _ in range(20)))
    assert told == [None] * 20
    return time.perf_counter() - begun


@pytest.mark.acceptance("RL3")
@pytest.mark.parametrize("trouble", ["frozen", "refused", "swallowed", "cut", "slow", "stopped"])
async def test_no_trouble_of_redis_is_a_failure_of_a_request(
    trouble: str, server: OwnRedis, proxy: TcpProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(router, redis_url=url_of(proxy), rate_limit_anonymous=5) as client:
        assert (await client.get("/open")).status_code == 200
        if trouble == "frozen":
            proxy.freeze()
        elif trouble == "stopped":
            server.pause(signal.SIGSTOP)
        elif trouble == "slow":
            proxy.delay = 0.4
        else:
            proxy.refuses = trouble == "refused"
            proxy.swallows = trouble == "swallowed"
            proxy.cuts_answers = trouble == "cut"
            proxy.cut()
        statuses = [(await client.get("/open")).status_code for _ in range(6)]
        if trouble == "stopped":
            server.pause(signal.SIGCONT)
        proxy.thaw()
        proxy.delay, proxy.refuses, proxy.swallows, proxy.cuts_answers = 0.0, False, False, False
        assert statuses == [200] * 4 + [429] * 2
        assert fallbacks((await client.get("/metrics")).text) >= 4
        await until_shared(client)
        lines = log_lines(capsys)
    assert len(events(lines, "rate_limiter_counts_locally")) == 1
    assert not events(lines, "request_failed")


async def test_an_answer_that_came_too_late_is_not_taken_for_that_of_another_hit(
    proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "PAUSE_SECONDS", 0.05)
    redis = create_redis(url_of(proxy), "late")
    limiter = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
    await limiter.connect()
    assert (await limiter.hit("user:ada", 7, 60)) is not None
    proxy.freeze()
    assert await asyncio.gather(*(limiter.hit("user:ada", 7, 60) for _ in range(3))) == [None] * 3
    proxy.thaw()
    told: list[Allowance] = []
    async with asyncio.timeout(30):
        while len(told) < 4:
            answer = await limiter.hit("user:bob", 5, 30)
            if answer is None:
                await asyncio.sleep(0.01)
            else:
                told.append(answer)
    await limiter.close()
    await redis.aclose()
    assert [(each.limit, each.window, each.remaining) for each in told] == [(5, 30, left) for left in (4, 3, 2, 1)]


async def test_a_loop_that_was_held_up_itself_does_not_give_redis_up(
    server: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "HIT_SECONDS", 0.02)
    monkeypatch.setattr(shared_module, "TURN_SECONDS", 0.05)
    redis = create_redis(server.url, "held up")
    limiter = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
    await limiter.connect()
    assert await limiter.hit("user:ada", 7, 60) is not None
    hits = [asyncio.create_task(limiter.hit("user:ada", 7, 60)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the work of a route that should have gone to a thread
    told = [await hit for hit in hits]
    await limiter.close()
    await redis.aclose()
    assert [each.remaining for each in told if each] == [5, 4, 3]


async def test_a_redis_that_was_emptied_or_lost_the_script_is_asked_all_the_same(server: OwnRedis) -> None:
    redis = create_redis(server.url, "flushed")
    limiter = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
    await limiter.connect()
    told = []
    for forget in (redis.ping, redis.script_flush, redis.flushall):
        await forget()
        told.append(await limiter.hit("user:ada", 7, 60))
    await limiter.close()
    await redis.aclose()
    assert [each.remaining for each in told if each] == [6, 5, 6]


@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
async def test_a_limit_of_nothing_allows_nothing_and_costs_nobody_anything(server: OwnRedis, limit: int) -> None:
    for redis_url in (None, server.url):
        async with serving(router, redis_url=redis_url) as client:
            limiter = client.kernel.port(RateLimiter)
            told = [await limiter.hit("mails:0", limit, 60) for _ in range(3)]
            assert told == [Allowance(False, limit, 60, 0, 60.0)] * 3
            assert (await limiter.hit("user:ada", 5, 60)).remaining == 4
            for window in (0, -1):
                with pytest.raises(ValueError, match="at least 1 second"):
                    await limiter.hit("mails:0", 5, window)
            if redis_url is not None:
                assert not limiter._shared.is_away
                assert await client.kernel.redis.exists(f"{client.kernel.name}:rate_limit:60:mails:0") == 0


ODD_HITS = {
    "surrogate": ("user:\ud800", 5, 60),
    "empty": ("", 5, 60),
    "binary": ("\0\n\xff", 5, 60),
    "endless": ("user:endless", 10**30, 10**30),
    "yes": ("user:yes", True, True),
}


@pytest.mark.parametrize("odd", ODD_HITS)
async def test_no_bucket_takes_redis_away_from_the_others(server: OwnRedis, odd: str) -> None:
    bucket, limit, window = ODD_HITS[odd]
    redis = create_redis(server.url, "odd")
    told: list[Exception | None] = []
    limiter = SharedLimiter(redis, f"test:{new_id()}:", told.append)
    await limiter.connect()
    answers = await asyncio.gather(
        limiter.hit("user:ada", 7, 60), limiter.hit(bucket, limit, window), limiter.hit("user:ada", 7, 60)
    )
    await limiter.close()
    await redis.aclose()
    assert told == []
    assert all(answer is not None and answer.allowed for answer in answers)
    assert [answer.remaining for answer in answers[::2] if answer] == [6, 5]


@pytest.mark.parametrize("rubbish", ["a text", "another list", "a set"])
async def test_a_key_that_something_else_has_written_is_counted_anew_and_is_no_outage(
    server: OwnRedis, rubbish: str
) -> None:
    redis = create_redis(server.url, "rubbish")
    told: list[Exception | None] = []
    limiter = SharedLimiter(redis, prefix := f"test:{new_id()}:", told.append)
    await limiter.connect()
    key = f"{prefix}60:user:ada"
    writes = {"a text": redis.set(key, "x"), "another list": redis.rpush(key, "x", "y"), "a set": redis.sadd(key, "x")}
    for name, write in writes.items():
        if name == rubbish:
            await write
        else:
            write.close()
    answers = await asyncio.gather(*(limiter.hit(name, 7, 60) for name in ("user:bob", "user:ada", "user:ada")))
    lasts = await redis.pttl(key)
    await limiter.close()
    await redis.aclose()
    assert told == []
    assert [answer.remaining for answer in answers if answer] == [6, 6, 5]
    assert 0 < lasts <= 61_001


async def test_a_redis_that_takes_no_writes_is_an_outage(server: OwnRedis) -> None:
    redis = create_redis(server.url, "replica")
    told: list[Exception | None] = []
    limiter = SharedLimiter(redis, f"test:{new_id()}:", told.append)
    await limiter.connect()
    await redis.replicaof("127.0.0.1", 1)
    answers = [await limiter.hit("user:ada", 7, 60) for _ in range(2)]
    await limiter.close()
    await redis.replicaof("NO", "ONE")
    await redis.aclose()
    assert answers == [None, None]
    assert [type(error).__name__ for error in told] == ["ReadOnlyError"]


async def test_a_service_that_stops_in_an_outage_leaves_nothing_running(server: OwnRedis) -> None:
    async with serving(router, redis_url=server.url, rate_limit_anonymous=5) as client:
        server.pause(signal.SIGSTOP)
        waiting = asyncio.create_task(client.get("/open"))
        assert (await waiting).status_code == 200
    server.pause(signal.SIGCONT)
    assert tasks_of("SharedLimiter", "CircuitBreaker") == []
    # Whoever comes late is counted here.
    limiter = client.kernel.port(RateLimiter)
    assert (await limiter.hit("address:x", 5, 60)).allowed


async def test_a_hit_whose_caller_left_harms_nobody(server: OwnRedis) -> None:
    redis = create_redis(server.url, "left")
    limiter = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
    await limiter.connect()
    leaving, staying = (asyncio.create_task(limiter.hit("user:ada", 7, 60)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    told = await staying
    await limiter.close()
    await redis.aclose()
    assert told is not None
    assert told.remaining == 5


async def test_hits_that_wait_while_the_service_stops_are_told_at_once(server: OwnRedis) -> None:
    redis = create_redis(server.url, "stopping")
    for turns in range(3):
        limiter = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
        await limiter.connect()
        waiting = [asyncio.create_task(limiter.hit("user:ada", 7, 60)) for _ in range(3)]
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        await limiter.close()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*waiting) == [None] * 3
    await redis.aclose()
