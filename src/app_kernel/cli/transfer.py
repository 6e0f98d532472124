"""Databases as a whole, from a terminal: `app-kernel db backup`, `db restore` and `db copy`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import orjson
import typer

from app_kernel.cli.databases import Url, db
from app_kernel.cli.running import DEFAULT_ENV_FILE, REFUSED, WRONG_USE, EnvFile, fail, place, settings
from app_kernel.core.database_urls import admin_url_beside
from app_kernel.core.errors import InvalidDatabaseUrl, KernelError
from app_kernel.db.transfer.copying import Result, Round
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.filling import Step
from app_kernel.db.transfer.moves import (
    backup_database,
    copy_sqlite_file,
    has_beside,
    opened_copy,
    opened_source,
    restore_database,
)
from app_kernel.jobs import JOB_TABLES

R = TypeVar("R")

ENGINES = (JOB_TABLES,)
ROUND_SECONDS = 2.0
"""Between two rounds of a watch."""

BackupFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The file of the backup.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, one document.")]
Skip: TypeAlias = Annotated[
    list[str] | None, typer.Option("--skip", metavar="TABLE", help="A table to leave out; may stand several times.")
]
NewIdentity: TypeAlias = Annotated[
    bool,
    typer.Option("--new-identity", help="Make it another database to Redis, to be used beside the one it comes from."),
]
JobsToRedis: TypeAlias = Annotated[
    bool, typer.Option("--jobs-to-redis", help="The service keeps its jobs in Redis from now on; on MySQL it must.")
]
StartOver: TypeAlias = Annotated[
    bool, typer.Option("--start-over", help="Remove what an unfinished copy or restore left, and begin anew.")
]


@db.command("backup")
def backup(
    file: BackupFile,
    *,
    plain: Annotated[
        bool, typer.Option("--plain", help="Of SQLite: a database file instead, which any tool can open.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Back up the admin database.")] = False,
    skip: Skip = None,
    as_json: Json = False,
    url: Url = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Writes a whole database into one file, as it is at this instant; services may write to it meanwhile.

    The file fits SQLite, PostgreSQL and MySQL alike. It holds the hashes of passwords and all data: it is readable for
    you alone, and where you keep it is up to you. Ends with 1 where it fails; then there is no file.
    """
    config = settings(url, env_file, admin=admin)
    shown = {"file": str(file), "place": place(config)}
    if plain:
        size = _run(copy_sqlite_file(config.database_url, file, force=force))
        _tell(as_json, {**shown, "bytes": size}, [f"{file}: {size} bytes, whole"])
        return
    progress = Progress()
    done = _run(backup_database(config.database_url, file, ENGINES, progress, force=force, skip=skip or ()))
    progress.end()
    tables = [asdict(each) for each in done.tables]
    rows = sum(each.rows for each in done.tables)
    line = f"{file}: {len(tables)} tables, {rows} rows, {done.bytes} bytes, as of {done.taken_at}"
    _tell(as_json, {**shown, "bytes": done.bytes, "taken_at": done.taken_at, "tables": tables}, [line])


@db.command("restore")
def restore(  # noqa: PLR0913 - each is an option
    file: BackupFile,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Restore into the admin database.")] = False,
    new_identity: NewIdentity = False,
    jobs_to_redis: JobsToRedis = False,
    start_over: StartOver = False,
    skip: Skip = None,
    as_json: Json = False,
    url: Url = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Fills an empty database from a backup, whatever database that was made of; the file is checked first.

    No service opens the database before all is there and was compared. A restore that was stopped goes on when the
    same command is run again. Ends with 1 where the file is damaged or the database is not empty.
    """
    config = settings(url, env_file, admin=admin)
    options = Options(
        skip=tuple(skip or ()), new_identity=new_identity, jobs_leave=jobs_to_redis, start_over=start_over
    )
    progress = Progress()
    result = _run(restore_database(file, config.database_url, ENGINES, options, progress))
    progress.end()
    _tell(as_json, {"file": str(file), "place": place(config), **_shown(result)}, _lines(result))
    if not new_identity:
        _warn_of_twins()


@db.command("copy")
def copy(  # noqa: PLR0913 - each is an option
    from_url: Annotated[str, typer.Argument(metavar="FROM_URL", envvar="COPY_FROM_URL", help="The database to copy.")],
    to_url: Annotated[
        str, typer.Argument(metavar="TO_URL", envvar="COPY_TO_URL", help="An empty database, of any kind.")
    ],
    *,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow the changes until Enter, Ctrl-C or SIGTERM; then finish and compare."),
    ] = False,
    until_equal: Annotated[
        bool, typer.Option("--until-equal", help="Follow the changes until a round finds none.")
    ] = False,
    admin_from: Annotated[
        str | None, typer.Option("--admin-from", help="The admin database to copy; else the one beside FROM_URL.")
    ] = None,
    admin_to: Annotated[str | None, typer.Option("--admin-to", help="Where that goes; else beside TO_URL.")] = None,
    no_admin: Annotated[bool, typer.Option("--no-admin", help="Leave the admin database out.")] = False,
    new_identity: NewIdentity = False,
    jobs_to_redis: JobsToRedis = False,
    start_over: StartOver = False,
    skip: Skip = None,
    as_json: Json = False,
) -> None:
    """Copies a whole database into an empty one of any kind, and compares them row by row.

    The source is only read. A copy that was stopped goes on when the same command is run again, and takes over what
    changed meanwhile. URLs may stand in the environment instead, as COPY_FROM_URL and COPY_TO_URL, so that no password
    is seen in the list of processes. Ends with 0 when both hold the same.
    """
    options = Options(
        skip=tuple(skip or ()), new_identity=new_identity, jobs_leave=jobs_to_redis, start_over=start_over
    )
    admin = None if no_admin else (admin_from or admin_url_beside(from_url), admin_to or admin_url_beside(to_url))
    progress = Progress()
    wait = until_equal_rounds if until_equal else wait_for_end
    work = _copy((from_url, to_url), admin, options, progress, wait if watch or until_equal else None, admin_from)
    results = _run(work)
    progress.end()
    shown = {"databases": [_shown(each) for each in results]}
    _tell(as_json, shown, [line for result in results for line in _lines(result)])
    if not new_identity:
        _warn_of_twins()


async def _copy(
    app: tuple[str, str],
    admin: tuple[str, str] | None,
    options: Options,
    progress: "Progress",
    watching: "Callable[[], Any] | None",
    admin_from: str | None,
) -> list[Result]:
    async with AsyncExitStack() as stack:
        pairs = [app]
        if admin is not None and admin != app and (admin_from or await _has_admin(app[0], admin[0])):
            pairs.append(admin)
        copies = [await stack.enter_async_context(opened_copy(*pair, ENGINES, options, progress)) for pair in pairs]
        if watching is not None:
            async with watching() as is_last:
                while True:
                    rounds = [await each.round() for each in copies]
                    progress.end()
                    if await is_last(_together(rounds)):
                        break
        return [await each.finish() for each in copies]


async def _has_admin(url: str, admin_url: str) -> bool:
    async with opened_source(url) as source:
        return await has_beside(source, admin_url)


def _together(rounds: Sequence[Round]) -> Round:
    return Round(
        sum(each.seconds for each in rounds), sum(each.copied for each in rounds), sum(each.changed for each in rounds)
    )


@asynccontextmanager
async def wait_for_end() -> AsyncIterator[Callable[[Round], Awaitable[bool]]]:
    """Rounds until somebody says that the source is not written to any more."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, told.set)
    if sys.stdin is not None and sys.stdin.isatty():
        loop.add_reader(sys.stdin, told.set)
    typer.echo("Stop the service, then press Enter (or send SIGINT or SIGTERM): one more round, and the end.", err=True)

    async def is_last(done: Round) -> bool:
        typer.echo(
            f"round: {done.copied} rows copied, {done.changed} changed, in {done.seconds:.1f} s: as long as that the"
            " target is behind",
            err=True,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(ROUND_SECONDS):
                await told.wait()
        return told.is_set()

    try:
        yield is_last
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
        if sys.stdin is not None and sys.stdin.isatty():
            loop.remove_reader(sys.stdin)


@asynccontextmanager
async def until_equal_rounds() -> AsyncIterator[Callable[[Round], Awaitable[bool]]]:
    """Rounds until one finds nothing new."""

    async def is_last(done: Round) -> bool:
        typer.echo(f"round: {done.copied} rows copied, {done.changed} changed, in {done.seconds:.1f} s", err=True)
        return not (done.copied or done.changed)

    yield is_last


class Progress:
    """Tells on standard error how far it has come: on a terminal one line that moves, else one line a table."""

    def __init__(self) -> None:
        self._moves = sys.stderr.isatty()
        self._is_open = False

    def __call__(self, step: Step) -> None:
        line = f"{step.doing} {step.table}: {step.rows}" if step.doing != "index" else f"index {step.table}"
        if self._moves:
            typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
            self._is_open = True
        elif step.is_done and step.rows:
            typer.echo(line, err=True)

    def end(self) -> None:
        """Leaves the line."""
        if self._is_open:
            typer.echo("\r\x1b[K", err=True, nl=False)
            self._is_open = False


def _run(work: Awaitable[R]) -> R:
    async def run() -> R:
        return await work

    try:
        return asyncio.run(run())
    except InvalidDatabaseUrl as exc:
        fail(exc.message, WRONG_USE)
    except KernelError as exc:
        fail(exc.message, REFUSED)


def _shown(result: Result) -> dict[str, Any]:
    return {
        "tables": [asdict(each) for each in result.tables],
        "left_out": [{"what": each.what, "name": each.name, "table": each.table} for each in result.left_out],
        "jobs_left": result.jobs_left,
        "resumed": result.resumed,
    }


def _lines(result: Result) -> list[str]:
    lines = [f"{each.name}  {each.rows}  {each.hash}" for each in result.tables if each.rows]
    by_table: dict[str, list[str]] = {}
    for each in result.left_out:
        by_table.setdefault(each.table, []).append(f"{each.what} {each.name}".strip())
    for table, what in by_table.items():
        lines.append(f"not made, of your own {table}: {', '.join(what)}")
    if result.jobs_left:
        lines.append(f"{result.jobs_left} finished jobs and paused queues stay behind")
    return [*lines, f"equal: {len(result.tables)} tables, {sum(each.rows for each in result.tables)} rows"]


def _tell(as_json: bool, shown: Any, lines: Sequence[str]) -> None:
    if as_json:
        typer.echo(orjson.dumps(shown).decode())
        return
    for line in lines:
        typer.echo(line)


def _warn_of_twins() -> None:
    typer.echo(
        "To Redis it is the same database as before: do not run services on both. A second one is made with"
        " --new-identity.",
        err=True,
    )
