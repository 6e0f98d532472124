"""Two services in production, with everything that may break in them: on servers of their own, and on SQLite alone."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app_kernel import ServiceConfig, create_service
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook
from app_kernel.webhooks.signing import make_secret
from tests.faults.children import ROOT
from tests.faults.durable_redis import durable_redis
from tests.faults.postgres_server import own_postgres
from tests.faults.soak_faults import Fault, Faults
from tests.faults.soak_fleet import FIRST, PASSWORD, SECRET, SoakFleet
from tests.faults.soak_reconcile import Place
from tests.faults.soak_service import EVENT, NAME, WORKSPACE, registry, router
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.zygote import start

WEBS = 2


@dataclass(frozen=True)
class Running:
    """A service that works."""

    place: Place
    fleet: SoakFleet
    faults: Faults
    kinds: list[Fault]
    ports: list[int]
    """Where clients reach it: of the proxies before its web processes."""


Opened = AbstractAsyncContextManager[Running]
Opener = Callable[[Path, random.Random, float], Opened]
"""Of a folder, of chance, and of the seconds that a fault lasts."""


@asynccontextmanager
async def on_servers(folder: Path, chance: random.Random, fault_seconds: float) -> AsyncIterator[Running]:
    """PostgreSQL and Redis of its own, two web processes, a worker and an admin worker."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(own_postgres())
        redis = stack.enter_context(durable_redis(folder / "redis", "always"))
        to_server = await stack.enter_async_context(tcp_proxy(server.port))
        to_redis = await stack.enter_async_context(tcp_proxy(redis.port))
        app, admin = (f"{server.url}?schema={name}&pool_size=8" for name in ("soak", "soak_admin"))
        await prepare(app, admin, *await stack.enter_async_context(receiver(folder)))
        redis_url = f"redis://127.0.0.1:{to_redis.port}/0"
        settings = {"DATABASE_URL": moved(app, to_server), "ADMIN_DB_URL": moved(admin, to_server)}
        fleet = stack.enter_context(SoakFleet(folder, {**settings, "REDIS_URL": redis_url}))
        to_webs = [await stack.enter_async_context(tcp_proxy(fleet.web().port)) for _ in range(WEBS)]
        fleet.worker()
        fleet.admin_worker(redis_url, settings["ADMIN_DB_URL"])
        await answering(fleet)
        faults = Faults(fleet, chance, fault_seconds)
        kinds = [
            faults.kill("web"), faults.kill("worker"), faults.kill("admin"), faults.kill_redis(redis),
            faults.crash_server(server), faults.cut("postgres", to_server), faults.cut("redis", to_redis),
            faults.cut("clients", *to_webs), faults.delay("postgres", to_server), faults.delay("redis", to_redis),
            faults.freeze("postgres", to_server), faults.pause("worker"),
        ]  # fmt: skip
        place = Place(app, admin, redis, folder / "received.jsonl")
        yield Running(place, fleet, faults, kinds, [proxy.port for proxy in to_webs])


@asynccontextmanager
async def on_a_file(folder: Path, chance: random.Random, fault_seconds: float) -> AsyncIterator[Running]:
    """SQLite alone: two web processes on one file, which run the jobs themselves."""
    async with AsyncExitStack() as stack:
        app, admin = (f"sqlite:///{folder / name}" for name in ("app.db", "admin.db"))
        await prepare(app, admin, *await stack.enter_async_context(receiver(folder)))
        fleet = stack.enter_context(SoakFleet(folder, {"DATABASE_URL": app, "ADMIN_DB_URL": admin}))
        to_webs = [await stack.enter_async_context(tcp_proxy(fleet.web().port)) for _ in range(WEBS)]
        await answering(fleet)
        faults = Faults(fleet, chance, fault_seconds)
        kinds = [
            faults.kill("web"), faults.pause("web"), faults.fill_disk(), faults.lock_file(folder / "app.db", "notes"),
            faults.lock_file(folder / "admin.db", "audit_logs"), faults.cut("clients", *to_webs),
            faults.delay("clients", to_webs[0]),
        ]  # fmt: skip
        place = Place(app, admin, None, folder / "received.jsonl")
        yield Running(place, fleet, faults, kinds, [proxy.port for proxy in to_webs])


def moved(url: str, proxy: TcpProxy) -> str:
    """The URL with the proxy's port."""
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


async def answering(fleet: SoakFleet) -> None:
    """Returns when every web process is ready."""
    for part in fleet.parts:
        if part.port:
            await fleet.answering(part)
            await fleet.hash_once(part)


@asynccontextmanager
async def receiver(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """The port of a receiver of webhooks, and the secret that it knows."""
    secret, port = make_secret(), folder / "port"
    (folder / "secrets.json").write_text(json.dumps({"ok": secret}))
    arguments = [str(folder / "secrets.json"), str(folder / "received.jsonl"), str(port)]
    with (folder / "receiver.log").open("a") as out:
        process = start("tests.faults.webhook_receiver", arguments, cwd=ROOT, env=dict(os.environ), stdout=out.fileno())
    try:
        deadline = time.monotonic() + 60
        while not port.exists():
            assert time.monotonic() < deadline, (folder / "receiver.log").read_text()
            await asyncio.sleep(0.02)
        yield int(port.read_text()), secret
    finally:
        process.kill()


async def prepare(app: str, admin: str, port: int, secret: str, email: str = FIRST) -> str:
    """Makes the webhook of that receiver, and an account, whose access token it gives; and all tables on the way."""
    config = ServiceConfig(
        jwt_secret=SECRET, database_name=app, admin_db_url=admin, webhook_allow_private=True, embedded_worker=False,
        allow_self_signup=True,
    )  # fmt: skip
    service = create_service(NAME, config=config, routers=[router], tasks=registry)
    async with kernel_client(service, database=None) as client:
        url = f"http://127.0.0.1:{port}/ok"
        await create_webhook(client.db, WORKSPACE, url=url, events=[EVENT], secret=secret)
        answer = await client.post("/auth/register", json={"email": email, "password": PASSWORD})
        token: str = answer.json()["access_token"]
        return token
