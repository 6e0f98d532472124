"""Liveness and readiness."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app_kernel import FEATURES, Feature
from app_kernel.core.errors import Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.health import check_components, unready_at_shutdown
from tests.small_service import events, log_lines, serving

WELL = {"database": "ok", "admin_database": "ok", "outbox": "ok"}
REASON = "disk /srv/private is full"


async def fine() -> bool:
    return True


async def silent() -> None:
    return None


async def explains() -> tuple[bool, str]:
    return False, REASON


async def refuses() -> bool:
    return False


async def fails() -> bool:
    raise RuntimeError(REASON)


async def hangs() -> bool:
    await asyncio.Event().wait()
    return True


async def test_a_service_that_works_is_alive_and_ready() -> None:
    async with serving(health_checks=[fine, silent, ("queue", fine)]) as client:
        alive, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "components": {**WELL, "fine": "ok", "silent": "ok", "queue": "ok"},
    }


@pytest.mark.parametrize("check", [explains, refuses, fails])
async def test_a_component_that_is_not_well_is_named_and_nothing_more(
    check: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(health_checks=[fine, ("queue", check)]) as client:
        answer = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert (answer.status_code, alive.status_code) == (503, 200)
    assert answer.json()["components"] == {**WELL, "fine": "ok", "queue": "unavailable"}
    assert REASON not in answer.text
    assert [line["component"] for line in events(log_lines(capsys), "component_not_ready")] == ["queue"]


async def test_a_component_that_hangs_does_not_hold_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.health.CHECK_SECONDS", 0.05)
    async with serving(health_checks=[("queue", hangs)]) as client:
        answer = await asyncio.wait_for(client.get("/readyz"), 20)
    assert answer.json()["components"]["queue"] == "unavailable"


async def test_a_feature_brings_checks_that_get_the_kernel() -> None:
    async def check(kernel: Kernel) -> tuple[bool, str]:
        return kernel.name == "small", "another service"

    async with serving(features=[*FEATURES, Feature(name="mine", health={"mine": check})]) as client:
        assert (await client.get("/readyz")).json()["components"]["mine"] == "ok"


async def test_a_database_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ping() -> None:
        raise Unavailable(REASON)

    async with serving() as client:
        monkeypatch.setattr(client.kernel.db, "ping", ping)
        answer = await client.get("/readyz")
        assert (await client.get("/healthz")).status_code == 200
    assert answer.json()["components"] == {**WELL, "database": "unavailable"}
    assert answer.headers["cache-control"] == "no-store"


async def test_before_and_after_its_work_a_service_is_not_ready() -> None:
    seen: list[dict[str, bool] | bool] = []

    async def at_start(app: Any) -> None:
        seen.append(app.state.kernel.ready)

    async with serving(on_startup=at_start, on_shutdown=at_start) as client:
        seen.append(client.kernel.ready)
        client.kernel.ready = False
        answer = await client.get("/readyz")
    assert seen == [False, True, False]
    assert (answer.status_code, answer.json()["components"]) == (503, {"service": "unavailable"})


async def test_a_signal_turns_readiness_off_before_the_server_hears_of_it() -> None:
    heard: list[tuple[int, bool]] = []
    async with serving() as client:
        kernel = client.kernel
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append((number, kernel.ready)))
        try:
            async with unready_at_shutdown(kernel):
                signal.raise_signal(signal.SIGTERM)
            assert heard == [(signal.SIGTERM, False)]
            signal.raise_signal(signal.SIGTERM)
            assert len(heard) == 2
        finally:
            signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def hearing(kernel: Kernel) -> AsyncIterator[asyncio.Queue[int]]:
    """Signals as a server that installed its handlers before the service started would hear them."""
    heard: asyncio.Queue[int] = asyncio.Queue()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda received, frame: heard.put_nowait(received)) for number in numbers]
    try:
        async with unready_at_shutdown(kernel):
            yield heard
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.acceptance("OP6")
async def test_a_service_that_drains_serves_on_unready_until_the_server_hears_of_the_signal_once() -> None:
    async with serving(drain_seconds=0.2) as client, hearing(client.kernel) as heard:
        assert "connection" not in (await client.get("/healthz")).headers
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["components"]) == (503, {"service": "unavailable"})
        alive = await client.get("/healthz")
        assert (alive.status_code, alive.headers["connection"]) == (200, "close")
        async with asyncio.timeout(30):
            assert await heard.get() == signal.SIGTERM
        assert heard.empty()


@pytest.mark.acceptance("OP6")
async def test_while_it_drains_sigint_is_heard_at_once() -> None:
    async with serving(drain_seconds=3600) as client, hearing(client.kernel) as heard:
        signal.raise_signal(signal.SIGTERM)
        await client.get("/healthz")
        assert heard.empty()
        signal.raise_signal(signal.SIGINT)
        assert heard.get_nowait() == signal.SIGINT


@pytest.mark.acceptance("OP6")
async def test_a_service_that_is_not_ready_yet_has_nothing_to_drain() -> None:
    async with serving(drain_seconds=3600) as client, hearing(client.kernel) as heard:
        client.kernel.ready = False
        signal.raise_signal(signal.SIGTERM)
        assert heard.get_nowait() == signal.SIGTERM


@pytest.mark.acceptance("OP6")
async def test_a_process_whose_loop_hears_the_signal_itself_has_nothing_to_drain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    async with serving(drain_seconds=3600) as client:
        loop.add_signal_handler(signal.SIGTERM, told.set)
        try:
            async with unready_at_shutdown(client.kernel), asyncio.timeout(10):
                signal.raise_signal(signal.SIGTERM)
                await told.wait()
                assert not client.kernel.draining
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)
    assert "service_draining" not in capsys.readouterr().out


async def test_components_are_asked_all_at_once() -> None:
    met = asyncio.Barrier(2)

    async def meet() -> bool:
        await met.wait()
        return True

    async with serving(health_checks=[("one", meet), ("two", meet)]) as client:
        assert await check_components(client.kernel) == {
            "database": True,
            "admin_database": True,
            "outbox": True,
            "one": True,
            "two": True,
        }
