"""A TCP proxy of this process's that can cut, delay, or leave half open what goes through it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

HOST = "127.0.0.1"


class TcpProxy:
    """Forwards every connection to one port of this machine; counts what it carries."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece of data waits, in both directions."""
        self.refuses = False
        """Whether new connections are closed at once."""
        self.swallows = False
        """Whether new connections are accepted and then hear nothing."""
        self.cuts_answers = False
        """Whether an answer cuts its connection instead of coming through: what was asked has been done then."""
        self.accepted = 0

    async def start(self) -> None:
        """Begins to listen, on a free port or, after `stop`, on the same one."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and cuts what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        for link in tuple(self._links):
            await link.ended.wait()

    def cut(self) -> int:
        """Resets every connection on both sides, at once; how many there were."""
        links = tuple(self._links)
        for link in links:
            link.cut()
        return len(links)

    def freeze(self) -> None:
        """Leaves every connection half open: nothing comes through any more, and nobody is told."""
        self._open.clear()

    def thaw(self) -> None:
        """Lets everything through again, also what was held back."""
        self._open.set()

    @property
    def links(self) -> int:
        """Connections that are open."""
        return len(self._links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            # What was accepted as the proxy stopped has not been there for `stop` to cut.
            if self.refuses or self._server is None:
                return
            if self.swallows:
                await link.is_cut.wait()
                return
            there, back = await asyncio.open_connection(HOST, self._target)
            link.writers.append(back)
            pipes = [
                asyncio.create_task(self._pipe(reader, back)),
                asyncio.create_task(self._pipe(there, writer, answers=True)),
                asyncio.create_task(link.is_cut.wait()),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            await asyncio.wait(pipes)
        except OSError:
            return  # The target does not listen.
        finally:
            link.cut()
            self._links.discard(link)
            link.ended.set()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.cuts_answers:
                    return
                await self._open.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()


class _Link:
    """One connection through the proxy."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.is_cut = asyncio.Event()
        self.ended = asyncio.Event()

    def cut(self) -> None:
        """Without a farewell, as when a cable is pulled and the other side answers with a reset."""
        self.is_cut.set()
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def tcp_proxy(target: int, port: int = 0) -> AsyncIterator[TcpProxy]:
    """A proxy in front of a port, on a free one unless another one is named."""
    proxy = TcpProxy(target)
    proxy.port = port
    await proxy.start()
    try:
        yield proxy
    finally:
        proxy.thaw()
        await proxy.stop()
