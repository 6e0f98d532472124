"""Whole databases by their URLs: opened, moved, closed."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app_kernel.core.database_urls import SERVER_SCHEMES, backend_of, option_of
from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.errors import TransferError
from app_kernel.db.drivers.base import Driver
from app_kernel.db.drivers.sqlite import SqliteDriver
from app_kernel.db.transfer.backup_file import put_in_place
from app_kernel.db.transfer.backups import Backup, restore_backup, write_backup
from app_kernel.db.transfer.copying import Copy, Result
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.filling import Report
from app_kernel.db.transfer.marks import refuse_transfer
from app_kernel.db.url import make_driver, split_sqlite


@asynccontextmanager
async def opened_source(url: str) -> AsyncIterator[Driver]:
    """A database that is there; raises InvalidDatabaseUrl, Unavailable, and TransferError where there is none."""
    driver = make_driver(url)
    file = _file(url)
    if file is not None and not file.is_file():
        raise TransferError(f"There is no database at {file}.")
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def opened_target(url: str) -> AsyncIterator[Driver]:
    """A database that is to be filled, made where it is missing; raises InvalidDatabaseUrl and Unavailable."""
    driver = make_driver(url)
    if _is_private(url):
        raise TransferError("A database in memory vanishes at the end; give a path.")
    if isinstance(driver, SqliteDriver):
        driver.is_filled = True
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def opened_copy(
    source_url: str, target_url: str, engines: Sequence[EngineTables], options: Options, report: Report
) -> AsyncIterator[Copy]:
    """A copy that has begun, or goes on where it was stopped; raises TargetNotEmpty and what opening raises."""
    if _place(source_url) == _place(target_url):
        raise TransferError("Source and target are the same database.")
    async with opened_source(source_url) as source, opened_target(target_url) as target:
        copy = Copy(source, target, engines, options, report)
        await copy.begin(_place(source_url))
        yield copy


async def backup_database(
    url: str,
    path: Path,
    engines: Sequence[EngineTables],
    report: Report,
    *,
    force: bool = False,
    skip: Sequence[str] = (),
) -> Backup:
    """Writes a database into a backup file, as of now: see `write_backup`."""
    async with opened_source(url) as source:
        return await write_backup(source, path, engines, report, force=force, skip=skip)


async def copy_sqlite_file(url: str, path: Path, *, force: bool = False) -> int:
    """Makes a SQLite file a copy of a SQLite database, as of now, and checks it; how many bytes it has."""
    async with opened_source(url) as source:
        if not isinstance(source, SqliteDriver):
            raise TransferError("Only a SQLite database is a file; leave out --plain.")
        await refuse_transfer(source)
        if path.exists() and not force:  # noqa: ASYNC240 - a command waits for nothing else
            raise TransferError(f"{path} exists already; choose another name, or --force to replace it.")
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            # Whoever may read it has the hashes of all passwords.
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        except OSError as exc:
            raise TransferError(f"{path} cannot be written: {exc.strerror}.") from exc
        try:
            await source.copy_file(str(beside))
            size = beside.stat().st_size
            put_in_place(beside, path, force=force)
        finally:
            beside.unlink(missing_ok=True)
    return size


async def restore_database(
    path: Path, url: str, engines: Sequence[EngineTables], options: Options, report: Report
) -> Result:
    """Fills an empty database from a backup file: see `restore_backup`."""
    async with opened_target(url) as target:
        return await restore_backup(path, target, engines, options, report)


async def has_beside(source: Driver, url: str) -> bool:
    """Whether there is a database at a URL: a file, or a schema or database on the same server as `source`."""
    file = _file(url)
    if file is not None:
        return file.is_file()
    if source.dialect.name == "postgres":
        sql, name = "SELECT 1 FROM pg_namespace WHERE nspname = $1::text", option_of(url, "schema")
    else:
        sql, name = "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?", urlsplit(url).path[1:]
    return bool(await source.fetch(sql, (unquote(name or ""),)))


def _file(url: str) -> Path | None:
    if backend_of(url) in SERVER_SCHEMES or _is_private(url):
        return None
    return Path(split_sqlite(url)[0]).expanduser().absolute()


def _is_private(url: str) -> bool:
    return backend_of(url) not in SERVER_SCHEMES and split_sqlite(url)[0] == ":memory:"


def _place(url: str) -> str:
    """A database as a mark may tell it: without user and password."""
    if backend_of(url) not in SERVER_SCHEMES:
        return f"sqlite {_file(url) or url}"
    parts = urlsplit(url)
    named = [option_of(url, name) for name in ("schema", "host", "unix_socket")]
    told = ", ".join(each for each in (parts.hostname, str(parts.port or ""), unquote(parts.path), *named) if each)
    return f"{backend_of(url).removesuffix('ql')} {told}"
