"""The service leaves its name in its database, for processes beside it that are told the database and not the name."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import StoreError
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Database
from app_kernel.core.sql_words import added, upsert
from app_kernel.db import create_database
from app_kernel.logs import get_logger

_FIND = "SELECT [value] FROM [kernel_relay] WHERE [name] = 'service'"
_KEEP = "INSERT INTO [kernel_relay] ([name], [value]) VALUES ('service', ?)"

_log = get_logger("app_kernel.naming")


async def keep_name(kernel: Kernel) -> None:
    """Writes the service's name where it is another one than at its last start."""
    try:
        before = await _name_in(kernel.db)
        if before == kernel.name:
            return
        backend = kernel.db.statements.backend
        there = upsert(backend, "name", [f"[value] = {added(backend, 'value')}"])
        await kernel.db.statements.run(_KEEP + there, (kernel.name,))
    except StoreError as exc:
        # A read-only database is a way to run a service.
        _log.warning("service_name_not_kept", reason=type(exc).__name__)
        return
    if before is not None:
        _log.warning(
            "service_name_changed", before=before, now=kernel.name, use="one database for each service, or one name"
        )


async def find_name(config: ServiceConfig) -> str | None:
    """The name of the service that last started on the app database; None before the first one.

    Raises Unavailable while the database is away.
    """
    database = create_database(config.database_url, synchronous=config.database_synchronous)
    await database.open()
    try:
        return await _name_in(database)
    finally:
        await database.close()


async def _name_in(database: Database) -> str | None:
    rows = await database.statements.fetch(_FIND)
    return str(rows[0][0]) if rows else None
