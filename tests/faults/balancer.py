"""A reverse proxy as small as one can be: HTTP/1.1, connections that are kept, and `/readyz` to say who gets requests.

It never sends a request twice: where a backend refuses a connection or ends it without an answer, the client gets a
502. So each failure of a backend is seen.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PROBE_SECONDS = 1.0
IDLE_SECONDS = 2.0
"""After so long a connection that is not in use is closed, before the backend does."""
QUEUE_SECONDS = 10.0
"""How long a request waits where no backend is ready, as when a database stalls."""
READY = b"GET /readyz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Backend:
    """One web process."""

    port: int
    is_ready: bool = False
    idle: list[tuple[float, Link]] = field(default_factory=list)
    under_way: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def say(self, *, is_ready: bool) -> None:
        """What the last probe found."""
        async with self.changed:
            self.is_ready = is_ready
            self.changed.notify_all()

    async def until(self, *, is_ready: bool, seconds: float = 60) -> None:
        """Returns when a probe has found that."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: self.is_ready is is_ready)


class Balancer:
    """Made by `balancer`."""

    def __init__(self) -> None:
        self.backends: list[Backend] = []
        self.port = 0
        self.failures: list[str] = []
        """Each request that a backend failed."""
        self._turns = itertools.count()
        self._probes: dict[int, asyncio.Task[None]] = {}
        self._clients: set[asyncio.Task[None]] = set()

    def add(self, port: int) -> Backend:
        """One more backend, which gets requests once it is ready."""
        backend = Backend(port)
        self.backends.append(backend)
        self._probes[port] = asyncio.create_task(self._watch(backend))
        return backend

    def remove(self, backend: Backend) -> None:
        """It has ended."""
        self._probes.pop(backend.port).cancel()
        self.backends.remove(backend)
        for _, (_, writer) in backend.idle:
            writer.close()

    async def close(self) -> None:
        """Forgets everybody."""
        ending = [*self._probes.values(), *self._clients]
        for backend in tuple(self.backends):
            self.remove(backend)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _watch(self, backend: Backend) -> None:
        while True:
            is_ready = False
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(10):
                    is_ready = await self._is_ready(backend)
            await backend.say(is_ready=is_ready)
            await asyncio.sleep(PROBE_SECONDS)

    async def _is_ready(self, backend: Backend) -> bool:
        reader, writer = await asyncio.open_connection(HOST, backend.port)
        try:
            writer.write(READY)
            return b" 200 " in await reader.readline()
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, request after request."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    _, request = await read_message(reader)
                    writer.write(await self._carry(request))
                    await writer.drain()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _carry(self, request: bytes) -> bytes:
        ready = await self._ready()
        if not ready:
            self.failures.append("no backend is ready")
            return BAD_GATEWAY
        fewest = min(backend.under_way for backend in ready)
        least = [backend for backend in ready if backend.under_way == fewest]
        backend = least[next(self._turns) % len(least)]
        backend.under_way += 1
        try:
            return await self._send(backend, request)
        except (OSError, asyncio.IncompleteReadError) as exc:
            self.failures.append(f"{backend.port}: {exc!r}")
            return BAD_GATEWAY
        finally:
            backend.under_way -= 1

    async def _ready(self) -> list[Backend]:
        """The backends that get requests; a request waits where there is none for a moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + QUEUE_SECONDS
        while loop.time() < until:
            if ready := [each for each in self.backends if each.is_ready]:
                return ready
            await asyncio.sleep(0.05)
        return []

    async def _send(self, backend: Backend, request: bytes) -> bytes:
        now = asyncio.get_running_loop().time()
        while backend.idle:
            since, (reader, writer) = backend.idle.pop()
            if now - since < IDLE_SECONDS and not reader.at_eof():
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection(HOST, backend.port)
        is_kept = False
        try:
            writer.write(request)
            head, answer = await read_message(reader)
            is_kept = b"\r\nconnection: close" not in head.lower() and backend in self.backends
        finally:
            if is_kept:
                backend.idle.append((asyncio.get_running_loop().time(), (reader, writer)))
            else:
                writer.close()
        return answer


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head of one request or answer, and all of it; its body has a Content-Length or is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    return head, head + body


@asynccontextmanager
async def balancer() -> AsyncIterator[Balancer]:
    """One that listens, and has no backend yet."""
    made = Balancer()
    server = await asyncio.start_server(made.serve, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
