"""What there is in a database: its tables as the store sees them, and how much is in each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app_kernel.core.errors import InvalidName
from app_kernel.db.catalog import load_table, queries_for
from app_kernel.db.drivers.base import Work
from app_kernel.db.inspection.looks import REFUSED, Looks
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, OutboxFacts, TableFacts
from app_kernel.db.names import check_entity_name
from app_kernel.db.outbox.rows import seconds_since
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, EntityTable

_KEPT_APART = frozenset({
    "kernel_meta", "kernel_catalog", "kernel_leases", "kernel_outbox", "kernel_dead_letters", "kernel_inbox",
    "kernel_relay",
})  # fmt: skip
"""Tables of the kernel that are no entities, and have a part of the report to themselves."""


async def gather_tables(looks: Looks) -> tuple[list[TableFacts], list[Finding]]:
    """Every entity and every table of the kernel's that is one, in the order of their names."""
    queries = queries_for(looks.dialect)
    names = sorted(str(row[0]) for row in await looks.onlooker.fetch(*queries.list_entities()))
    indexes: dict[str, list[IndexFacts]] = {}
    for index in await looks.indexes():
        indexes.setdefault(index.table, []).append(index)
    tables, findings, others = [], [], []
    for name in names:
        if name in _KEPT_APART:
            continue
        if not _is_entity_name(name):
            others.append(name)
            continue
        loaded = await _run(looks, load_table(queries, looks.dialect, name))
        table = _facts(looks, loaded, indexes.get(name, ()))
        if table.refusal and not table.is_kernels:
            others.append(name)
            continue
        try:
            tables.append(await _counted(looks, table, loaded))
        except REFUSED as exc:
            tables.append(table)
            mend = "Look what the database says about this table; the store cannot read it either."
            findings.append(Finding("unreadable", name, f"Its rows cannot be counted: {exc}", mend))
    if others:
        told = "These tables are no entities: their name is none that an entity may have, or they have no unique [id]."
        findings.append(Finding("other-tables", ", ".join(others), told, "Use execute() for them.", is_wrong=False))
    return tables, findings


async def gather_outbox(looks: Looks) -> OutboxFacts:
    """What has not left yet."""
    rows = await looks.fetch(
        "SELECT [topic], COUNT(*), MIN([created_at]) FROM [kernel_outbox] WHERE [batch] IS NULL GROUP BY [topic]"
    )
    dead = await looks.fetch("SELECT COUNT(*) FROM [kernel_dead_letters]")
    ages = {str(row[0]): _age(row[2]) for row in sorted(rows)}
    return OutboxFacts(sum(int(row[1]) for row in rows), max(ages.values(), default=0.0), int(dead[0][0]), ages)


async def gather_meta(looks: Looks) -> Mapping[str, int]:
    """What the kernel remembers of the schema: `format` and `generation`; empty in a database without it."""
    if not await looks.onlooker.fetch(*queries_for(looks.dialect).list_columns("kernel_meta")):
        return {}
    return {str(row[0]): int(row[1]) for row in await looks.fetch("SELECT [key], [value] FROM [kernel_meta]")}


async def _run(looks: Looks, work: Work[EntityTable]) -> EntityTable:
    try:
        statement = next(work)
        while True:
            statement = work.send(await looks.onlooker.fetch(*statement))
    except StopIteration as done:
        table: EntityTable = done.value
        return table


def _facts(looks: Looks, table: EntityTable, indexes: Sequence[IndexFacts]) -> TableFacts:
    columns = tuple(
        ColumnFacts(
            column.name,
            str(looks.dialect.natural_kind(column.declared) if column.physical and _is_untold(column) else column.kind),
            column.declared,
            column.adopted,
            column.generated,
        )
        for column in table.columns.values()
        if column.name not in HISTORY_FIELDS
    )
    missing = tuple(field for field in OWNED_FIELDS if not table.has(field))
    return TableFacts(
        table.name,
        table.adopted,
        columns,
        tuple(indexes),
        table.refusal,
        history_lacks=table.history_lacks,
        missing=missing,
    )


def _is_untold(column: Any) -> bool:
    return bool(column.kind == "unknown")


async def _counted(looks: Looks, facts: TableFacts, table: EntityTable) -> TableFacts:
    deleted = "COUNT([deleted_at])" if table.has("deleted_at") else "0"
    unversioned = "COUNT(*) - COUNT([_version])" if table.has("_version") else "COUNT(*)"
    rows = await looks.fetch(f"SELECT COUNT(*), {deleted}, {unversioned} FROM [{table.name}]")
    every, gone, unknown = (int(each) for each in rows[0][:3])
    history = None
    if table.keeps_history:
        history = int((await looks.fetch(f"SELECT COUNT(*) FROM [{table.name}{HISTORY_SUFFIX}]"))[0][0])
    return replace(facts, rows=every - gone, deleted=gone, unversioned=unknown, history=history)


def _is_entity_name(name: str) -> bool:
    try:
        check_entity_name(name, writing=True, privileged=True)
    except InvalidName:
        return False
    return True


def _age(created_at: Any) -> float:
    """In seconds; 0 where its text tells no instant, which nothing of the kernel's writes."""
    try:
        return seconds_since(created_at)
    except (TypeError, ValueError, OverflowError):
        return 0.0
