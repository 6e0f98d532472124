"""How a webhook is connected: its host is looked up here, every address is checked, and the checked one is used.

So no second look-up can give another address, and TLS still has to prove the name. What a connection gives is bounded.
"""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore2

from app_kernel.webhooks.addresses import is_public

MOST_TRIED = 3
"""Addresses of one host that a connection is tried to."""
MOST_LOOK_UPS = 200
"""Names that one process looks up at a time: each has a thread for as long as the name server keeps it waiting."""
LARGEST_ANSWER = 64 * 1024
"""Bytes that are read of one connection: the head of the answer and its body."""


_look_ups = threading.BoundedSemaphore(MOST_LOOK_UPS)


class AddressRefused(Exception):
    """The host is, or also is, an address that webhooks do not go to."""


class NameUnknown(Exception):
    """Nobody knows an address of the host."""


class AnswerTooLarge(Exception):
    """The receiver sent more than is read."""


class Gate(httpcore2.AsyncNetworkBackend):
    """Opens connections for the HTTP client, to public addresses only unless `allow_private`."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore2.AnyIOBackend()
        self._opened: list[httpcore2.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to one of the host's addresses; raises AddressRefused, NameUnknown and httpcore2's errors."""
        addresses = await look_up(host, port)
        if not self._allow_private:
            for address in addresses:
                if not is_public(address) or is_own(address):
                    raise AddressRefused
        failure: Exception = NameUnknown()
        for address in addresses[:MOST_TRIED]:
            try:
                stream = await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as exc:
                failure = exc
            else:
                self._opened.append(stream)
                return _Bounded(stream)
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Never."""
        raise AddressRefused

    async def close(self) -> None:
        """Ends what was opened, in whatever state: the client forgets one whose TLS was cancelled."""
        for stream in self._opened:
            await stream.aclose()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


class _Bounded(httpcore2.AsyncNetworkStream):
    """A connection of which only so much is read, whatever the other side sends."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner
        self._left = LARGEST_ANSWER

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise AnswerTooLarge
        data = await self._inner.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, in the order in which they are to be tried; raises NameUnknown.

    In a thread of its own: a name server that does not answer holds a shared one for half a minute, and with a few
    such names nothing else of the process would find a thread. Beyond `MOST_LOOK_UPS` of them no name is known.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if not _look_ups.acquire(blocking=False):
        raise NameUnknown
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str] | None) -> None:
        if not answer.done():
            if found:
                answer.set_result(found)
            else:
                answer.set_exception(NameUnknown())

    def work() -> None:
        try:
            found = resolve(host, port)
        except (OSError, UnicodeError):
            found = []
        finally:
            _look_ups.release()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name="webhook-look-up", daemon=True).start()
    return await answer


def resolve(host: str, port: int) -> list[str]:
    """What the resolver of this machine says; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # With its zone, if it has one: such an address is refused.
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_own(address: str) -> bool:
    """Whether an address is this machine's own, public or not: then packets to it start from that address as well."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # of a datagram socket: nothing is sent
            return ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(address)
    except (OSError, ValueError):
        return False
