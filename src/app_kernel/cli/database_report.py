"""A report on a database as lines of a terminal."""

from collections.abc import Mapping
from typing import Any

import typer

from app_kernel.db.inspection import Report, TableFacts
from app_kernel.db.table import OWNED_FIELDS

_PRODUCTS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL"}


def print_report(report: Report, place: str, *, show_all: bool) -> None:
    """Prints everything; with `show_all` the kernel's own tables too."""
    _say(f"{_PRODUCTS.get(report.backend, report.backend)} {report.server['version']}: {place}")
    _say(f"  {_facts(report.server)}")
    if report.format is not None:
        _say(f"  format {report.format}, generation {report.generation} of the schema")
    if report.outbox is not None:
        waiting = f", the oldest for {report.outbox.oldest_seconds:.0f} s" if report.outbox.unsent else ""
        _say(f"  outbox: {report.outbox.unsent:,} unsent{waiting}; {report.outbox.dead:,} dead letters")
    for table in report.tables:
        if show_all or not table.is_kernels:
            _print_table(table)
    hidden = 0 if show_all else sum(table.is_kernels for table in report.tables)
    if hidden:
        _say(f"and {hidden} tables of the kernel's own (--all)")
    _print_findings(report)


def _print_table(table: TableFacts) -> None:
    counts = "not counted" if table.rows is None else f"{table.rows:,} rows, {table.deleted:,} deleted"
    history = "no history" if table.history is None else f"{table.history:,} versions"
    _say(f"{table.name}  {counts}, {history}")
    fields = [
        f"{column.name} {column.kind}{'' if column.type else ' (no column)'}"
        for column in table.columns
        if column.name not in OWNED_FIELDS
    ]
    _say(f"  {', '.join(fields)}")
    for index in table.indexes:
        _say(f"  {'unique ' if index.unique else ''}index {index.name} ({', '.join(index.fields)})")


def _print_findings(report: Report) -> None:
    wrong = [finding for finding in report.findings if finding.is_wrong]
    notes = [finding for finding in report.findings if not finding.is_wrong]
    for heading, findings in (("note", notes), ("WRONG", wrong)):
        for finding in findings:
            _say(f"{heading} [{finding.code}] {finding.where}: {finding.text}")
            if finding.mend:
                _say(f"  {finding.mend}")
    _say(f"{len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong" if wrong else "nothing is wrong")


def _facts(server: Mapping[str, Any]) -> str:
    told = []
    for name, value in server.items():
        if name.endswith("_bytes"):
            told.append(f"{name.removesuffix('_bytes').replace('_', ' ')} {_size(value)}")
        elif name != "version":
            told.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(told)


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _say(line: str) -> None:
    # Names and texts may come from others, and a terminal acts on what it cannot show.
    typer.echo("".join(each if each.isprintable() else "?" for each in line).rstrip())
