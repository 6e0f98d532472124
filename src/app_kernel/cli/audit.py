"""The audit log from a terminal: `app-kernel audit`. It reads the admin database and changes nothing."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias, TypeVar, cast, get_args

import typer

from app_kernel.audit import Format, export_audit_logs, get_audit_logs, list_apps
from app_kernel.cli.running import DEFAULT_ENV_FILE, REFUSED, WRONG_USE, DatabaseUrl, EnvFile, fail, settings
from app_kernel.cli.running import run_in_database as run_in
from app_kernel.core.errors import InvalidAuditEvent
from app_kernel.core.ports import EntityStore

R = TypeVar("R")

audit = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who changed what, when and from where.")

Entity: TypeAlias = Annotated[str | None, typer.Option("--entity", help="Of this entity alone.")]
EntityId: TypeAlias = Annotated[str | None, typer.Option("--id", help="Of the row with this id alone.")]
User: TypeAlias = Annotated[str | None, typer.Option("--user", help="What this user, by id, did.")]
Action: TypeAlias = Annotated[str | None, typer.Option("--action", help="This action alone; auth.* for all of those.")]
Since: TypeAlias = Annotated[
    str | None, typer.Option("--since", help="From a date or an instant on, such as 2026-01-31.")
]
Until: TypeAlias = Annotated[str | None, typer.Option("--until", help="Up to the end of a date, or before an instant.")]
App: TypeAlias = Annotated[
    str | None, typer.Option("--app", help="Of this service; else that of SERVICE_NAME, or the only one.")
]


@audit.command("list")
def show_entries(  # noqa: PLR0913 - options of a command
    *,
    entity: Entity = None,
    entity_id: EntityId = None,
    user: User = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each entry.")] = False,
    app: App = None,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Lists entries, the latest first: when, what, on which row, by whom and through what, and which fields changed."""
    filters = _filters(entity, entity_id, user, action, since, until)
    entries = _run(lambda db, name: get_audit_logs(db, app=name, limit=limit, **filters), app, database_url, env_file)
    for entry in entries:
        typer.echo(json.dumps(entry) if as_json else _line(entry))
    if not entries:
        typer.echo("no entry matches", err=True)


@audit.command("export")
def export_entries(  # noqa: PLR0913 - options of a command
    *,
    entity: Entity = None,
    entity_id: EntityId = None,
    user: User = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    file_format: Annotated[str, typer.Option("--format", help="csv, or json for one object a line.")] = "csv",
    app: App = None,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Writes everything that matches to standard output, the oldest first."""
    if file_format not in get_args(Format):
        fail(f"--format: there is no {file_format}; use one of {', '.join(get_args(Format))}", WRONG_USE)
    filters = _filters(entity, entity_id, user, action, since, until)

    async def write(db: EntityStore, name: str) -> None:
        async for part in export_audit_logs(db, app=name, file_format=cast("Format", file_format), **filters):
            typer.echo(part, nl=False)

    _run(write, app, database_url, env_file)


def _filters(*given: str | None) -> dict[str, Any]:
    return dict(zip(("entity", "entity_id", "user_id", "action", "since", "until"), given, strict=True))


def _run(
    read: Callable[[EntityStore, str], Awaitable[R]], app: str | None, database_url: str | None, env_file: Any
) -> R:
    config = settings(database_url, env_file, admin=True)

    async def work(db: EntityStore) -> R:
        try:
            return await read(db, app or config.name or _only(await list_apps(db)))
        except InvalidAuditEvent as exc:
            fail(exc.message, WRONG_USE)

    return run_in(config, lambda database: work(database.connection()))


def _only(apps: list[str]) -> str:
    if not apps:
        fail("there are no entries in this database yet: a service writes them a moment after each change", REFUSED)
    if len(apps) > 1:
        fail(f"there are entries of several services: choose one with --app ({', '.join(apps)})", WRONG_USE)
    return apps[0]


def _line(entry: dict[str, Any]) -> str:
    row = "/".join(str(each) for each in (entry["entity"], entry["entity_id"]) if each is not None)
    who = entry["user_id"] or "-"
    fields = ",".join(entry["changes"] or {})
    line = "  ".join((entry["timestamp"], entry["action"], row or "-", who, entry["source"] or "-", fields))
    # Much of it was chosen by others, and a terminal acts on what it cannot show.
    return "".join(each if each.isprintable() else "?" for each in line).rstrip()
