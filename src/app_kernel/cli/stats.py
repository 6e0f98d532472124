"""Request figures from a terminal: `app-kernel stats`."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, cast, get_args

import orjson
import typer

from app_kernel.cli.running import DEFAULT_ENV_FILE, REFUSED, WRONG_USE, DatabaseUrl, EnvFile, fail, settings
from app_kernel.cli.running import run_in_database as run_in
from app_kernel.core import clock
from app_kernel.core.ports import EntityStore
from app_kernel.stats import Sort, get_request_stats, list_apps

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
COLUMNS = {
    "method": "method",
    "route": "route",
    "count": "count",
    "errors": "errors",
    "error_rate": "error %",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "slowest_ms": "slowest ms",
    "slowest_request_id": "slowest request",
}


def show_stats(  # noqa: PLR0913 - options of a command
    *,
    since: Annotated[
        str, typer.Option("--since", help="From when on: 90m, 24h, 7d, or an instant in ISO 8601; by whole hours.")
    ] = "24h",
    route: Annotated[str | None, typer.Option("--route", help="One route template alone.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="One method alone.")] = None,
    sort: Annotated[str, typer.Option("--sort", help="The largest first: p95, count, errors or slowest.")] = "p95",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many routes at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each route.")] = False,
    app: Annotated[
        str | None, typer.Option("--app", help="Of this service; else that of SERVICE_NAME, or the only one.")
    ] = None,
    database_url: DatabaseUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Shows how many requests each route had, how many failed and how long they took, in all processes."""
    if sort not in get_args(Sort):
        fail(f"--sort: there is no {sort}; use one of {', '.join(get_args(Sort))}", WRONG_USE)
    begins = _instant(since)
    config = settings(database_url, env_file, admin=True)

    async def read(db: EntityStore) -> list[dict[str, Any]]:
        name = app or config.name or _only(await list_apps(db))
        return await get_request_stats(
            db,
            app=name,
            since=begins,
            route=route,
            method=method,
            sort=cast("Sort", sort),
            limit=limit,
        )

    rows = run_in(config, lambda database: read(database.connection()))
    if as_json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
    elif rows:
        _print_table(rows)
    else:
        when = f"since {since}" if isinstance(begins, str) else f"in the last {since}"
        typer.echo(f"there were no requests {when}", err=True)


def _only(apps: Sequence[str]) -> str:
    if not apps:
        fail("there are no figures in this database yet: a service writes them every ten seconds", REFUSED)
    if len(apps) > 1:
        fail(f"there are figures of several services: choose one with --app ({', '.join(apps)})", WRONG_USE)
    return apps[0]


def _instant(text: str) -> datetime | str:
    """The instant so long ago, or the text of one."""
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if found is not None:
        return clock.now() - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since: {text} is no time; use 24h, 7d or an instant such as 2026-01-31T12:00Z", WRONG_USE)
    return text


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [list(COLUMNS.values()), *([_cell(row, column) for column in COLUMNS] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    left = {0, 1, len(COLUMNS) - 1}
    for line in lines:
        cells = (
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        typer.echo("  ".join(cells).rstrip())


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if column == "error_rate":
        return f"{value * 100:.1f}"
    if isinstance(value, float):
        return f"{value:.1f}"
    # A terminal acts on what it cannot show.
    return "".join(each if each.isprintable() else "?" for each in str(value if value is not None else ""))
