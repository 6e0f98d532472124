"""The benchmarks' own arithmetic, their load client against a server whose answers are known, their report."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks import harness, load, report
from benchmarks.inprocess import Caller, started

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
Reply = Callable[[int], bytes]


@asynccontextmanager
async def serving(reply: Reply, *, pieces: int = 1) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers its n-th request with `reply(n)`, cut into pieces; gives the port and what it was sent."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                answer = reply(len(seen))
                if not answer:
                    break
                step = -(-len(answer) // pieces)
                for start in range(0, len(answer), step):
                    writer.write(answer[start : start + step])
                    await writer.drain()
                    await asyncio.sleep(0.001 if pieces > 1 else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)


def spec(port: int, **changes: object) -> load.Spec:
    """A short run of one request."""
    values: dict[str, object] = {"requests": [load.build_request("GET", "/")], "connections": 2, "seconds": 0.1}
    return load.Spec(port=port, **{**values, "warm_up": 0.02, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0], 0.99, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([5.0, 1.0], 0, 1.0),
        ([5.0, 1.0], 1, 5.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float, expected: float) -> None:
    assert harness.percentile(values, share) == expected


def test_the_99th_percentile_of_a_hundred_is_the_ninety_ninth_value() -> None:
    assert harness.percentile([float(number) for number in range(1, 101)], 0.99) == 99


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_percentile_of_nothing_or_outside_its_range_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match=r"percentile|share"):
        harness.percentile(values, share)


def test_ratios_pair_the_rounds() -> None:
    assert harness.paired_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="same number"):
        harness.paired_ratios([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least one"):
        harness.paired_ratios([], [])


def test_turns_alternate_their_direction() -> None:
    assert "".join(harness.turns(["a", "b", "c"], 3)) == "abccbaabc"


def test_cpu_time_of_this_process_grows_with_work_and_not_with_sleep() -> None:
    pid = os.getpid()
    before = harness.cpu_seconds(pid)
    until = time.process_time() + 0.15
    while time.process_time() < until:
        sum(range(1000))
    worked = harness.cpu_seconds(pid)
    assert worked - before >= 0.1
    time.sleep(0.15)
    assert harness.cpu_seconds(pid) - worked < 0.1


def test_resident_memory_is_plausible() -> None:
    assert 5 < harness.resident_mib(os.getpid()) < 10_000


def test_a_child_starts_without_the_settings_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "of the caller")
    env = harness.environment({"DATABASE_PATH": "x.db"})
    assert "JWT_SECRET" not in env
    assert env["DATABASE_PATH"] == "x.db"


def test_a_child_that_fails_tells_why(tmp_path: Path) -> None:
    with pytest.raises(harness.BenchError, match="No module named"):
        harness.child("benchmarks.there_is_no_such_module", {}, tmp_path, limit=20)


def test_a_server_that_cannot_start_tells_why_and_leaves_no_process(tmp_path: Path) -> None:
    server = harness.Server("benchmarks.no_such_app:app", tmp_path)
    with pytest.raises(harness.BenchError, match="no_such_app"):
        server.__enter__()
    with pytest.raises(harness.BenchError, match="not running"):
        _ = server.pid


def test_a_peer_serves_and_is_measured_and_stopped(tmp_path: Path) -> None:
    with harness.Server("benchmarks.peers.small_fastapi:app", tmp_path / "server") as server:
        pid = server.pid
        one = load.build_request("GET", "/typed", token="any")
        result = load.measure(spec(server.port, requests=[one], watch_pid=pid, seconds=0.3), tmp_path / "load")
        missing = load.build_request("GET", "/missing")
        with pytest.raises(harness.BenchError, match="404"):
            load.measure(spec(server.port, requests=[missing]), tmp_path / "load")
    assert result.requests > 10
    assert result.server_cpu_us is not None
    assert not Path(f"/proc/{pid}").exists()


def test_a_request_is_built_with_its_body_and_token() -> None:
    text = load.build_request("POST", "/widgets", token="t", body={"name": "bolt"})
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("POST /widgets HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert "Authorization: Bearer t" in head
    assert f"Content-Length: {len(body)}" in head
    assert json.loads(body) == {"name": "bolt"}


@pytest.mark.parametrize("data", [OK, OK.replace(b"Content-Length", b"content-length"), OK + b"HTTP/1.1 200"])
def test_an_answer_ends_where_its_length_says(data: bytes) -> None:
    assert load.answer_length(data) == len(OK)


def test_an_answer_without_a_whole_head_is_not_finished() -> None:
    assert load.answer_length(OK[:30]) is None


def test_an_answer_without_a_body_needs_no_length() -> None:
    assert load.answer_length(b"HTTP/1.1 204 No Content\r\n\r\n") == len(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_an_answer_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        load.answer_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


async def test_the_client_counts_what_the_server_answered() -> None:
    async with serving(lambda _: OK) as (port, seen):
        result = await load.run(spec(port))
    assert result.errors == 0
    assert 0 < result.requests <= len(seen)
    assert result.per_second == pytest.approx(result.requests / result.seconds)
    assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms


async def test_the_client_joins_answers_that_come_in_pieces() -> None:
    async with serving(lambda _: OK, pieces=4) as (port, _):
        result = await load.run(spec(port))
    assert result.errors == 0
    assert result.requests > 0
    assert result.p50_ms >= 3, "an answer is complete only with its last piece"


async def test_the_client_sends_no_more_than_it_may() -> None:
    async with serving(lambda _: OK) as (port, seen):
        result = await load.run(spec(port, max_requests=7, seconds=5, warm_up=0.0))
    assert len(seen) == 7
    assert result.seconds < 2, "the window ends with the last request, not with the clock"


async def test_the_client_takes_its_requests_in_turn() -> None:
    requests = [load.build_request("GET", f"/{number}") for number in range(3)]
    async with serving(lambda _: OK) as (port, seen):
        await load.run(spec(port, requests=requests, connections=1, max_requests=6, warm_up=0.0))
    assert [line.split()[1] for line in seen] == [b"/0", b"/1", b"/2", b"/0", b"/1", b"/2"]


async def test_an_error_is_counted_and_its_first_answer_kept() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow"
    async with serving(lambda number: refusal if number > 3 else OK) as (port, _):
        result = await load.run(spec(port, max_requests=10, warm_up=0.0))
    assert result.errors == 7
    assert "429" in result.first_error
    assert "slow" in result.first_error


async def test_a_lost_connection_is_an_error() -> None:
    async with serving(lambda number: b"" if number == 2 else OK) as (port, _):
        result = await load.run(spec(port, connections=1, max_requests=5, warm_up=0.0))
    assert result.errors == 1
    assert "connection lost" in result.first_error


async def test_an_app_is_called_in_process_after_its_lifespan_has_started() -> None:
    steps: list[str] = []

    async def app(scope: dict[str, object], receive: Callable[[], Awaitable[dict[str, str]]], send: object) -> None:
        assert callable(send)
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                steps.append((await receive())["type"])
                await send({"type": f"lifespan.{step}.complete"})
            return
        steps.append(str(scope["path"]))
        status = 200 if scope["path"] == "/good" else 503
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    async with started(app) as state:
        assert await Caller(app, "/good", state=state).once() == b"whole"
        assert await Caller(app, "/good", state=state).batch(3) > 0
        with pytest.raises(harness.BenchError, match="503"):
            await Caller(app, "/bad", state=state).once()
    assert steps == ["lifespan.startup", "/good", "/good", "/good", "/good", "/bad", "lifespan.shutdown"]


async def test_an_app_whose_start_fails_is_not_measured() -> None:
    async def app(scope: object, receive: Callable[[], Awaitable[object]], send: object) -> None:
        assert callable(send)
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(harness.BenchError, match="no database"):
        async with started(app):
            raise AssertionError("never reached")


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "met"),
    [(13.0, 10.0, report.Goal("<=", 1.3), True), (14.0, 10.0, report.Goal("<=", 1.3), False),
     (8.0, 10.0, report.Goal(">=", 0.8), True), (7.0, 10.0, report.Goal(">=", 0.8), False), (1.0, 1.0, None, None)],
)  # fmt: skip
def test_a_ratio_meets_its_goal_or_does_not(
    ours: float, theirs: float, goal: report.Goal | None, met: bool | None
) -> None:
    row = report.Row(figure="f", unit="us", ours=ours, peer="p", theirs=theirs, goal=goal)
    assert row.met is met


def test_a_ratio_is_the_median_of_its_rounds() -> None:
    row = report.Row(
        figure="get", unit="/s", ours=10, peer="p", theirs=10, goal=report.Goal(">=", 1.0), ratios=(0.5, 2.0, 1.5)
    )
    assert row.compared == 1.5
    assert row.met is True
    assert row.cells()[4] == "1.50x (0.50-2.00)"


def test_a_difference_is_judged_as_one() -> None:
    row = report.Row(
        figure="import", unit="s", ours=0.9, peer="p", theirs=0.5, goal=report.Goal("<=", 0.5, "s"), difference=True
    )
    assert row.compared == pytest.approx(0.4)
    assert row.met is True
    assert row.cells()[4:] == ["+0.40 s", "<= 0.5 s", "yes"]


def test_the_report_is_written_as_markdown_and_as_json(tmp_path: Path) -> None:
    row = report.Row(figure="get", unit="/s", ours=90, peer="raw", theirs=100, goal=report.Goal(">=", 1.0))
    group = report.Group("P9", "a group", rows=[row], notes=["a note"])
    report.write([group], {"python": "3.11", "libraries": {"fastapi": "1"}}, tmp_path, "latest")
    text = (tmp_path / "latest.md").read_text()
    assert "| get | 90 /s | raw | 100 /s | 0.90x | >= 1x | **no** |" in text
    kept = json.loads((tmp_path / "latest.json").read_text())
    assert kept["groups"][0]["rows"][0]["met"] is False
    assert kept["groups"][0]["rows"][0]["compared"] == pytest.approx(0.9)
