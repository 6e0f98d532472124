"""PostgreSQL: its settings, indexes that were not built to their end, leases."""

from collections.abc import Sequence
from typing import Any

from app_kernel.db.inspection.looks import Looks, as_fields
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, TableFacts


class ServerLooks(Looks):
    """One schema of a PostgreSQL database."""

    async def server(self) -> dict[str, Any]:
        rows = await self.fetch(
            "SELECT current_setting('server_version'), current_setting('server_encoding'), d.datcollate,"
            " current_setting('default_transaction_isolation'), pg_database_size(d.oid), current_schema(),"
            " pg_is_in_recovery() FROM pg_database d WHERE d.datname = current_database()"
        )
        names = ("version", "encoding", "collation", "isolation", "database_bytes", "schema", "is_standby")
        return dict(zip(names, rows[0], strict=False))

    async def indexes(self) -> list[IndexFacts]:
        rows = await self.fetch(
            "SELECT t.relname::text, c.relname::text, (SELECT string_agg(a.attname, ',' ORDER BY k.n)"
            " FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum), i.indisunique,"
            # One that is being built is not whole yet, and nothing is wrong with it.
            " i.indisvalid OR EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
            " WHERE t.relnamespace = current_schema()::regnamespace AND NOT i.indisprimary ORDER BY 1, 2"
        )
        return [IndexFacts(row[0], row[1], as_fields(row[2]), bool(row[3]), bool(row[4])) for row in rows]

    async def findings(self, server: dict[str, Any], tables: Sequence[TableFacts], *, deep: bool) -> list[Finding]:
        found = _settings(server)
        has_leases = await self.fetch("SELECT 1 WHERE to_regclass('kernel_leases') IS NOT NULL")
        if has_leases:
            for row in await self.fetch("SELECT [name] FROM [kernel_leases] WHERE [expires_at] < now() ORDER BY 1"):
                found.append(
                    Finding(
                        "lease-of-the-dead",
                        row[0],
                        "Who held this lease is gone, and nobody wants it: no service runs on this database.",
                        "Start the service; it takes over what has expired.",
                        is_wrong=False,
                    )
                )
        return found

    def differ(self, left: str, right: str, column: ColumnFacts) -> str:
        if not column.adopted:
            return f"{left} IS DISTINCT FROM {right}"
        # An application's own type may not know when two values are equal, and its collation take others for equal.
        return f'{left}::text COLLATE "C" IS DISTINCT FROM {right}::text COLLATE "C"'


def _settings(server: dict[str, Any]) -> list[Finding]:
    found = []
    if server["encoding"] != "UTF8":
        found.append(
            Finding(
                "encoding",
                "database",
                f"The database's encoding is {server['encoding']}, which cannot hold every text.",
                "Make a database with ENCODING 'UTF8' TEMPLATE template0, and copy this one into it.",
            )
        )
    if server["is_standby"]:
        found.append(
            Finding(
                "standby",
                "database",
                "This server is a standby: it refuses every write.",
                "Give the service the address of the primary.",
                is_wrong=False,
            )
        )
    return found
