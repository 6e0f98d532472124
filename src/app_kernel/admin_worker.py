"""The admin worker takes what services put into Redis for the admin database, and writes it there.

    python -m app_kernel.admin_worker --redis redis://localhost:6379 --db sqlite:///admin.db

It serves every sink for the admin database that the kernel's own features bring, and with `--app main:app` or
`--features module:list` the application's own. Several may run at once; killed at any instant, they lose nothing and
write nothing twice. SIGTERM ends one after the batch under way, with 0; wrong use, or nothing to serve, is 2.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
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
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.stream_reader import StreamReader
from app_kernel.features import FEATURES
from app_kernel.logs import configure_logging, get_logger
from app_kernel.redis_wire import create_redis

WRONG_USE = 2

_log = get_logger("app_kernel.admin_worker")


class AdminWorker:
    """Drains the streams of some sinks into one admin database, until `end`."""

    def __init__(self, redis: Any, database: Database, features: Sequence[Feature]) -> None:
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
        """Opens the database, for as long as that takes, and works until told to end."""
        async with AsyncExitStack() as stack:
            if not await self._open():
                return
            stack.push_async_callback(self._database.close)
            # Dead letters that were sent again wait in the outbox of the admin database itself.
            relay = Relay(self._database, Receivers(self._sinks, admin=self._database.connection))
            relay.start()
            stack.push_async_callback(relay.stop)
            _log.info("admin_worker_started", topics=sorted(self._sinks))
            async with asyncio.TaskGroup() as readers:
                for reader in self._readers:
                    readers.create_task(reader.run())
        _log.info("admin_worker_ended", written=sum(reader.written for reader in self._readers))

    async def _open(self) -> bool:
        """Whether the database is open; it is not when the end came first."""
        backoff = Backoff(logging.getLogger("app_kernel.admin_worker"), "admin database", self._ending)
        while not self._ending.is_set():
            try:
                await _open_with(self._database, self._tables)
            except InvalidDatabaseUrl:
                raise
            except Exception as exc:  # noqa: BLE001 - the worker outlives whatever keeps the database from opening
                await backoff.wait_after(exc)
            else:
                backoff.succeeded()
                return True
        return False


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


async def work(redis_url: str, database_url: str, features: Sequence[Feature]) -> None:
    """Runs one worker until SIGTERM or SIGINT."""
    database = create_database(database_url)
    redis = create_redis(redis_url, "admin-worker")
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
    redis: Annotated[str, typer.Option("--redis", help="The Redis of the services: redis://host:6379.")],
    db: Annotated[str, typer.Option("--db", help="The admin database: sqlite:///admin.db or postgres://...")],
    app: Annotated[str | None, typer.Option("--app", help="Serve the features of this service: main:app.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Serve these features besides the kernel's own: module:list.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="The least level that is logged.")] = "INFO",
) -> None:
    """Writes what services put into Redis for the admin database, exactly once and in order."""
    if log_level not in logging.getLevelNamesMapping():
        _fail(f"--log-level: there is no level {log_level}")
    configure_logging(log_level)
    try:
        chosen = chosen_features(app, features)
        if not admin_sinks(chosen):
            _fail(
                "there is nothing to do: none of the features writes to the admin database. "
                "Name the service with --app main:app if it brings features of its own."
            )
        asyncio.run(work(redis, db, chosen))
    except ConfigurationError as exc:
        _fail("; ".join(exc.problems))
    except (InvalidDatabaseUrl, ValueError) as exc:
        _fail(str(exc))
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
