"""An ASGI app called directly, without server or socket: microseconds of Python a request."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.harness import BenchError

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
START_SECONDS = 20.0


@asynccontextmanager
async def started(app: App) -> AsyncIterator[dict[str, Any]]:
    """Run the app's lifespan as a server does, in a task of its own; gives the lifespan's state."""
    state: dict[str, Any] = {}
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(app(scope, incoming.get, outgoing.put))
    await _lifespan_step(task, incoming, outgoing, "startup")
    try:
        yield state
    finally:
        await _lifespan_step(task, incoming, outgoing, "shutdown")
        await task


async def _lifespan_step(
    task: asyncio.Future[None], incoming: asyncio.Queue[Message], outgoing: asyncio.Queue[Message], step: str
) -> None:
    await incoming.put({"type": f"lifespan.{step}"})
    answer = asyncio.ensure_future(outgoing.get())
    both: list[asyncio.Future[Any]] = [task, answer]
    await asyncio.wait(both, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        raise BenchError(f"lifespan {step} gave no answer: {task!r}")
    if answer.result()["type"] != f"lifespan.{step}.complete":
        raise BenchError(f"lifespan {step}: {answer.result()}")


class Caller:
    """One request, prepared once and sent many times."""

    def __init__(
        self, app: App, path: str, *, state: dict[str, Any], token: str | None = None, method: str = "GET",
        body: object = None,
    ) -> None:  # fmt: skip
        self.app, self.state = app, state
        self.body = b"" if body is None else json.dumps(body).encode()
        headers = [(b"host", b"127.0.0.1"), (b"accept", b"*/*"), (b"user-agent", b"bench")]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        if body is not None:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        self.headers = headers
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 40000),
            "scheme": "http",
            "method": method,
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
        }
        self._status = 0
        self._parts: list[bytes] = []

    async def once(self) -> bytes:
        """Send it; gives the body. Raises BenchError on any status but 2xx."""
        self._status, self._parts = 0, []
        scope = {**self.scope, "headers": list(self.headers), "state": self.state.copy()}
        messages = iter([{"type": "http.request", "body": self.body, "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        await self.app(scope, receive, self._send)
        whole = b"".join(self._parts)
        if not 200 <= self._status < 300:
            raise BenchError(f"{self.scope['path']} answered {self._status}: {whole[:600]!r}")
        return whole

    async def batch(self, requests: int) -> float:
        """Microseconds of CPU time a request over one batch, one after the other.

        CPU time, all threads of the process: what else runs on the machine must not look like the app's own cost.
        """
        gc.collect()
        once = self.once
        begun = time.process_time()
        for _ in range(requests):
            await once()
        # What the app put off until the loop's next turn is part of what its requests cost.
        await asyncio.sleep(0)
        elapsed = time.process_time() - begun
        return elapsed / requests * 1e6

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
