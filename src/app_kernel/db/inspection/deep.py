"""A look at every row beside its history: what was altered, added or removed by other hands than the store's.

It goes through a table in pages of ids, each a short statement of its own: nobody who writes or makes a column waits
for it, and what is compared is of one instant, because a row and its history change in one commit.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app_kernel.db.inspection.looks import Looks
from app_kernel.db.inspection.report import ColumnFacts, Finding, TableFacts
from app_kernel.db.table import HISTORY_SUFFIX

PAGE_ROWS = 5000
IDS_SHOWN = 5


@dataclass(slots=True)
class _Found:
    """How many ids, and the first of them."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, rows: list[Any]) -> None:
        self.count += len(rows)
        self.ids += [str(row[0]) for row in rows[: IDS_SHOWN - len(self.ids)]]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.ids) else ""
        return f"{self.count} ({', '.join(self.ids)}{more})"


async def compare_with_history(looks: Looks, table: TableFacts) -> list[Finding]:
    """What of one table is not as its history says; nothing for one that keeps none."""
    if table.history is None:
        return []
    altered, unknown, vanished, gaps = _Found(), _Found(), _Found(), _Found()
    left_out = {"id", *table.history_lacks}
    same = [each for each in table.columns if each.type and each.name not in left_out and '"' not in each.name]
    async for where, params in _pages(looks, table.name, "r"):
        altered.add(await looks.fetch(_altered(looks, table, same, where), params))
        unknown.add(await looks.fetch(_unknown(table, where), params))
    async for where, params in _pages(looks, table.name + HISTORY_SUFFIX, "h"):
        vanished.add(await looks.fetch(_vanished(table, where), params))
        gaps.add(await looks.fetch(_gaps(table, where), params))
    return list(_told(table.name, altered, unknown, vanished, gaps))


def _told(name: str, altered: _Found, unknown: _Found, vanished: _Found, gaps: _Found) -> Iterator[Finding]:
    if altered.count:
        yield Finding(
            "altered",
            name,
            f"Rows that are not as their latest version says, so other hands altered them: {altered}.",
            f"`app-kernel db history {name} ID` shows what the store wrote, and `db revert` brings it back; where the"
            " row is right, save it once.",
        )
    if unknown.count:
        yield Finding(
            "not-in-history",
            name,
            f"Rows whose version is not in the history: {unknown}.",
            "Somebody removed versions, or set [_version]: restore the history from a backup, or save the row once,"
            " which begins it anew.",
        )
    if vanished.count:
        yield Finding(
            "vanished",
            name,
            f"Rows that are gone, although no version says who removed them: {vanished}.",
            f"`app-kernel db revert {name} ID --version N` makes one again.",
        )
    if gaps.count:
        yield Finding(
            "history-gap",
            name,
            f"Histories in which versions are missing: {gaps}.",
            "Somebody removed versions: compare with a backup.",
        )


async def _pages(looks: Looks, table: str, alias: str) -> AsyncIterator[tuple[str, tuple[Any, ...]]]:
    """Conditions, with their params, that go through a table by ids; all versions of an id are on one page."""
    after: tuple[Any, ...] = ()
    while True:
        above = f"[{alias}].[id] > ?" if after else "1 = 1"
        rows = await looks.fetch(
            f"SELECT [{alias}].[id] FROM [{table}] AS [{alias}] WHERE {above} ORDER BY [{alias}].[id]"
            f" LIMIT 1 OFFSET {PAGE_ROWS}",
            after,
        )
        if not rows:
            yield above, after
            return
        yield f"{above} AND [{alias}].[id] <= ?", (*after, rows[0][0])
        after = (rows[0][0],)


def _altered(looks: Looks, table: TableFacts, columns: Sequence[ColumnFacts], where: str) -> str:
    """Rows beside the version that they have; params: those of the page."""
    # An application's own column may have a name that portable spelling does not take.
    named = ((looks.dialect.quote(column.name), column) for column in columns)
    differs = " OR ".join(looks.differ(f"[r].{name}", f"[h].{name}", column) for name, column in named)
    return (
        f"SELECT [r].[id] FROM [{table.name}] AS [r] JOIN [{table.name}{HISTORY_SUFFIX}] AS [h]"
        f" ON [h].[id] = [r].[id] AND [h].[_version] = [r].[_version] WHERE {where} AND ({differs}) ORDER BY 1"
    )


def _unknown(table: TableFacts, where: str) -> str:
    """Rows with a version that their history has not, or has a later one of."""
    kept = f"SELECT 1 FROM [{table.name}{HISTORY_SUFFIX}] AS [h] WHERE [h].[id] = [r].[id] AND [h].[_version]"
    return (
        f"SELECT [r].[id] FROM [{table.name}] AS [r] WHERE {where} AND [r].[_version] IS NOT NULL"
        f" AND (NOT EXISTS ({kept} = [r].[_version]) OR EXISTS ({kept} > [r].[_version])) ORDER BY 1"
    )


def _vanished(table: TableFacts, where: str) -> str:
    """Ids whose latest version is no purge, and of which there is no row."""
    history = f"[{table.name}{HISTORY_SUFFIX}]"
    later = f"SELECT 1 FROM {history} AS [l] WHERE [l].[id] = [h].[id] AND [l].[_version] > [h].[_version]"
    return (
        f"SELECT [h].[id] FROM {history} AS [h] WHERE {where} AND [h].[_action] <> 'purge' AND NOT EXISTS ({later})"
        f" AND NOT EXISTS (SELECT 1 FROM [{table.name}] AS [r] WHERE [r].[id] = [h].[id]) ORDER BY 1"
    )


def _gaps(table: TableFacts, where: str) -> str:
    """Ids with fewer versions than numbers between the first and the last."""
    return (
        f"SELECT [h].[id] FROM [{table.name}{HISTORY_SUFFIX}] AS [h] WHERE {where} GROUP BY [h].[id]"
        " HAVING COUNT(*) <> MAX([h].[_version]) - MIN([h].[_version]) + 1"
        f"{'' if table.adopted else ' OR MIN([h].[_version]) <> 1'} ORDER BY 1"
    )
