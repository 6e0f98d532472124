"""What is in a database, and what is wrong with it: looked at, never changed, beside services that run.

report = await inspect_database("sqlite:///app.db")
assert report.is_well, [finding.text for finding in report.findings if finding.is_wrong]
"""

from collections.abc import Sequence

from app_kernel.core.tables import Table
from app_kernel.db.catalog import queries_for
from app_kernel.db.drivers.base import FORMAT
from app_kernel.db.inspection.connecting import make_onlooker
from app_kernel.db.inspection.deep import compare_with_history
from app_kernel.db.inspection.gathering import gather_meta, gather_outbox, gather_tables
from app_kernel.db.inspection.looks import Looks, looks_for
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, OutboxFacts, Report, TableFacts
from app_kernel.db.inspection.rules import about_declared, about_layout, about_outbox, about_table

__all__ = [
    "ColumnFacts",
    "Finding",
    "IndexFacts",
    "OutboxFacts",
    "Report",
    "TableFacts",
    "inspect_database",
]


async def inspect_database(
    url: str, *, deep: bool = False, declared: Sequence[Table] = (), synchronous: str = "FULL"
) -> Report:
    """What there is in a database and what is wrong with it; `url` as for `connect`.

    Rows are counted; with `deep` each is also compared with its history, which takes minutes for millions. `declared`
    are the tables of the service's features, whose indexes and histories have to be there; `synchronous` is how the
    service opens a SQLite file whose URL does not say. Raises InvalidDatabaseUrl, and Unavailable when it cannot be
    reached.
    """
    onlooker = make_onlooker(url, synchronous=synchronous)
    try:
        await onlooker.open()
        return await _inspect(looks_for(onlooker), deep=deep, declared=declared)
    finally:
        await onlooker.close()


async def _inspect(looks: Looks, *, deep: bool, declared: Sequence[Table]) -> Report:
    report = Report(looks.dialect.name, await looks.server(), deep=deep)
    meta = await gather_meta(looks)
    report.format, report.generation = meta.get("format"), meta.get("generation")
    names = [str(row[0]) for row in await looks.onlooker.fetch(*queries_for(looks.dialect).list_entities())]
    report.findings += about_layout(meta, names)
    if report.format is None or report.format > FORMAT:
        report.findings += await looks.findings(dict(report.server), (), deep=deep)
        return report
    report.tables, found = await gather_tables(looks)
    report.findings += found
    by_name = {table.name: table for table in report.tables}
    for table in report.tables:
        report.findings += about_table(table)
        if deep:
            report.findings += await compare_with_history(looks, table)
    for each in declared:
        report.findings += about_declared(each, by_name.get(each.name))
    if {"kernel_outbox", "kernel_dead_letters"} <= set(names):
        report.outbox = await gather_outbox(looks)
        report.findings += about_outbox(report.outbox)
    report.findings += await looks.findings(dict(report.server), report.tables, deep=deep)
    return report
