"""What every command needs: settings, the open database, and a short end where something is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import typer

from app_kernel.auth import TABLES
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import InvalidDatabaseUrl, KernelError
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Database, EntityStore
from app_kernel.core.tables import Table
from app_kernel.db import create_database
from app_kernel.features import FEATURES
from app_kernel.service.address_check import find_database_problems, labelled
from app_kernel.service.create import compose, make_kernel
from app_kernel.service.headless import opened_for_command
from app_kernel.service.preflight import complete

REFUSED, WRONG_USE = 1, 2
DEFAULT_ENV_FILE = Path(".env")

R = TypeVar("R")

DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--database-url", help="The service's database; else that of the environment, such as DATABASE_URL."),
]
EnvFile: TypeAlias = Annotated[Path, typer.Option("--env-file", help="A file with settings, like the environment.")]


def settings(database_url: str | None, env_file: Path, *, admin: bool = False) -> ServiceConfig:
    """The settings of the environment, or of another database; ends the command where they are no good."""
    if env_file != DEFAULT_ENV_FILE and not env_file.is_file():
        fail(f"{env_file}: there is no such file", WRONG_USE)
    config = ServiceConfig.from_env(env_file)
    if config.problems:
        fail("; ".join(config.problems), WRONG_USE)
    chosen = config if database_url is None else config.with_values(database_name=database_url)
    if admin:
        chosen = chosen.with_values(database_name=chosen.resolved_admin_db_url)
    problems = find_database_problems(chosen)
    if problems:
        fail("; ".join(problems), WRONG_USE)
    return chosen


def run(config: ServiceConfig, work: Callable[[EntityStore], Awaitable[R]], *, makes_database: bool = False) -> R:
    """What the work gives on a handle of the open database; ends the command with one line where it is refused."""

    async def with_accounts(database: Database) -> R:
        await database.ensure_tables(TABLES)
        return await work(database.connection())

    return run_in_database(config, with_accounts, makes_database=makes_database)


def run_command(
    config: ServiceConfig, command: str, work: Callable[[EntityStore], Awaitable[R]], *, makes_database: bool = False
) -> R:
    """The same for what changes rows: it is recorded, as made by this command, as it is where the service runs."""
    return run_in_database(
        config, lambda database: work(database.connection()), command=command, makes_database=makes_database
    )


def run_in_database(
    config: ServiceConfig,
    work: Callable[[Database], Awaitable[R]],
    *,
    command: str | None = None,
    makes_database: bool = False,
) -> R:
    """The same with the open database itself; recorded where `command` says what it is."""
    if not makes_database and urlsplit(config.database_url).scheme == "sqlite" and not Path(place(config)).is_file():
        fail(f"there is no database at {place(config)}", REFUSED)
    try:
        if command is not None:
            return asyncio.run(_in_kernel(_kernel_of(config), command, work))
        return asyncio.run(_in_database(config, work))
    except InvalidDatabaseUrl as exc:
        fail(exc.message, WRONG_USE)
    except KernelError as exc:
        fail(exc.message, REFUSED)


async def _in_database(config: ServiceConfig, work: Callable[[Database], Awaitable[R]]) -> R:
    database = create_database(config.database_url, synchronous=config.database_synchronous)
    await database.open()
    try:
        return await work(database)
    finally:
        await database.close()


async def _in_kernel(kernel: Kernel, command: str, work: Callable[[Database], Awaitable[R]]) -> R:
    async with opened_for_command(kernel, command):
        return await work(kernel.db)


def _kernel_of(config: ServiceConfig) -> Kernel:
    """The features that the environment asks for; those of the application's own are not known here.

    Where no service was named the name stays open: what is recorded is of the service that carries it.
    """
    # No secret is needed here, as nobody signs in.
    settled = complete(config, config.name).with_values(name=config.name)
    features, problems = compose(FEATURES, settled, (), None)
    if problems:
        fail("; ".join(map(labelled, problems)), WRONG_USE)
    return make_kernel(settled, features)


def declared_tables(config: ServiceConfig, *, admin: bool = False) -> list[Table]:
    """What the features that the environment asks for declare, in the app database or in the admin database."""
    features = _kernel_of(config).features
    return [table for feature in features for table in (feature.admin_tables if admin else feature.tables)]


def place(config: ServiceConfig) -> str:
    """The database as it may be shown: without a user or password."""
    parts = urlsplit(config.database_url)
    if parts.scheme == "sqlite":
        return unquote(parts.path).removeprefix("/")
    return f"{unquote(parts.path).removeprefix('/')} on {parts.hostname or 'the local server'}"


def fail(message: str, status: int) -> NoReturn:
    """Ends the command with one line on standard error."""
    typer.echo(f"app-kernel: {' '.join(message.split())}", err=True)
    raise typer.Exit(status)
