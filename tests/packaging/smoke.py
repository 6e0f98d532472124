"""What an installation can do: run by the Python that it was installed for, in an empty directory.

    python smoke.py [EXTRA ...]

The servers are those of TEST_POSTGRES_URL, TEST_MYSQL_URL and TEST_REDIS_URL. It imports nothing of the repository but
the package, prints what it did, and ends with 0 if all of that worked.
"""

import asyncio
import os
import pkgutil
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any
from uuid import uuid4

SECRET = "a-secret-of-an-installation-that-is-tried"
DRIVERS = {"postgres": "postgres://127.0.0.1:1/none", "mysql": "mysql://127.0.0.1:1/none"}
SETTINGS: dict[str, dict[str, Any]] = {
    "oauth": {"oauth_providers": {"github": {"client_id": "invented", "client_secret": "invented"}}},
    "otel": {"otlp_endpoint": "http://127.0.0.1:1"},
    "redis": {"redis_url": "redis://127.0.0.1:1"},
    **{extra: {"database_name": url, "redis_url": "redis://127.0.0.1:1"} for extra, url in DRIVERS.items()},
}
"""For each extra, settings that cannot do without it."""


WIRE = "app_kernel.redis_connection"
"""Stands on the package redis, and is imported by who has a use for it."""


def check(fact: object, what: str) -> None:
    """An assertion that `python -O` keeps."""
    if not fact:
        raise AssertionError(what)


def public_modules() -> list[str]:
    """What users import or run: the package, the modules and folders in it, and the worker, whose path is public."""
    package = import_module("app_kernel")
    found = [each.name for each in pkgutil.iter_modules(package.__path__, "app_kernel.")]
    check(WIRE in found, f"there is no {WIRE}")
    return ["app_kernel", *(name for name in found if name != WIRE), "app_kernel.jobs.worker"]


async def try_public_modules() -> None:
    """Every one of them can be imported, and has the names that it says it has."""
    for name in public_modules():
        module = import_module(name)
        missing = [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)]
        check(not missing, f"{name} has no {missing}")


async def try_a_service() -> None:
    """Accounts, rows, history, a job, a mail, pages: what lies in files beside the code is there too."""
    kernel = import_module("app_kernel")
    registry = kernel.JobRegistry()

    @registry.task("count")
    async def count(ctx: Any) -> int:
        async with import_module("app_kernel.db").get_db_connection() as db:
            return int(await db.count_entities("widgets"))

    config = kernel.ServiceConfig(
        jwt_secret=SECRET, database_name="./app.db", allow_self_signup=True, email_verification="required"
    )
    app = kernel.create_service("installed", config=config, tasks=registry)
    async with import_module("app_kernel.testing").kernel_client(app, database=None) as client:
        check((await client.get("/readyz")).status_code == 200, "it is not ready")
        good = await client.post("/auth/register", json={"email": "ada@example.com", "password": uuid4().hex})
        check(good.status_code < 300, f"an account: {good.status_code}")
        saved = await client.db.save_entity("widgets", {"name": "gear"})
        await client.db.save_entity("widgets", {"id": saved["id"], "name": "wheel"})
        check(len(await client.db.get_entity_history("widgets", saved["id"])) == 2, "no history")
        await kernel.get_job_client().enqueue("count")
        done = await client.jobs.drain()
        check(1 in [job.result for job in done if job.task_name == "count"], "the job did not run")
        check(await client.mails(), "no mail")
        check("<html" in (await client.get("/auth/reset-password")).text, "no page")
        check(import_module("app_kernel.auth.password_rules").find_weakness("password123", ()), "no common passwords")


async def try_the_store(url: str) -> None:
    """Saves a row and reads it again."""
    table = f"installed_{uuid4().hex}"
    async with import_module("app_kernel.db").connect(url) as db:
        saved = await db.save_entity(table, {"amount": 12.5})
        read = await db.get_entity(table, saved["id"])
        check(read is not None and read["amount"] == 12.5, f"read {read}")
        for name in (table, f"{table}_history"):
            await db.execute(f"DROP TABLE [{name}]")


async def try_postgres() -> None:
    """The store on PostgreSQL."""
    await try_the_store(os.environ["TEST_POSTGRES_URL"])


async def try_mysql() -> None:
    """The store on MySQL or MariaDB."""
    await try_the_store(os.environ["TEST_MYSQL_URL"])


async def try_redis() -> None:
    """A service whose cache is in Redis."""
    cache = import_module("app_kernel.cache").cache
    async with serving(redis_url=os.environ["TEST_REDIS_URL"]) as client:
        check((await client.get("/readyz")).json()["components"]["redis"] == "ok", "Redis is not ready")
        key = uuid4().hex
        await cache.set(key, [1, "two"], ttl=60)
        check(await cache.get(key) == [1, "two"], "the cache forgot")
        await cache.delete(key)


async def try_oauth() -> None:
    """A service that sends a browser to GitHub."""
    async with serving(public_url="https://installed.example", **SETTINGS["oauth"]) as client:
        answer = await client.get("/auth/oauth/github", follow_redirects=False)
        place = answer.headers.get("location", "")
        check(place.startswith("https://github.com/login/oauth/authorize?"), f"{answer.status_code} {place}")


async def try_otel() -> None:
    """A service whose traces arrive."""
    with collecting() as (address, arrived):
        async with serving(otlp_endpoint=address, trace_sample_ratio=1.0) as client:
            check((await client.get("/healthz")).status_code == 200, "it is not healthy")
            await client.db.count_entities("widgets")
            await client.get("/openapi.json")
        check(await asyncio.to_thread(arrived.wait, 30), "no trace arrived")


async def try_testing() -> None:
    """The kit of tests, which this whole program stands on."""
    async with serving() as client:
        ada = await client.log_in_as("ada@example.com")
        check((await ada.get("/auth/me")).json()["email"] == "ada@example.com", "nobody is signed in")


def serving(**settings: Any) -> Any:
    """A service on a database in memory, and its client."""
    kernel = import_module("app_kernel")
    memory = "sqlite://:memory:"
    config = kernel.ServiceConfig(jwt_secret=SECRET, database_name=memory, admin_db_url=memory, **settings)
    return import_module("app_kernel.testing").kernel_client(
        kernel.create_service("installed", config=config), database=None
    )


@contextmanager
def collecting() -> Iterator[tuple[str, threading.Event]]:
    """A collector of traces: its address, and whether something came."""
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def try_without(extra: str) -> None:
    """A service that needs an extra which is not there says how to get it."""
    kernel = import_module("app_kernel")
    settings = {"jwt_secret": SECRET, "database_name": "sqlite://:memory:", **SETTINGS[extra]}
    try:
        app = kernel.create_service("installed", config=kernel.ServiceConfig(**settings))
        async with import_module("app_kernel.testing").kernel_client(app, database=None):
            raise AssertionError(f"it started without the extra {extra}")
    except kernel.ConfigurationError as exc:
        text = str(exc)
        check(f"app-kernel[{extra}]" in text, f"of the extra {extra} it says: {text}")


EXTRAS: dict[str, Callable[[], Awaitable[None]]] = {
    "mysql": try_mysql,
    "oauth": try_oauth,
    "otel": try_otel,
    "postgres": try_postgres,
    "redis": try_redis,
    "testing": try_testing,
}


async def try_installation(extras: Sequence[str], *, base: bool = True) -> list[str]:
    """Tries what should be there, and that what should not be there is asked for; returns what it did."""
    done = []
    for check_base in (try_public_modules, try_a_service) if base else (try_public_modules,):
        await check_base()
        done.append(check_base.__name__)
    for extra in extras:
        await EXTRAS[extra]()
        done.append(EXTRAS[extra].__name__)
    for extra in SETTINGS.keys() - set(extras):
        await try_without(extra)
        done.append(f"try_without {extra}")
    return done


if __name__ == "__main__":
    print("\n".join(asyncio.run(try_installation(sys.argv[1:]))))
