"""The service's database from a terminal: `app-kernel db`."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from app_kernel.cli.database_report import print_report
from app_kernel.cli.running import (
    DEFAULT_ENV_FILE,
    REFUSED,
    WRONG_USE,
    EnvFile,
    declared_tables,
    fail,
    place,
    run_command,
    run_in_database,
    settings,
)
from app_kernel.core.errors import InvalidQuery, KernelError
from app_kernel.core.events import changed_fields
from app_kernel.core.models import HistoryEntry
from app_kernel.core.ports import EntityStore
from app_kernel.db.inspection import inspect_database
from app_kernel.db.table import HISTORY_SUFFIX, OWNED_FIELDS

LONGEST = 100
"""Characters of a value that a line shows; JSON has it whole."""

R = TypeVar("R")

db = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database of a service.")

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url", "--database-url", help="The service's database; else that of the environment, such as DATABASE_URL."
    ),
]
Entity: TypeAlias = Annotated[str, typer.Argument(metavar="ENTITY", help="The entity's name.")]
EntityId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The id of one of them.")]


@db.command("check")
def check(
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every row with its history too: minutes for millions of rows.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show the kernel's own tables as well.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Check the admin database.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one document.")] = False,
    url: Url = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Shows what is in a database, and what is wrong with it and how to mend that; ends with 1 if anything is.

    It writes nothing, and services may run meanwhile. It ends with 2 when the database cannot be reached.
    """
    config = settings(url, env_file, admin=admin)
    inspection = inspect_database(
        config.database_url,
        deep=deep,
        declared=declared_tables(config, admin=admin),
        synchronous=config.database_synchronous,
    )
    try:
        report = asyncio.run(inspection)
    except KernelError as exc:
        fail(f"{place(config)}: {exc.message}", WRONG_USE)
    if as_json:
        shown = asdict(report) | {"place": place(config), "ok": report.is_well}
        typer.echo(_as_json(shown))
    else:
        print_report(report, place(config), show_all=show_all)
    if not report.is_well:
        raise typer.Exit(REFUSED)


@db.command("history")
def show_history(
    entity: Entity,
    entity_id: EntityId,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many versions at most, the latest ones.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each version.")] = False,
    url: Url = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Shows the versions of one entity, the oldest first: what was done, when, by whom, and what differs."""

    async def read(store: EntityStore) -> list[HistoryEntry]:
        count = await store.count_entities(f"{entity}{HISTORY_SUFFIX}", "[id] = ?", (entity_id,))
        return await store.get_entity_history(entity, entity_id, limit, max(0, count - limit))

    entries = _read(read, url, env_file)
    if not entries:
        fail(f"there is no history of {entity_id} in {entity}", REFUSED)
    for entry in entries:
        if as_json:
            typer.echo(_as_json(entry))
            continue
        comment = "" if entry["comment"] is None else _shown(entry["comment"])
        line = f"version {entry['version']}  {entry['action']}  {entry['at']}  {entry['actor'] or '-'}  {comment}"
        typer.echo(_printable(line).rstrip())
        for field, (old, new) in entry["changes"].items():
            if field not in OWNED_FIELDS:
                _print_change(field, old, new)


@db.command("revert")
def revert(
    entity: Entity,
    entity_id: EntityId,
    *,
    version: Annotated[int | None, typer.Option("--version", min=1, help="The version to go back to.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="The instant to go back to, such as 2026-01-31T12:00:00Z.")
    ] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="What the history says of it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    url: Url = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Shows what would change if an entity were as it was at a version or an instant, asks, and does it.

    That is a new version: nothing is lost, and history and audit say who did it. Nothing is done when somebody else
    changes the entity meanwhile.
    """
    if (version is None) == (as_of is None):
        fail("give either --version or --as-of", WRONG_USE)

    async def read(store: EntityStore) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        now = await store.get_entity(entity, entity_id, include_deleted=True)
        if version is not None:
            return now, await store.get_entity_version(entity, entity_id, version)
        return now, await store.get_entity(entity, entity_id, include_deleted=True, as_of=as_of)

    now, then = _read(read, url, env_file)
    if then is None:
        when = as_of if version is None else f"version {version}"
        fail(f"there was no {entity_id} in {entity} at {when}; `db history {entity} {entity_id}` shows when", REFUSED)
    if not _preview(now, then):
        typer.echo("nothing differs")
        return
    if not yes and not typer.confirm(f"Revert {entity_id} of {entity}?"):
        fail("nothing was changed", REFUSED)
    # Of one that was purged there is nothing, and so it shall still be.
    expected = 0 if now is None else now["_version"]

    async def work(store: EntityStore) -> dict[str, Any] | None:
        return await store.revert(entity, entity_id, version, as_of=as_of, comment=comment, expected_version=expected)

    row = run_command(settings(url, env_file), "db revert", work)
    typer.echo(f"{entity_id} of {entity} is version {row['_version'] if row else '?'} now")


def _read(work: Callable[[EntityStore], Awaitable[R]], url: str | None, env_file: Path) -> R:
    async def checked(store: EntityStore) -> R:
        try:
            return await work(store)
        except InvalidQuery as exc:
            fail(exc.message, WRONG_USE)

    return run_in_database(settings(url, env_file), lambda database: checked(database.connection()))


def _preview(now: Mapping[str, Any] | None, then: Mapping[str, Any]) -> bool:
    """Prints what a revert would do; whether it would do anything."""
    is_back = now is None or now["deleted_at"] is not None
    if is_back:
        typer.echo("it is made again, as it was purged" if now is None else "it is restored, as it was deleted")
    changes = changed_fields(now, then)
    given = {field: change for field, change in changes.items() if field not in OWNED_FIELDS and field != "id"}
    for field, (old, new) in given.items():
        _print_change(field, old, new)
    return is_back or bool(given)


def _print_change(field: str, old: Any, new: Any) -> None:
    typer.echo(_printable(f"    {field}: {_shown(old)} -> {_shown(new)}"))


def _shown(value: Any) -> str:
    """A value in one short piece."""
    text = "-" if value is None else _as_json(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _printable(text: str) -> str:
    # Much of it was chosen by others, and a terminal acts on what it cannot show.
    return "".join(each if each.isprintable() else "?" for each in text)


def _as_json(value: Any) -> str:
    # Not orjson, which takes no integer of more than 64 bits.
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON has no type of its own for."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, frozenset):
        return sorted(value)
    return str(value)
