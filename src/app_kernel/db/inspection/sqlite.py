"""SQLite: a file, its log, and what can be wrong with them."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from app_kernel.db.drivers.onlooker import SqliteOnlooker
from app_kernel.db.inspection.looks import REFUSED, Looks, as_fields
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, TableFacts

LEAST_FREE = 64_000_000
"""Bytes of free disk below which writes may fail any moment."""
LARGE_LOG = 512_000_000
"""Bytes of a log that somebody keeps from being moved into the file."""
DAMAGES_SHOWN = 5


class SqliteLooks(Looks):
    """One file."""

    onlooker: SqliteOnlooker

    async def server(self) -> dict[str, Any]:
        file = self.onlooker.file
        log = file.with_name(f"{file.name}-wal")
        return {
            "version": (await self.fetch("SELECT sqlite_version()"))[0][0],
            "encoding": await self._pragma("encoding"),
            "journal_mode": await self._pragma("journal_mode"),
            "synchronous": self.onlooker.synchronous,
            "file_bytes": file.stat().st_size,
            "log_bytes": log.stat().st_size if log.is_file() else 0,
            "unused_bytes": await self._pragma("freelist_count") * await self._pragma("page_size"),
            "free_disk_bytes": shutil.disk_usage(file.parent).free,
        }

    async def indexes(self) -> list[IndexFacts]:
        rows = await self.fetch(
            "SELECT m.tbl_name, l.name, (SELECT group_concat(name, ',') FROM"
            " (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)), l.[unique]"
            " FROM sqlite_master m JOIN pragma_index_list(m.name) l"
            " WHERE m.type = 'table' AND l.origin <> 'pk' ORDER BY 1, 2"
        )
        return [IndexFacts(row[0], row[1], as_fields(row[2]), bool(row[3])) for row in rows]

    async def findings(self, server: dict[str, Any], tables: Sequence[TableFacts], *, deep: bool) -> list[Finding]:
        found = [*_settings(server), *_access(self.onlooker.file)]
        found += [each async for each in self._damage(deep=deep)]
        found += [each async for each in self._objects()]
        return found

    def differ(self, left: str, right: str, column: ColumnFacts) -> str:
        return f"{left} COLLATE BINARY IS NOT {right}"

    async def _pragma(self, name: str) -> Any:
        return (await self.fetch(f"PRAGMA {name}"))[0][0]

    async def _damage(self, *, deep: bool) -> AsyncIterator[Finding]:
        check = "integrity_check" if deep else "quick_check"
        try:
            told = [row[0] for row in await self.fetch(f"PRAGMA {check}({DAMAGES_SHOWN})")]
        except REFUSED as exc:
            told = [str(exc)]
        if told != ["ok"]:
            yield Finding(
                "damaged",
                "database",
                f"PRAGMA {check} says: {'; '.join(told)}.",
                "Stop the service, keep a copy of the file, and restore the latest backup; `.recover` of the program"
                " sqlite3 reads what can still be read.",
            )

    async def _objects(self) -> AsyncIterator[Finding]:
        """Views and triggers that name what is not there: to have one compiled is enough to know."""
        rows = await self.fetch("SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('view', 'trigger')")
        for name in sorted(row[1] for row in rows if row[0] == "view"):
            reason = await self._refused(f"EXPLAIN SELECT * FROM {_quoted(name)}")
            if reason:
                yield _broken("view", name, reason)
        for table in sorted({row[2] for row in rows if row[0] == "trigger"}):
            names = ", ".join(sorted(row[1] for row in rows if row[0] == "trigger" and row[2] == table))
            columns = await self.fetch("SELECT name FROM pragma_table_info(?) LIMIT 1", (table,))
            target, column = _quoted(table), _quoted(columns[0][0])
            writes = ("INSERT INTO {0} DEFAULT VALUES", "UPDATE {0} SET {1} = {1}", "DELETE FROM {0}")
            reasons = [await self._refused("EXPLAIN " + write.format(target, column)) for write in writes]
            # A view without an INSTEAD OF trigger for one of these is none that is broken.
            told = next((reason for reason in reasons if reason and "no such" in reason), None)
            if told:
                yield _broken("trigger", names, f"a write to {table} is refused: {told}")

    async def _refused(self, sql: str) -> str | None:
        try:
            await self.onlooker.fetch(sql)
        except REFUSED as exc:
            return str(exc)
        return None


def _settings(server: dict[str, Any]) -> list[Finding]:
    found = []
    if server["journal_mode"] != "wal":
        found.append(
            Finding(
                "not-wal",
                "database",
                f"The journal mode is {server['journal_mode']}, in which readers and writers wait for each other.",
                "Start the service once, which turns it to wal; it cannot on a network file system, which is no place"
                " for this file.",
            )
        )
    if server["free_disk_bytes"] < LEAST_FREE:
        found.append(
            Finding(
                "disk-full",
                "database",
                f"The disk has {server['free_disk_bytes'] // 1_000_000} MB left.",
                "Make room: once there is none, every write is refused.",
            )
        )
    if server["log_bytes"] > LARGE_LOG:
        found.append(
            Finding(
                "large-log",
                "database",
                f"The log beside the file holds {server['log_bytes'] // 1_000_000} MB.",
                "Look for a process that keeps a read open: the log is moved into the file when nobody reads what is"
                " older.",
                is_wrong=False,
            )
        )
    return found


def _access(file: Path) -> list[Finding]:
    """Whether whoever runs the check may write; the service may be somebody else."""
    denied = [str(each.name) for each in (file, file.parent) if not os.access(each, os.W_OK)]
    if not denied:
        return []
    return [
        Finding(
            "read-only",
            "database",
            f"The user who runs this check may not write to {' and '.join(denied)}.",
            "If the service runs as the same user, give it both the file and its directory.",
        )
    ]


def _broken(kind: str, name: str, reason: str) -> Finding:
    return Finding(f"broken-{kind}", name, f"This {kind} cannot be used: {reason}", f"Drop the {kind} or make it anew.")


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
