"""A circuit breaker: it opens with one failure, is closed by one good probe, and leaves nothing running."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app_kernel.core.circuit_breaker import CircuitBreaker
from app_kernel.core.context import Context, find_context, in_context
from tests.small_service import tasks_of


class Server:
    """What a breaker asks and tells."""

    def __init__(self) -> None:
        self.failure: Exception | None = ConnectionError("away")
        self.probes = asyncio.Semaphore(0)
        self.told: list[Exception | None] = []
        self.probed_in: list[Context | None] = []

    async def probe(self) -> Exception | None:
        self.probed_in.append(find_context())
        self.probes.release()
        return self.failure


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def breaker(server: Server) -> AsyncIterator[CircuitBreaker]:
    made = CircuitBreaker(server.probe, 0.01, server.told.append)
    yield made
    await made.end()


async def test_it_opens_with_the_first_failure_and_says_so_once(breaker: CircuitBreaker, server: Server) -> None:
    assert not breaker.is_open
    first, second = TimeoutError(), TimeoutError()
    breaker.trip(first)
    breaker.trip(second)
    assert breaker.is_open
    assert server.told == [first]
    assert len(tasks_of("CircuitBreaker")) == 1


async def test_it_stays_open_until_a_probe_succeeds_and_opens_anew(breaker: CircuitBreaker, server: Server) -> None:
    for times in (1, 2):
        server.failure = ConnectionError("away")
        breaker.trip(TimeoutError())
        async with asyncio.timeout(10):
            for _ in range(3):
                await server.probes.acquire()
            assert breaker.is_open
            server.failure = None
            while breaker.is_open:  # noqa: ASYNC110 - it probes by its own clock
                await asyncio.sleep(0)
        assert [error is None for error in server.told] == [False, True] * times
        assert tasks_of("CircuitBreaker") == []


async def test_it_probes_in_nobodys_name(breaker: CircuitBreaker, server: Server) -> None:
    with in_context(Context(request_id="of the first one to fail")):
        breaker.trip(TimeoutError())
    async with asyncio.timeout(10):
        await server.probes.acquire()
    assert server.probed_in == [None]


async def test_one_that_is_ended_probes_no_more(breaker: CircuitBreaker, server: Server) -> None:
    breaker.trip(TimeoutError())
    await breaker.end()
    assert tasks_of("CircuitBreaker") == []
    assert breaker.is_open
    assert len(server.told) == 1


async def test_a_probe_that_fails_in_a_way_of_its_own_is_one_that_did_not_succeed() -> None:
    told, probes = list[Exception | None](), iter([ZeroDivisionError("a bug"), None])

    async def probe() -> Exception | None:
        failure = next(probes)
        if failure is not None:
            raise failure
        return None

    breaker = CircuitBreaker(probe, 0.001, told.append)
    breaker.trip(TimeoutError("away"))
    async with asyncio.timeout(10):
        while breaker.is_open:  # noqa: ASYNC110 - it probes by its own clock
            await asyncio.sleep(0.001)
    await breaker.end()
    assert [type(error) for error in told] == [TimeoutError, type(None)]
