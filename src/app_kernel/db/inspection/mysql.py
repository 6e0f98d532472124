"""MySQL and MariaDB: settings of the server, engines and collations of tables, views that name what is gone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app_kernel.db.dialects.mysql_catalog import ALIVE
from app_kernel.db.dialects.mysql_storage import BINARY_COLLATION
from app_kernel.db.inspection.looks import REFUSED, Looks, as_fields
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, TableFacts

LEAST_PACKET = 16 * 1024 * 1024
"""Bytes of the longest statement or value that the server takes: jobs and messages may be some megabytes long."""
_SETTINGS = (
    "version", "character_set_database", "collation_database", "transaction_isolation", "tx_isolation",
    "max_allowed_packet", "log_bin", "binlog_format", "innodb_flush_log_at_trx_commit", "read_only",
)  # fmt: skip
_HERE = "table_schema = DATABASE()"


class ServerLooks(Looks):
    """One database of a MySQL or MariaDB server."""

    async def server(self) -> dict[str, Any]:
        names = ", ".join(f"'{name}'" for name in _SETTINGS)
        found = {str(row[0]): row[1] for row in await self.fetch(f"SHOW VARIABLES WHERE Variable_name IN ({names})")}
        size = await self.fetch(
            f"SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE {_HERE}"
        )
        return {
            "version": found["version"],
            "is_mariadb": bool(getattr(self.dialect, "is_mariadb", False)),
            "encoding": found["character_set_database"],
            "collation": found["collation_database"],
            "isolation": found.get("transaction_isolation", found.get("tx_isolation")),
            "packet_bytes": int(found["max_allowed_packet"]),
            "binary_log": found["binlog_format"] if found["log_bin"] == "ON" else "off",
            "flush_at_commit": int(found["innodb_flush_log_at_trx_commit"]),
            "is_read_only": found["read_only"] not in ("OFF", "0"),
            "database_bytes": int(size[0][0]),
        }

    async def indexes(self) -> list[IndexFacts]:
        rows = await self.fetch(
            "SELECT table_name, index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index), MIN(non_unique)"
            f" FROM information_schema.statistics WHERE {_HERE} AND index_name <> 'PRIMARY'"
            f" AND column_name <> '{ALIVE}' GROUP BY table_name, index_name ORDER BY 1, 2"
        )
        return [IndexFacts(str(row[0]), str(row[1]), as_fields(row[2]), not row[3]) for row in rows]

    async def findings(self, server: dict[str, Any], tables: Sequence[TableFacts], *, deep: bool) -> list[Finding]:
        found = [finding for rule in RULES if (finding := rule(server)) is not None]
        rows = await self.fetch(
            f"SELECT table_name, engine FROM information_schema.tables WHERE {_HERE} AND table_type = 'BASE TABLE'"
            " AND COALESCE(engine, '') <> 'InnoDB' ORDER BY 1"
        )
        found += [_engine(str(row[0]), row[1]) for row in rows]
        found += await self._collations({table.name for table in tables if not table.adopted})
        return [*found, *await self._views()]

    def differ(self, left: str, right: str, column: ColumnFacts) -> str:
        # As bytes, because a collation may take two texts for equal.
        return f"NOT (CAST({left} AS BINARY) <=> CAST({right} AS BINARY))"

    async def _views(self) -> list[Finding]:
        """Views that name what is not there: the server finds out when somebody reads one."""
        found = []
        views = await self.fetch(f"SELECT table_name FROM information_schema.views WHERE {_HERE} ORDER BY 1")
        for name in (str(row[0]) for row in views):
            try:
                await self.onlooker.fetch(f"SELECT 1 FROM {self.dialect.quote(name)} LIMIT 0")
            except REFUSED as exc:
                text = f"This view cannot be used: {exc}"
                found.append(Finding("broken-view", name, text, "Drop the view or make it anew."))
        return found

    async def _collations(self, own: set[str]) -> list[Finding]:
        """Columns of the store's own tables whose texts compare otherwise than their bytes."""
        exact = BINARY_COLLATION[bool(getattr(self.dialect, "is_mariadb", False))]
        rows = await self.fetch(
            "SELECT table_name, GROUP_CONCAT(column_name ORDER BY column_name), MIN(collation_name)"
            f" FROM information_schema.columns WHERE {_HERE} AND collation_name <> ? AND data_type <> 'json'"
            " GROUP BY table_name ORDER BY 1",
            (exact,),
        )
        return [
            Finding(
                "other-collation",
                str(row[0]),
                f"[{row[1]}] compares by {row[2]}, which takes texts for equal that differ.",
                f"ALTER TABLE {row[0]} CONVERT TO CHARACTER SET utf8mb4 COLLATE {exact}, while no service runs.",
            )
            for row in rows
            if str(row[0]) in own
        ]


def _packet(server: Mapping[str, Any]) -> Finding | None:
    if server["packet_bytes"] >= LEAST_PACKET:
        return None
    return Finding(
        "small-packet",
        "database",
        f"max_allowed_packet is {server['packet_bytes']} bytes: whatever is longer is refused.",
        f"Set max_allowed_packet = {LEAST_PACKET} or more in the server's configuration.",
    )


def _binary_log(server: Mapping[str, Any]) -> Finding | None:
    if server["binary_log"] != "STATEMENT":
        return None
    return Finding(
        "binary-log",
        "database",
        "binlog_format is STATEMENT, with which the server refuses every write of a READ COMMITTED transaction.",
        "Set binlog_format = ROW in the server's configuration.",
    )


def _flush(server: Mapping[str, Any]) -> Finding | None:
    if server["flush_at_commit"] == 1:
        return None
    return Finding(
        "not-durable",
        "database",
        f"innodb_flush_log_at_trx_commit is {server['flush_at_commit']}: the last second of acknowledged writes is lost"
        " with a power cut.",
        "Set it to 1, unless that is meant.",
        is_wrong=False,
    )


def _read_only(server: Mapping[str, Any]) -> Finding | None:
    if not server["is_read_only"]:
        return None
    return Finding(
        "read-only",
        "database",
        "The server is read_only, as a replica is: it refuses writes.",
        "Give the service the address of the primary.",
    )


RULES: tuple[Callable[[Mapping[str, Any]], Finding | None], ...] = (_packet, _binary_log, _flush, _read_only)
"""What is looked at in the settings of the server."""


def _engine(table: str, engine: Any) -> Finding:
    return Finding(
        "other-engine",
        table,
        f"Its engine is {engine or 'unknown'}, which knows no transactions: of a commit only a part may be kept.",
        f"ALTER TABLE {table} ENGINE = InnoDB, while no service runs.",
    )
