"""The admin worker takes what services put into Redis for the admin database, and writes it there.

    python -m app_kernel.admin_worker --redis redis://localhost:6379 --db sqlite:///admin.db

Without these options both addresses are those of the service's settings, from the environment or `.env`: a password
that is an argument can be read by everybody on the machine. It serves every sink for the admin database that the
kernel's own features bring, and with `--app main:app` or `--features module:list` the application's own. Several may
run at once; killed at any instant, they lose nothing and write nothing twice. SIGTERM ends one after the batch under
way, with 0; wrong use, or nothing to serve, is 2.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError, InvalidDatabaseUrl
from app_kernel.core.feature import Feature
from app_kernel.core.outbox import ADMIN_TOPICS, Sink
from app_kernel.core.tables import Table
from app_kernel.db.database import Database, create_database
from app_kernel.db.outbox.backoff import Backoff
from app_kernel.db.outbox.claims import claim_key, claim_stream
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.rows import OutboxRows
from app_kernel.db.outbox.stream_reader import StreamReader
from app_kernel.features import FEATURES
from app_kernel.logs import configure_logging, get_logger
from app_kernel.redis_wire import create_redis
from app_kernel.service.address_check import find_admin_problems, find_database_problems, find_redis_problems

WRONG_USE = 2
LEASE = "admin-relay"
"""Of its own, so that a worker beside a service that writes to the same database does not keep that one's relay out."""

_PLACES = {"admin_db_url", "database_name", "database_type"}
"""Settings without any of which nobody has said where the admin database is."""

_log = get_logger("app_kernel.admin_worker")


class AdminWorker:
    """Drains the streams of some sinks into one admin database, until `end`."""

    def __init__(self, redis: Any, database: Database, features: Sequence[Feature]) -> None:
        self._redis = redis
        self._database = database
        self._tables = [table for feature in features for table in feature.admin_tables]
        self._ending = asyncio.Event()
        consumer = f"{socket.gethostname()}-{os.getpid()}"
        self._sinks = admin_sinks(features)
        self._readers = [
            StreamReader(redis, database, topic, sink, consumer=consumer) for topic, sink in self._sinks.items()
        ]

    def end(self) -> None:
        """Finishes the batches under way."""
        self._ending.set()
        for reader in self._readers:
            reader.end()

    async def run(self) -> None:
        """Opens the database, for as long as that takes, and works until told to end.

        Raises ConfigurationError when Redis is another admin database's.
        """
        async with AsyncExitStack() as stack:
            if not await self._managed("admin database", lambda: _open_with(self._database, self._tables)):
                return
            stack.push_async_callback(self._database.close)
            if not await self._managed("redis", self._claim):
                return
            # Dead letters that were sent again wait in the outbox of the admin database itself.
            relay = Relay(self._database, Receivers(self._sinks, admin=self._database.connection), lease=LEASE)
            relay.start()
            stack.push_async_callback(relay.stop)
            _log.info("admin_worker_started", topics=sorted(self._sinks))
            async with asyncio.TaskGroup() as readers:
                for reader in self._readers:
                    readers.create_task(reader.run())
        _log.info("admin_worker_ended", written=sum(reader.written for reader in self._readers))

    async def _managed(self, name: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it was done, after as many tries as that takes; it was not when the end came first."""
        backoff = Backoff(logging.getLogger("app_kernel.admin_worker"), name, self._ending)
        while not self._ending.is_set():
            try:
                await work()
            except (InvalidDatabaseUrl, ConfigurationError):
                raise
            except Exception as exc:  # noqa: BLE001 - the worker outlives whatever keeps it from its work
                await backoff.wait_after(exc)
            else:
                backoff.succeeded()
                return True
        return False

    async def _claim(self) -> None:
        mine = (await OutboxRows(self._database.driver).epoch()).database_id
        for topic in self._sinks:
            if not await claim_stream(self._redis, topic, mine):
                reason = "this Redis is read for another admin database; use one, or one number of it (/1), for each"
                remedy = f"if that database is gone for good, delete the key {claim_key(topic)}"
                raise ConfigurationError([f"--redis: {reason}; {remedy}"])


async def _open_with(database: Database, tables: Iterable[Table]) -> None:
    await database.open()
    try:
        await database.ensure_tables(tables)
    except BaseException:
        await database.close()
        raise


def admin_sinks(features: Iterable[Feature]) -> dict[str, Sink]:
    """The sinks for the admin database, by topic."""
    return {
        topic: sink for feature in features for topic, sink in feature.sinks.items() if topic.startswith(ADMIN_TOPICS)
    }


def chosen_features(app: str | None, features: str | None) -> list[Feature]:
    """The features of an application or of a list (`module:name`), else the kernel's own.

    Raises ConfigurationError when there is no such thing.
    """
    if app is not None:
        found = _named(app, "--app")
        kernel = getattr(getattr(found, "state", None), "kernel", None)
        if kernel is None:
            raise ConfigurationError([f"--app: {app} was not made by create_service()"])
        return list(kernel.features)
    config = ServiceConfig(name="admin-worker", auth_enabled=False)
    given = FEATURES if features is None else [*FEATURES, *_listed(_named(features, "--features"), features)]
    made = (entry if isinstance(entry, Feature) else entry(config) for entry in given)
    return list({feature.name: feature for feature in made if feature is not None}.values())


def _listed(found: Any, path: str) -> list[Any]:
    """The features that were named: a list of them, or one."""
    listed = list(found) if isinstance(found, Iterable) else [found]
    if not all(isinstance(entry, Feature) or callable(entry) for entry in listed):
        raise ConfigurationError([f"--features: {path} is no list of features"])
    return listed


def _named(path: str, option: str) -> Any:
    """What `module:name` names, with the current directory among the places of modules."""
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError([f"{option}: {path} is not there ({exc}); write module:name"]) from exc


def find_addresses(redis: str | None, db: str | None) -> tuple[str, str]:
    """The URLs of Redis and of the admin database; what is not given is what the service's settings say.

    Raises ConfigurationError when they say nothing, or something else is wrong with them.
    """
    if redis is not None and db is not None:
        return redis, db
    config = ServiceConfig.from_env()
    problems = list(config.problems)
    redis_url = redis or config.redis_url
    if redis_url is None:
        problems.append("--redis: missing; give it, or set REDIS_URL as for the service")
    if db is None:
        problems += _admin_problems(config)
    if problems or redis_url is None:
        raise ConfigurationError(problems)
    return redis_url, db or config.resolved_admin_db_url


def _admin_problems(config: ServiceConfig) -> list[str]:
    if not config.model_fields_set & _PLACES:
        return ["--db: missing; give it, or set ADMIN_DB_URL or DATABASE_URL as for the service"]
    return find_admin_problems(config) if config.admin_db_url else find_database_problems(config)


async def work(redis_url: str, database_url: str, features: Sequence[Feature]) -> None:
    """Runs one worker until SIGTERM or SIGINT."""
    database = create_database(database_url)
    try:
        redis = create_redis(redis_url, "admin-worker")
    except ValueError:
        # Its text may be a part of the password.
        raise ConfigurationError(["--redis: cannot be read; use redis://host:6379/0"]) from None
    worker = AdminWorker(redis, database, features)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.end)
    try:
        await worker.run()
    finally:
        await redis.aclose()


def command(
    *,
    redis: Annotated[
        str | None, typer.Option("--redis", help="The Redis of the services: redis://host:6379. Else REDIS_URL.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", help="The admin database: sqlite:///admin.db or postgres://... Else the settings'."),
    ] = None,
    app: Annotated[str | None, typer.Option("--app", help="Serve the features of this service: main:app.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Serve these features besides the kernel's own: module:list.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="The least level that is logged.")] = "INFO",
) -> None:
    """Writes what services put into Redis for the admin database, exactly once and in order."""
    if log_level not in logging.getLevelNamesMapping():
        _fail(f"--log-level: there is no level {log_level}")
    try:
        redis_url, database_url = find_addresses(redis, db)
        if problems := list(find_redis_problems(redis_url)):
            _fail("; ".join(f"--redis: {problem}" for problem in problems))
        configure_logging(log_level)
        chosen = chosen_features(app, features)
        if not admin_sinks(chosen):
            _fail(
                "there is nothing to do: none of the features writes to the admin database. "
                "Name the service with --app main:app if it brings features of its own."
            )
        asyncio.run(work(redis_url, database_url, chosen))
    except ConfigurationError as exc:
        _fail("; ".join(exc.problems))
    except InvalidDatabaseUrl as exc:
        _fail(f"--db: {exc.message}")
    except ImportError:
        _fail("Redis needs its client: install app-kernel[redis]")


def _fail(message: str) -> NoReturn:
    typer.echo(f"admin_worker: {message}", err=True)
    raise typer.Exit(WRONG_USE)


def main() -> None:
    """The command line."""
    # No pretty tracebacks: they show local variables, and those hold passwords.
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    cli.command()(command)
    cli()


if __name__ == "__main__":
    main()
