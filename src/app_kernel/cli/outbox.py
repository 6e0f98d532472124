"""Messages on their way out of a service, from a terminal: `app-kernel outbox`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias, TypeVar

import typer

from app_kernel.cli.running import (
    DEFAULT_ENV_FILE,
    REFUSED,
    DatabaseUrl,
    EnvFile,
    fail,
    run_command,
    run_in_database,
    settings,
)
from app_kernel.core.config import ServiceConfig
from app_kernel.core.ports import EntityStore
from app_kernel.db.outbox import list_dead_letters, list_waiting, retry_dead_letter

R = TypeVar("R")

outbox = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Messages on their way out of a service.")

OfAdmin: TypeAlias = Annotated[
    bool, typer.Option("--admin", help="Of the admin database, where the admin worker keeps its dead letters.")
]


@outbox.command("status")
def show_waiting(
    *, admin: OfAdmin = False, database_url: DatabaseUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE
) -> None:
    """Shows what has not left yet, by topic: how many messages, and since when the oldest waits."""
    for waiting in _run(settings(database_url, env_file, admin=admin), list_waiting):
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
    config = settings(database_url, env_file, admin=admin)
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
    config = settings(database_url, env_file, admin=admin)

    async def work(db: EntityStore) -> bool:
        return await retry_dead_letter(db, message)

    # The admin database is none of a service, so nothing is recorded there.
    if not (_run(config, work) if admin else run_command(config, "outbox retry", work)):
        fail(f"there is no dead message {message}; those of the admin worker are found with --admin", REFUSED)
    typer.echo(f"{message} is on its way again")


def _run(config: ServiceConfig, work: Callable[[EntityStore], Awaitable[R]]) -> R:
    return run_in_database(config, lambda database: work(database.connection()))
