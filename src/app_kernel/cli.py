"""The `app-kernel` command: accounts and the outbox from a terminal, under the same settings as the service.

It ends with 0, with 1 when what was asked for is refused, and with 2 for a wrong command or wrong settings; errors are
one line on standard error, and a password is printed only when it was made here.
"""

import asyncio
import logging
import secrets
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import typer

from app_kernel.auth import (
    TABLES,
    activate_user,
    create_user,
    deactivate_user,
    find_user,
    list_users,
    set_password,
    set_role,
)
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import AccountNotFound, InvalidDatabaseUrl, KernelError
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import EntityStore
from app_kernel.db import create_database
from app_kernel.db.outbox import list_dead_letters, list_waiting, retry_dead_letter
from app_kernel.service.address_check import find_database_problems

REFUSED, WRONG_USE = 1, 2
GENERATED_BYTES = 18
"""Random bytes of a generated password: 144 bits, 24 characters."""

R = TypeVar("R")

# No pretty tracebacks: they show local variables, and those hold passwords.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
users = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Accounts of a service.")
app.add_typer(users, name="users")
outbox = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Messages on their way out of a service.")
app.add_typer(outbox, name="outbox")

DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--database-url", help="The service's database; else that of the environment, such as DATABASE_URL."),
]
EnvFile: TypeAlias = Annotated[Path, typer.Option("--env-file", help="A file with settings, like the environment.")]
Account: TypeAlias = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's email or username.")]
FromStdin: TypeAlias = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
OfAdmin: TypeAlias = Annotated[
    bool, typer.Option("--admin", help="Of the admin database, where the admin worker keeps its dead letters.")
]
DEFAULT_ENV_FILE = Path(".env")


@app.callback()
def describe() -> None:
    """Looks after a service built with app_kernel."""


@app.command("version")
def show_version() -> None:
    """Prints the version of app_kernel."""
    typer.echo(installed_version("app-kernel"))


@users.command("create")
def create(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The email address to sign in with.")],
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Give the account the role admin.")] = False,
    password_stdin: FromStdin = False,
    name: Annotated[str | None, typer.Option("--name", help="The name to show.")] = None,
    username: Annotated[str | None, typer.Option("--username", help="A username to sign in with.")] = None,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Makes an account; without --password-stdin its password is made up and printed once."""
    config = _settings(database_url, env_file)
    password = _read_password() if password_stdin else secrets.token_urlsafe(GENERATED_BYTES)
    role = "admin" if admin else "user"

    async def work(db: EntityStore) -> UserIdentity:
        return await create_user(db, email, password, role=role, name=name, username=username, config=config)

    user = _run(config, work, makes_database=True)
    typer.echo(f"created {user.email} with the role {user.role} in {_place(config)}")
    if not password_stdin:
        typer.echo(f"password: {password}")


@users.command("list")
def show_users(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Lists the accounts, the oldest first: id, email, role, and whether it may sign in."""
    for user in _run(_settings(database_url, env_file), lambda db: list_users(db, limit)):
        typer.echo(f"{user.id}  {user.email}  {user.role}  {'active' if user.is_active else 'deactivated'}")


@users.command("set-role")
def change_role(
    account: Account,
    role: Annotated[str, typer.Argument(help="admin, user, or a role of the application's own.")],
    *,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Gives an account another role; it counts within a second, without signing in again."""
    user = _run_on(account, database_url, env_file, lambda db, found: set_role(db, found.id, role))
    typer.echo(f"{user.email} has the role {user.role}")


@users.command("deactivate")
def shut_out(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Shuts an account out and ends its sessions."""
    user = _run_on(account, database_url, env_file, lambda db, found: deactivate_user(db, found.id))
    typer.echo(f"{user.email} is deactivated")


@users.command("activate")
def let_in(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Lets a deactivated account sign in again."""
    user = _run_on(account, database_url, env_file, lambda db, found: activate_user(db, found.id))
    typer.echo(f"{user.email} is active")


@users.command("set-password")
def change_password(
    account: Account,
    *,
    password_stdin: FromStdin = False,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Gives an account another password and ends its sessions; without --password-stdin it is made up and printed."""
    config = _settings(database_url, env_file)
    password = _read_password() if password_stdin else secrets.token_urlsafe(GENERATED_BYTES)

    async def work(db: EntityStore, found: UserIdentity) -> None:
        await set_password(db, found.id, password, config=config)

    _run_on(account, database_url, env_file, work)
    typer.echo("the password is changed" if password_stdin else f"password: {password}")


@outbox.command("status")
def show_waiting(
    *, admin: OfAdmin = False, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE
) -> None:
    """Shows what has not left yet, by topic: how many messages, and since when the oldest waits."""
    for waiting in _run(_settings(database_url, env_file, admin=admin), list_waiting):
        typer.echo(f"{waiting.topic}  {waiting.unsent}  {waiting.oldest_at}")


@outbox.command("dead")
def show_dead_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    admin: OfAdmin = False,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Lists the messages that no receiver took, the latest first: id, topic, when it died, and why."""
    config = _settings(database_url, env_file, admin=admin)
    for letter in _run(config, lambda db: list_dead_letters(db, limit=limit)):
        typer.echo(f"{letter.id}  {letter.topic}  {letter.died_at}  {letter.reason}")


@outbox.command("retry")
def send_again(
    message: Annotated[str, typer.Argument(metavar="ID", help="The message's id, as `dead` shows it.")],
    *,
    admin: OfAdmin = False,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Sends a dead message again, under its own id, so that a receiver which has it after all drops it."""
    if not _run(_settings(database_url, env_file, admin=admin), lambda db: retry_dead_letter(db, message)):
        _fail(f"there is no dead message {message}; those of the admin worker are found with --admin", REFUSED)
    typer.echo(f"{message} is on its way again")


def main() -> None:
    """The console script `app-kernel`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("app-kernel: %(message)s"))
    handler.addFilter(_explain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    app()


def _settings(database_url: str | None, env_file: Path, *, admin: bool = False) -> ServiceConfig:
    if env_file != DEFAULT_ENV_FILE and not env_file.is_file():
        _fail(f"{env_file}: there is no such file", WRONG_USE)
    config = ServiceConfig.from_env(env_file)
    if config.problems:
        _fail("; ".join(config.problems), WRONG_USE)
    chosen = config if database_url is None else config.with_values(database_name=database_url)
    if admin:
        chosen = chosen.with_values(database_name=chosen.resolved_admin_db_url)
    problems = find_database_problems(chosen)
    if problems:
        _fail("; ".join(problems), WRONG_USE)
    return chosen


def _run(config: ServiceConfig, work: Callable[[EntityStore], Awaitable[R]], *, makes_database: bool = False) -> R:
    if not makes_database and urlsplit(config.database_url).scheme == "sqlite" and not Path(_place(config)).is_file():
        _fail(f"there is no database at {_place(config)}", REFUSED)
    try:
        return asyncio.run(_in_database(config, work))
    except InvalidDatabaseUrl as exc:
        _fail(exc.message, WRONG_USE)
    except KernelError as exc:
        _fail(exc.message, REFUSED)


def _run_on(
    account: str, database_url: str | None, env_file: Path, work: Callable[[EntityStore, UserIdentity], Awaitable[R]]
) -> R:
    """Runs the work with the account that is meant."""

    async def find_and_work(db: EntityStore) -> R:
        user = await find_user(db, account)
        if user is None:
            raise AccountNotFound
        return await work(db, user)

    return _run(_settings(database_url, env_file), find_and_work)


async def _in_database(config: ServiceConfig, work: Callable[[EntityStore], Awaitable[R]]) -> R:
    database = create_database(config.database_url, synchronous=config.database_synchronous)
    await database.open()
    try:
        await database.ensure_tables(TABLES)
        return await work(database.connection())
    finally:
        await database.close()


def _read_password() -> str:
    try:
        password = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        _fail("the password on standard input is not valid text", WRONG_USE)
    if not password:
        _fail("no password on standard input", WRONG_USE)
    return password


def _place(config: ServiceConfig) -> str:
    """The database as it may be shown: without a user or password."""
    parts = urlsplit(config.database_url)
    if parts.scheme == "sqlite":
        return unquote(parts.path).removeprefix("/")
    return f"{unquote(parts.path).removeprefix('/')} on {parts.hostname or 'the local server'}"


def _explain(record: logging.LogRecord) -> bool:
    """Puts the reason that a structured event carries into its one line."""
    reason = record.__dict__.get("reason")
    if reason:
        record.msg, record.args = f"{record.msg}: {reason}", ()
    return True


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"app-kernel: {' '.join(message.split())}", err=True)
    raise typer.Exit(status)
