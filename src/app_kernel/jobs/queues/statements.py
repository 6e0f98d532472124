"""The database queue in words: portable SQL with [name] and ?, and `{now}`, which takes one parameter.

PostgreSQL's own clock decides there, as workers may run on machines whose clocks differ; SQLite's processes share one.
"""

from functools import lru_cache

from app_kernel.core.jobs import DEAD_TTL
from app_kernel.core.sql_words import MYSQL

_NOW = {
    "sqlite": "CAST(? AS REAL)",
    "postgres": "COALESCE(CAST(? AS DOUBLE PRECISION), CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS FLOAT8))",
}
_FIRST = {"sqlite": "IN (", "postgres": "= ANY(ARRAY("}
_LAST = {"sqlite": ")", "postgres": " FOR UPDATE SKIP LOCKED))"}
"""Around a choice of rows with a limit. PostgreSQL makes an array once, while it may choose anew for each row that it
compares with a plain IN, and so take more than the limit."""
_TEXT = {"sqlite": "TEXT", "postgres": 'TEXT COLLATE "C"'}
_SEQ = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgres": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
# Where most rows of a table change all the time, PostgreSQL has to clean up long before a fifth of it is dead.
_OPTIONS = {
    "sqlite": "",
    "postgres": " WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)",
}

_TABLES = ("kernel_jobs", "kernel_job_queues", "kernel_job_handovers")
TABLES = {"sqlite": _TABLES, "postgres": _TABLES, "mysql": ("kernel_job_handovers",)}
"""What an app database has: on MySQL, jobs are in Redis, and only those on their way there are remembered."""

_CREATE = (
    "CREATE TABLE IF NOT EXISTS [kernel_jobs] ([seq] {seq}, [id] {text} NOT NULL UNIQUE, [queue] {text} NOT NULL,"
    " [task] {text} NOT NULL, [status] {text} NOT NULL, [rank] INTEGER NOT NULL, [due] DOUBLE PRECISION NOT NULL,"
    " [body] {text} NOT NULL, [unique_key] {text}, [user_id] {text}, [workspace_id] {text},"
    " [attempts] INTEGER NOT NULL DEFAULT 0, [max_attempts] INTEGER NOT NULL, [enqueued_at] DOUBLE PRECISION NOT NULL,"
    " [started_at] DOUBLE PRECISION, [finished_at] DOUBLE PRECISION, [expires_at] DOUBLE PRECISION,"
    " [token] {text}, [worker] {text}, [beat] INTEGER NOT NULL DEFAULT 0, [cancel] INTEGER NOT NULL DEFAULT 0,"
    " [progress] DOUBLE PRECISION NOT NULL DEFAULT 0, [progress_text] {text}, [result] {text},"
    " [error] {text}){options}",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_ready] ON [kernel_jobs] ([queue], [rank], [due], [seq])"
    " WHERE [status] = 'queued'",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_scheduled] ON [kernel_jobs] ([queue], [due]) WHERE [status] = 'scheduled'",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_running] ON [kernel_jobs] ([seq]) WHERE [status] = 'running'",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_dead] ON [kernel_jobs] ([queue]) WHERE [status] = 'dead'",
    "CREATE UNIQUE INDEX IF NOT EXISTS [kernel_jobs_unique] ON [kernel_jobs] ([unique_key])"
    " WHERE [unique_key] IS NOT NULL AND [status] IN ('scheduled', 'queued', 'running')",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_expires] ON [kernel_jobs] ([expires_at]) WHERE [expires_at] IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS [kernel_jobs_user] ON [kernel_jobs] ([user_id], [seq]) WHERE [user_id] IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS [kernel_job_queues] ([name] {text} PRIMARY KEY, [paused] INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS [kernel_job_handovers] ([seq] {seq}, [id] {text} NOT NULL UNIQUE,"
    " [body] {text} NOT NULL, [sent_at] DOUBLE PRECISION NOT NULL)",
)
# Texts compare to the byte, also in the spaces at their end: MySQL 8 and MariaDB read a comment each.
_CREATE_MYSQL = (
    "CREATE TABLE IF NOT EXISTS [kernel_job_handovers] ([seq] BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " [id] VARCHAR(191) NOT NULL UNIQUE, [body] LONGTEXT NOT NULL, [sent_at] DOUBLE PRECISION NOT NULL)"
    " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"
    " /*!80000 COLLATE utf8mb4_0900_bin */ /*M! COLLATE utf8mb4_nopad_bin */",
)

COLUMNS = (
    "id", "queue", "task", "status", "rank", "due", "body", "unique_key", "user_id", "workspace_id", "attempts",
    "max_attempts", "enqueued_at", "started_at", "finished_at", "token", "cancel", "progress", "progress_text",
    "result", "error",
)  # fmt: skip
"""In the order of JobRow's fields."""
_SELECTED = ", ".join(f"[{name}]" for name in COLUMNS)
_LISTED = ", ".join("''" if name == "body" else f"[{name}]" for name in COLUMNS)

FIND_TABLE = {
    "sqlite": "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?, ?)",
    "postgres": (
        "SELECT COUNT(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
        " AND relname IN (?, ?, ?)"
    ),
    "mysql": ("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN (?)"),
}
GET = f"SELECT {_SELECTED} FROM [kernel_jobs] WHERE [id] = ?"
FIND_EXISTING = (
    "SELECT [id], [queue], [task], [status] FROM [kernel_jobs] WHERE [id] = ?"
    " OR ([unique_key] = ? AND [status] IN ('scheduled', 'queued', 'running')) ORDER BY [id] = ? DESC LIMIT 1"
)
NEXT_DUE = "SELECT MIN([due]) - {now} FROM [kernel_jobs] WHERE [queue] = ? AND [status] = 'scheduled'"
PROMOTE = (
    "UPDATE [kernel_jobs] SET [status] = 'queued' WHERE [seq] {first}SELECT [seq] FROM [kernel_jobs]"
    " WHERE [queue] = ? AND [status] = 'scheduled' AND [due] <= {now} ORDER BY [due] LIMIT 1000{last} RETURNING [seq]"
)
IS_WAITING = "SELECT 1 FROM [kernel_jobs] WHERE [queue] = ? AND [status] = 'queued' LIMIT 1"
CLAIM = (
    "UPDATE [kernel_jobs] SET [status] = 'running', [attempts] = [attempts] + 1, [token] = ?, [worker] = ?, [beat] = 0,"
    " [cancel] = 0, [progress] = 0, [progress_text] = NULL, [started_at] = {now} WHERE [seq] {first}"
    "SELECT [seq] FROM [kernel_jobs] WHERE [queue] = ? AND [status] = 'queued' AND NOT EXISTS"
    " (SELECT 1 FROM [kernel_job_queues] WHERE [name] = ? AND [paused] = 1)"
    f" ORDER BY [rank], [due], [seq] LIMIT ?{{last}} RETURNING [seq], {_SELECTED}"
)
IS_SETTLED = "SELECT 1 FROM [kernel_jobs] WHERE [id] = ? AND [token] = ? AND [status] IN (?, ?)"
UNCLAIM = (
    "UPDATE [kernel_jobs] SET [status] = 'queued', [attempts] = [attempts] - 1"
    " WHERE [status] = 'running' AND [token] = ?"
)
RUNNING = "SELECT [id], [token], [beat] FROM [kernel_jobs] WHERE [status] = 'running'"
REPORT = (
    "UPDATE [kernel_jobs] SET [progress] = ?, [progress_text] = ? WHERE [id] = ? AND [token] = ?"
    " AND [status] = 'running' RETURNING [id]"
)
CANCEL_WAITING = (
    "UPDATE [kernel_jobs] SET [status] = 'cancelled', [finished_at] = {now}, [expires_at] = {now} + ?"
    " WHERE [id] = ? AND [status] IN ('scheduled', 'queued') RETURNING [id]"
)
CANCEL_RUNNING = "UPDATE [kernel_jobs] SET [cancel] = 1 WHERE [id] = ? AND [status] = 'running' RETURNING [id]"
STATUS = "SELECT [status] FROM [kernel_jobs] WHERE [id] = ?"
RETRY = (
    "UPDATE [kernel_jobs] SET [status] = 'queued', [attempts] = 0, [due] = {now}, [finished_at] = NULL,"
    " [expires_at] = NULL, [progress] = 0 WHERE [id] = ? AND [status] IN ('dead', 'cancelled') RETURNING [queue]"
)
PAUSE = (
    "INSERT INTO [kernel_job_queues] ([name], [paused]) VALUES (?, ?)"
    " ON CONFLICT ([name]) DO UPDATE SET [paused] = excluded.[paused]"
)
PAUSED = "SELECT [name] FROM [kernel_job_queues] WHERE [paused] = 1 ORDER BY [name]"
PRUNE = (
    "DELETE FROM [kernel_jobs] WHERE [seq] {first}SELECT [seq] FROM [kernel_jobs] WHERE [expires_at] <= {now}"
    " ORDER BY [expires_at] LIMIT ?{last} RETURNING [seq]"
)
IS_EXPIRED = "SELECT 1 FROM [kernel_jobs] WHERE [expires_at] <= {now} LIMIT 1"
COUNTS = (
    "SELECT [queue], [status], COUNT(*) FROM [kernel_jobs] WHERE [status] = 'queued' GROUP BY [queue], [status]"
    " UNION ALL SELECT [queue], [status], COUNT(*) FROM [kernel_jobs] WHERE [status] = 'scheduled' GROUP BY 1, 2"
    " UNION ALL SELECT [queue], [status], COUNT(*) FROM [kernel_jobs] WHERE [status] = 'running' GROUP BY 1, 2"
    " UNION ALL SELECT [queue], [status], COUNT(*) FROM [kernel_jobs] WHERE [status] = 'dead' GROUP BY 1, 2"
)
OLDEST = "SELECT [queue], {now} - MIN([due]) FROM [kernel_jobs] WHERE [status] = 'queued' GROUP BY [queue]"

_RUNNING = "[kernel_jobs].[status] || '' = 'running'"
"""Spelled so that no planner takes the index of all running jobs, whose dead entries pile up, instead of the ids'."""
_INSERTED = (
    "id", "queue", "task", "status", "rank", "due", "body", "unique_key", "user_id", "workspace_id", "max_attempts",
    "enqueued_at",
)  # fmt: skip
_ROW = (
    "(?, ?, ?, ?, ?, COALESCE(CAST(? AS DOUBLE PRECISION), {now} + CAST(? AS DOUBLE PRECISION)), ?, ?, ?, ?, ?, {now})"
)
INSERT_CHUNK = 500


def create(backend: str) -> list[str]:
    """The tables and indexes."""
    if backend == MYSQL:
        return list(_CREATE_MYSQL)
    words = {"text": _TEXT[backend], "seq": _SEQ[backend], "options": _OPTIONS[backend]}
    return [sql.format(**words) for sql in _CREATE]


@lru_cache(maxsize=256)
def spell(sql: str, backend: str) -> str:
    """A statement of this module for a database."""
    words = sql.replace("{now}", _NOW[backend])
    return words.replace("{first}", _FIRST[backend]).replace("{last}", _LAST[backend])


@lru_cache(maxsize=64)
def insert(rows: int, backend: str) -> str:
    """Adds so many jobs, but those that are there already; gives the ids of the new ones."""
    columns = ", ".join(f"[{name}]" for name in _INSERTED)
    sql = (
        f"INSERT INTO [kernel_jobs] ({columns}) VALUES {', '.join([_ROW] * rows)} ON CONFLICT DO NOTHING RETURNING [id]"
    )
    return spell(sql, backend)


@lru_cache(maxsize=64)
def settle(rows: int, backend: str) -> str:
    """Ends so many attempts. Each has id, token, status, delay, count, result, error and time to live."""
    types = ("TEXT", "TEXT", "TEXT", "DOUBLE PRECISION", "INTEGER", "TEXT", "TEXT", "DOUBLE PRECISION")
    first = f"({', '.join(f'CAST(? AS {each})' for each in types)})"
    values = ", ".join([first, *["(?, ?, ?, ?, ?, ?, ?, ?)"] * (rows - 1)])
    # Who was asked to end does not begin again.
    ends_as = "CASE WHEN [cancel] = 1 AND v.[column3] IN ('scheduled', 'queued') THEN 'cancelled' ELSE v.[column3] END"
    return spell(
        f"UPDATE [kernel_jobs] SET [status] = {ends_as}, [cancel] = 0,"
        " [attempts] = [attempts] + v.[column5],"
        # One that is given back keeps its place.
        " [due] = CASE WHEN v.[column3] IN ('scheduled', 'queued') AND v.[column5] >= 0 THEN {now} + v.[column4]"
        " ELSE [due] END,"
        " [result] = v.[column6], [error] = v.[column7],"
        " [progress] = CASE WHEN v.[column3] = 'completed' THEN 1 ELSE [progress] END,"
        f" [finished_at] = CASE WHEN {ends_as} IN ('completed', 'dead', 'cancelled') THEN {{now}} END,"
        f" [expires_at] = {{now}} + COALESCE(v.[column8], CASE WHEN {ends_as} = 'cancelled' THEN {DEAD_TTL} END)"
        f" FROM (VALUES {values}) AS v"
        " WHERE [kernel_jobs].[id] = v.[column1] AND [kernel_jobs].[token] = v.[column2]"
        f" AND {_RUNNING} RETURNING [id]",
        backend,
    )


@lru_cache(maxsize=64)
def beat(rows: int, backend: str) -> str:
    """Shows that so many (id, token) still run; gives each id and whether it is to be cancelled."""
    values = ", ".join(["(CAST(? AS TEXT), CAST(? AS TEXT))", *["(?, ?)"] * (rows - 1)])
    ours = f"[kernel_jobs].[id] = v.[column1] AND [kernel_jobs].[token] = v.[column2] AND {_RUNNING}"
    if backend == "postgres":
        # Past rows that a transaction holds, such as one that cancels a job: the others' beats must not wait for it.
        return spell(
            f"WITH v ([column1], [column2]) AS (VALUES {values}), free AS (SELECT [seq] FROM [kernel_jobs], v"
            f" WHERE {ours} FOR NO KEY UPDATE OF [kernel_jobs] SKIP LOCKED), beaten AS (UPDATE [kernel_jobs]"
            " SET [beat] = [beat] + 1 FROM free WHERE [kernel_jobs].[seq] = free.[seq])"
            f" SELECT [id], [cancel] FROM [kernel_jobs], v WHERE {ours}",
            backend,
        )
    return spell(
        f"UPDATE [kernel_jobs] SET [beat] = [beat] + 1 FROM (VALUES {values}) AS v WHERE {ours}"
        " RETURNING [id], [cancel]",
        backend,
    )


@lru_cache(maxsize=64)
def find(conditions: tuple[str, ...]) -> str:
    """Jobs without their bodies, the latest first: conditions with a parameter each, then the limit."""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {_LISTED} FROM [kernel_jobs]{where} ORDER BY [seq] DESC LIMIT ?"
