"""Accounts from a terminal: `app-kernel users`."""

import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from app_kernel.auth import (
    activate_user,
    confirm_email,
    create_user,
    deactivate_user,
    delete_user,
    find_user,
    list_users,
    set_password,
    set_role,
)
from app_kernel.cli.running import (
    DEFAULT_ENV_FILE,
    WRONG_USE,
    DatabaseUrl,
    EnvFile,
    fail,
    place,
    run,
    run_command,
    settings,
)
from app_kernel.core.errors import AccountNotFound
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import EntityStore

GENERATED_BYTES = 18
"""Random bytes of a generated password: 144 bits, 24 characters."""

R = TypeVar("R")

users = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Accounts of a service.")

Account: TypeAlias = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's email or username.")]
FromStdin: TypeAlias = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]


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
    config = settings(database_url, env_file)
    password = _read_password() if password_stdin else secrets.token_urlsafe(GENERATED_BYTES)
    role = "admin" if admin else "user"

    async def work(db: EntityStore) -> UserIdentity:
        # Whoever may run this vouches for the address.
        return await create_user(
            db, email, password, role=role, name=name, username=username, email_verified=True, config=config
        )

    user = run_command(config, "users create", work, makes_database=True)
    typer.echo(f"created {user.email} with the role {user.role} in {place(config)}")
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
    for user in run(settings(database_url, env_file), lambda db: list_users(db, limit)):
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
    user = _run_on("users set-role", account, database_url, env_file, lambda db, found: set_role(db, found.id, role))
    typer.echo(f"{user.email} has the role {user.role}")


@users.command("deactivate")
def shut_out(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Shuts an account out and ends its sessions."""
    user = _run_on("users deactivate", account, database_url, env_file, lambda db, found: deactivate_user(db, found.id))
    typer.echo(f"{user.email} is deactivated")


@users.command("activate")
def let_in(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Lets a deactivated account sign in again."""
    user = _run_on("users activate", account, database_url, env_file, lambda db, found: activate_user(db, found.id))
    typer.echo(f"{user.email} is active")


@users.command("confirm-email")
def vouch(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Notes that the account, its password included, is of who reads mail at its address; if unsure, set-password."""
    user = _run_on(
        "users confirm-email", account, database_url, env_file, lambda db, found: confirm_email(db, found.id)
    )
    typer.echo(f"{user.email} is confirmed")


@users.command("delete")
def remove(account: Account, *, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE) -> None:
    """Deletes an account for good; keys and identities of it that features keep end with it, as nobody owns them."""
    _run_on("users delete", account, database_url, env_file, lambda db, found: delete_user(db, found.id))
    typer.echo("the account is deleted")


@users.command("set-password")
def change_password(
    account: Account,
    *,
    password_stdin: FromStdin = False,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Gives an account another password and ends its sessions; without --password-stdin it is made up and printed."""
    config = settings(database_url, env_file)
    password = _read_password() if password_stdin else secrets.token_urlsafe(GENERATED_BYTES)

    async def work(db: EntityStore, found: UserIdentity) -> None:
        await set_password(db, found.id, password, config=config)

    _run_on("users set-password", account, database_url, env_file, work)
    typer.echo("the password is changed" if password_stdin else f"password: {password}")


def _run_on(
    command: str,
    account: str,
    database_url: str | None,
    env_file: Path,
    work: Callable[[EntityStore, UserIdentity], Awaitable[R]],
) -> R:
    """Runs the work with the account that is meant."""

    async def find_and_work(db: EntityStore) -> R:
        user = await find_user(db, account)
        if user is None:
            raise AccountNotFound
        return await work(db, user)

    return run_command(settings(database_url, env_file), command, find_and_work)


def _read_password() -> str:
    try:
        password = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        fail("the password on standard input is not valid text", WRONG_USE)
    if not password:
        fail("no password on standard input", WRONG_USE)
    return password
