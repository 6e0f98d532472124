"""A closed-loop HTTP/1.1 keep-alive load client, bounded in count and time: `measure` runs it in its own process.

It must cost less than any server it measures, so requests are prebuilt bytes and an answer is read only as far as
its status and Content-Length.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.harness import BenchError, answer, child, cpu_seconds, percentile

DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to send: `requests` are whole HTTP requests as latin-1 text, sent round robin."""

    port: int
    requests: list[str]
    connections: int = 16
    seconds: float = 1.0
    warm_up: float = 0.2
    max_requests: int = 200_000
    watch_pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the measured window saw; latencies in ms, `server_cpu_us` per request of the watched process."""

    requests: int
    errors: int
    first_error: str
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_cpu_us: float | None
    client_cpu_share: float


def build_request(method: str, path: str, *, token: str | None = None, body: object = None) -> str:
    """A whole request as text, ready to be sent as latin-1."""
    payload = "" if body is None else json.dumps(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*", "User-Agent: bench"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    return "\r\n".join(lines) + "\r\n\r\n" + payload


class _Run:
    """The window all connections share; an answer counts when it completes inside it."""

    def __init__(self, spec: Spec) -> None:
        self.requests: Iterator[bytes] = itertools.cycle([text.encode("latin-1") for text in spec.requests])
        self.left = spec.max_requests
        self.open = 0
        self.measuring = False
        self.stopping = False
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error = ""
        self.idle = asyncio.Event()

    def next_request(self) -> bytes | None:
        """None when the run is over: the connection then closes."""
        if self.stopping or self.left <= 0:
            return None
        self.left -= 1
        return next(self.requests)

    def answered(self, status: bytes, seconds: float, whole: bytes) -> None:
        if not status.startswith(b"2"):
            self.failed(whole[:600].decode("latin-1"))
        elif self.measuring:
            self.latencies.append(seconds)

    def failed(self, reason: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or reason

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.idle.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the last answer is whole."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport
        self._transport = cast(asyncio.Transport, transport)
        self._run.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = answer_length(self._buffer)
        if end is None or len(self._buffer) < end:
            return
        whole, self._buffer = self._buffer[:end], self._buffer[end:]
        self._waiting = False
        self._run.answered(whole[9:12], time.perf_counter() - self._sent, whole)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._run.failed(f"connection lost while waiting: {exc!r}")
        self._run.closed()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._run.next_request()
        if request is None:
            self._transport.close()
            return
        self._waiting = True
        self._sent = time.perf_counter()
        self._transport.write(request)


def answer_length(data: bytes) -> int | None:
    """Bytes of the first answer in `data`, None while its head is not complete. Raises ValueError without a length."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    start = data.lower().find(b"\r\ncontent-length:", 0, head + 2)
    if start < 0:
        if data[9:12] == b"204":
            return head + 4
        raise ValueError("an answer without Content-Length cannot be measured")
    return head + 4 + int(data[start + 17 : data.index(b"\r\n", start + 2)])


async def run(spec: Spec) -> Result:
    """Warm up, measure one window, let the requests in flight finish, close."""
    state = _Run(spec)
    loop = asyncio.get_running_loop()
    for _ in range(spec.connections):
        await loop.create_connection(lambda: Connection(state), "127.0.0.1", spec.port)
    await _until(state, spec.warm_up)
    server_before = _watched(spec)
    client_before = time.process_time()
    begun = time.perf_counter()
    state.measuring = True
    await _until(state, spec.seconds)
    state.measuring = False
    elapsed = time.perf_counter() - begun
    client_cpu = time.process_time() - client_before
    server_cpu = None if server_before is None else (_watched(spec) or 0.0) - server_before
    state.stopping = True
    await asyncio.wait_for(state.idle.wait(), DRAIN_SECONDS)
    return _result(state, elapsed, server_cpu, client_cpu / elapsed)


async def _until(state: _Run, seconds: float) -> None:
    """Until the time is up, or every connection has closed because the count is used up."""
    try:
        await asyncio.wait_for(state.idle.wait(), seconds)
    except TimeoutError:
        return


def _watched(spec: Spec) -> float | None:
    return None if spec.watch_pid is None else cpu_seconds(spec.watch_pid)


def _result(state: _Run, elapsed: float, server_cpu: float | None, client_share: float) -> Result:
    count = len(state.latencies)
    milliseconds: Sequence[float] = [seconds * 1000 for seconds in state.latencies] or [0.0]
    return Result(
        requests=count,
        errors=state.errors,
        first_error=state.first_error,
        seconds=elapsed,
        per_second=count / elapsed,
        p50_ms=percentile(milliseconds, 0.50),
        p95_ms=percentile(milliseconds, 0.95),
        p99_ms=percentile(milliseconds, 0.99),
        server_cpu_us=None if server_cpu is None or not count else server_cpu / count * 1e6,
        client_cpu_share=client_share,
    )


def measure(spec: Spec, folder: Path) -> Result:
    """Run the client in its own process. Raises BenchError on any answer other than success.

    A window without a single answer is measured once more: writers that wait for each other's locks can sleep through
    a short one.
    """
    limit = spec.warm_up + spec.seconds + DRAIN_SECONDS + 10
    for _ in range(2):
        result = Result(**child("benchmarks.load", asdict(spec), folder, limit=limit, core=1))
        if result.errors:
            raise BenchError(f"{result.errors} failed answers on port {spec.port}, the first: {result.first_error}")
        if result.requests:
            return result
    raise BenchError(f"twice no request was answered within {spec.seconds} s on port {spec.port}")


def main() -> None:
    """The child: read a Spec from standard input, answer with a Result."""
    answer(asdict(uvloop.run(run(Spec(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
