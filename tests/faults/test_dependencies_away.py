"""Each server that a service needs is away, and all of them, at the start and later: what does not need it works on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.faults.balancer import HOST, read_message
from tests.faults.figures import SOAK, figure
from tests.faults.soak_fleet import PASSWORD, SoakFleet
from tests.faults.soak_places import moved, prepare, receiver
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.mail.smtp_server import SmtpServer
from tests.redis_server import own_redis

IN_READYZ = {"database", "admin_database", "redis"}
"""Without these a service is not ready; it is without the others, whose work waits."""
BESIDE = {"mail", "webhooks", "oauth"}
ALL = IN_READYZ | BESIDE
CASES = {name: {name} for name in sorted(IN_READYZ)} | figure(
    short={"beside": BESIDE}, long={name: {name} for name in sorted(BESIDE)}
)
EMAIL = "ada@example.com"
ALIVE_SECONDS = 0.1
"""The quickest of several answers of `/healthz`: other processes of the machine are no matter of the service's."""
BACK_SECONDS = 5.0 if SOAK else 30.0
ARRIVE_SECONDS = 120.0


@dataclass
class Away:
    """A service that is reached at `client`, and a proxy before each server that it needs."""

    proxies: dict[str, TcpProxy]
    client: httpx2.AsyncClient
    mail: SmtpServer
    received: Path
    orders: list[str] = field(default_factory=list)
    """Acknowledged ones."""
    mails: int = 0
    """Acknowledged ones."""
    count: int = 0

    async def take(self, names: set[str]) -> None:
        """These are away from now on."""
        for name in names:
            await self.proxies[name].stop()

    async def bring(self, names: set[str]) -> None:
        """And back."""
        for name in names:
            await self.proxies[name].start()

    async def status(self, method: str, path: str, body: object = None) -> int:
        """What is answered to the user."""
        return (await self.client.request(method, path, json=body)).status_code

    async def work(self) -> dict[str, int]:
        """What each part of the service answers."""
        self.count += 1
        order = f"order-{self.count}"
        statuses = {
            "save": await self.status("PUT", "/notes/one", {"mark": order, "text": "x"}),
            "sign-in": await self.status("POST", "/auth/login", {"email": EMAIL, "password": PASSWORD}),
            "order": await self.status("POST", "/orders", {"id": order, "units": 1}),
            "mail": await self.status("POST", f"/mails/{self.count}"),
        }
        if statuses["order"] == 200:
            self.orders.append(order)
        self.mails += statuses["mail"] == 200
        return statuses

    async def named(self) -> set[str]:
        """What `/readyz` calls unavailable."""
        answer = await self.client.get("/readyz")
        components = answer.json()["components"]
        named = {name for name, state in components.items() if state != "ok"}
        assert answer.status_code == (503 if named else 200)
        return named

    async def until_named(self, names: set[str], seconds: float = 60) -> None:
        """Returns when `/readyz` names these and no other."""
        deadline = time.monotonic() + seconds
        while (found := await self.named()) != names:
            assert time.monotonic() < deadline, f"named {found}, not {names}"
            await asyncio.sleep(0.05)

    async def until_arrived(self, said: Callable[[], str]) -> None:
        """Returns when every mail and every webhook has come; where one does not, what the service said is shown."""
        deadline = time.monotonic() + ARRIVE_SECONDS
        while (waits := self._waiting()) != (0, set()):
            assert time.monotonic() < deadline, f"mails and webhooks that never came: {waits}\n{said()}"
            await asyncio.sleep(0.1)

    def _waiting(self) -> tuple[int, set[str]]:
        lines = self.received.read_text().splitlines() if self.received.exists() else []
        return self.mails - len(self.mail.received), set(self.orders) - {json.loads(line)["n"] for line in lines}


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("OP5")
@pytest.mark.parametrize("names", [*CASES.values(), ALL], ids=[*CASES, "all"])
async def test_what_does_not_need_a_server_works_while_it_is_away_at_the_start_and_later(
    names: set[str], tmp_path: Path, urls: tuple[str, str]
) -> None:
    """`/healthz` answers, `/readyz` names what is away and nothing else, and all goes on when it is back."""
    async with surrounded(tmp_path, urls) as (fleet, away):
        await away.take(names)
        part = fleet.web()
        await fleet.answering(part, "/healthz")
        away.client.base_url = f"http://{HOST}:{part.port}"
        if "database" in names:
            # Before its database has come, the service does not look for the others.
            await check(away, names, {"database"}, 503)
        else:
            await check(away, names, names & IN_READYZ, 502 if "oauth" in names else 303)
        at_start = await back(away, names)
        assert await away.status("GET", "/auth/oauth/stub") == 303
        await away.take(names)
        # No database is needed for the way to a provider, and what that said is remembered.
        await check(away, names, names & IN_READYZ, 303)
        later = await back(away, names)
        await away.until_arrived(lambda: fleet.said(part))
        fleet.assert_alive()
    print(f"\n{sorted(names)}: works {at_start:.2f} s after it came at the start, {later:.2f} s after it came back")
    assert max(at_start, later) < BACK_SECONDS


async def check(away: Away, names: set[str], named: set[str], sent_on: int) -> None:
    """While these are away: what `/readyz` names, and what a browser hears that wants to sign in elsewhere."""
    await away.until_named(named)
    needs_database = 503 if "database" in names else 200
    assert await away.work() == dict.fromkeys(("save", "sign-in", "order", "mail"), needs_database)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        assert await away.status("GET", "/healthz") == 200
        seconds.append(time.perf_counter() - began)
    # Others use the processor too in `make test`.
    assert figure(short=min, long=max)(seconds) < ALIVE_SECONDS
    assert await away.named() == named
    assert await away.status("GET", "/auth/oauth/stub") == sent_on


async def back(away: Away, names: set[str]) -> float:
    """Seconds from their return until everything works."""
    began = time.monotonic()
    await away.bring(names)
    await away.until_named(set())
    while set((await away.work()).values()) != {200}:
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@asynccontextmanager
async def surrounded(folder: Path, urls: tuple[str, str]) -> AsyncIterator[tuple[SoakFleet, Away]]:
    """The servers, proxies before them, and a fleet that is told of the proxies; no process of the service yet."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(own_redis(folder))
        await redis.start()
        mail = SmtpServer()
        await mail.start()
        stack.push_async_callback(mail.stop)
        issuer = await asyncio.start_server(tell_discovery, HOST, 0)
        stack.callback(issuer.close)
        port, secret = await stack.enter_async_context(receiver(folder))
        targets = {
            "database": urlsplit(urls[0]).port, "admin_database": urlsplit(urls[1]).port, "redis": redis.port,
            "mail": mail.port, "webhooks": port,
            "oauth": issuer.sockets[0].getsockname()[1],
        }  # fmt: skip
        proxies = {name: await stack.enter_async_context(tcp_proxy(port or 0)) for name, port in targets.items()}
        provider = {"issuer": f"http://{HOST}:{proxies['oauth'].port}", "client_id": "me", "client_secret": "x" * 32}
        settings = {
            "DATABASE_URL": moved(urls[0], proxies["database"]),
            "ADMIN_DB_URL": moved(urls[1], proxies["admin_database"]),
            "REDIS_URL": f"redis://{HOST}:{proxies['redis'].port}/0",
            "SMTP_URL": f"smtp://{HOST}:{proxies['mail'].port}?timeout=5",
            "MAIL_FROM": "post@shop.example",
            "PUBLIC_URL": "http://127.0.0.1:8000",
            "OAUTH_PROVIDERS": json.dumps({"stub": provider}),
            "EMBEDDED_WORKER": "true",
        }
        fleet = stack.enter_context(SoakFleet(folder, settings))
        token = await prepare(*urls, proxies["webhooks"].port, secret, EMAIL)
        client = httpx2.AsyncClient(timeout=60, headers={"Authorization": f"Bearer {token}"})
        await stack.enter_async_context(client)
        yield fleet, Away(proxies, client, mail, folder / "received.jsonl")


async def tell_discovery(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As much of an OpenID provider as a sign-in needs to begin: the document at its issuer's address."""
    head, _ = await read_message(reader)
    host = next(line[6:] for line in head.decode().split("\r\n") if line.lower().startswith("host: "))
    at = {f"{name}_endpoint": f"http://{host}/{name}" for name in ("authorization", "token", "userinfo")}
    body = json.dumps({"issuer": f"http://{host}", "jwks_uri": f"http://{host}/jwks", **at}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    writer.close()
