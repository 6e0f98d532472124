"""A service is stopped under load in every way: whatever it began it answers, and whatever it answered is kept."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.faults.balancer import HOST, READY, read_message
from tests.faults.figures import figure
from tests.faults.outbox_feature import look
from tests.faults.soak_fleet import PASSWORD, Part, SoakFleet

SIGNALS = [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,), (signal.SIGKILL,)]
"""What is sent in one round; the next round takes the next one."""
ROUNDS = figure(short=3, long=100)
LANES, REQUESTS_A_SECOND = 8, 200
LEAST_SECONDS = 0.5
"""Of load before a stop."""
SLOW_EVERY, SLOW_SECONDS = 20, 0.3
"""So many requests, of which one takes so long: always some are under way."""
DRAIN_SECONDS = 1.0
EXIT_SECONDS = 30.0
ENDED = {signal.SIGTERM: {-signal.SIGTERM}, signal.SIGINT: {0, 130, -signal.SIGINT}, signal.SIGKILL: {-signal.SIGKILL}}
"""How a server ends that was told to: uvicorn sends itself the signal again in the end."""


@dataclass
class Load:
    """Requests on connections that are kept, as many a second as wanted, until the server takes no more."""

    port: int
    token: str
    name: str
    sent: int = 0
    answered: dict[str, tuple[float, int]] = field(default_factory=dict)
    """When a request was sent, and its status, by its id."""
    saved: dict[str, int] = field(default_factory=dict)
    """The version of each note that was acknowledged."""
    unready: list[float] = field(default_factory=list)
    """When `/readyz` said 503."""

    async def lane(self, number: int) -> None:
        """One client, which connects again as long as it may."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                return
            with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
                goes_on = True
                while goes_on:
                    goes_on = await self._ask(number, reader, writer)
                    await asyncio.sleep(LANES / REQUESTS_A_SECOND)

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.sent += 1
        id, at = f"{self.name}-{self.sent}", time.monotonic()
        is_slow = self.sent % SLOW_EVERY == 0
        body = b"" if is_slow else json.dumps({"mark": id, "text": "x"}).encode()
        line = f"GET /slow/{SLOW_SECONDS}" if is_slow else f"PUT /notes/{self.name}-{number}"
        writer.write(
            f"{line} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {id}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head, answer = await read_message(reader)
        status = int(head.split(b" ", 2)[1])
        self.answered[id] = at, status
        if not is_slow and status == 200:
            self.saved[id] = json.loads(answer[len(head) :])["_version"]
        return b"connection: close" not in head.lower()

    async def probe(self) -> None:
        """Asks whether it is ready, as long as it answers."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, self.port)
                with closing(writer):
                    writer.write(READY)
                    head, _ = await read_message(reader)
            except (OSError, asyncio.IncompleteReadError):
                return
            if b" 503 " in head:
                self.unready.append(time.monotonic())
            await asyncio.sleep(0.05)


@asynccontextmanager
async def under(load: Load) -> AsyncIterator[None]:
    """The load inside the block, which must end the server."""
    tasks = [asyncio.create_task(load.lane(number)) for number in range(LANES)]
    tasks.append(asyncio.create_task(load.probe()))
    try:
        async with asyncio.timeout(60):
            while load.sent < LEAST_SECONDS * REQUESTS_A_SECOND:  # noqa: ASYNC110 - lanes tell nobody
                await asyncio.sleep(0.01)
        yield
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def stop(fleet: SoakFleet, part: Part, load: Load, signals: tuple[signal.Signals, ...]) -> float:
    """Seconds from the first signal to the end of the process."""
    assert part.process is not None
    async with under(load):
        began = time.monotonic()
        for number in signals:
            part.process.send_signal(number)
            await asyncio.sleep(0.1)
        status = await asyncio.to_thread(part.process.wait, EXIT_SECONDS + 30)
        seconds = time.monotonic() - began
    assert status in ENDED[signals[0]], fleet.said(part)
    return seconds


def begun(log: Path, name: str) -> set[str]:
    """The ids of this load's requests that the server says it has dealt with."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    ids = {line["request_id"] for line in lines if line.get("event") == "request"}
    return {id for id in ids if id.rpartition("-")[0] == name}


async def sign_up(part: Part) -> str:
    """The access token of a new user."""
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{part.port}", timeout=60) as client:
        answer = await client.post("/auth/register", json={"email": "ada@example.com", "password": PASSWORD})
        token: str = answer.json()["access_token"]
        return token


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("OP6")
async def test_a_service_that_is_stopped_under_load_answers_what_it_began_and_keeps_what_it_answered(
    tmp_path: Path,
) -> None:
    """SIGTERM twice, SIGINT and SIGKILL under 200 requests a second; in the long run 100 times."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    settings = {"DATABASE_URL": url, "DRAIN_SECONDS": str(DRAIN_SECONDS), "LOG_LEVEL": "INFO"}
    saved: dict[str, int] = {}
    stops: list[float] = []
    requests = 0
    with SoakFleet(tmp_path, settings) as fleet:
        part = fleet.web()
        await fleet.answering(part)
        token = await sign_up(part)
        for number in range(ROUNDS):
            signals = SIGNALS[number % len(SIGNALS)]
            load = Load(part.port, token, f"round{number}")
            stops.append(await stop(fleet, part, load, signals))
            assert stops[-1] < EXIT_SECONDS
            assert {status for _, status in load.answered.values()} == {200}
            if signals[0] is not signal.SIGKILL:
                assert begun(fleet.log(part), load.name) == load.answered.keys(), "what it began it did not answer"
            if signals[0] is signal.SIGTERM:
                assert load.unready, "it was never seen unready"
                assert any(at > load.unready[0] for at, _ in load.answered.values()), "unready, it served nobody"
            saved |= load.saved
            requests += len(load.answered)
            fleet.start(part)
            await fleet.answering(part)
    rows = await asyncio.to_thread(look, url, "SELECT mark, id, _version FROM notes_history ORDER BY id, _version")
    kept = {str(mark): int(version) for mark, _, version in rows}
    assert len(kept) == len(rows), "a save was done twice"
    assert saved.items() <= kept.items(), "an acknowledged save is lost"
    print(f"\n{ROUNDS} stops, {requests} requests answered, the slowest stop took {max(stops):.1f} s")
