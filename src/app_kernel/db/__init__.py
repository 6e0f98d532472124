"""The entity store: save dicts, read dicts; tables and columns make themselves.

async with connect("sqlite:///app.db") as db:
    widget = await db.save_entity("widgets", {"name": "gear"})
    await db.find_entities("widgets", "[name] = ?", ("gear",))
"""

from app_kernel.core.deps import admin_db_connection, db_connection, get_admin_db_connection, get_db_connection
from app_kernel.core.models import HistoryEntry
from app_kernel.db.database import Database, connect, create_database
from app_kernel.db.row import ResultRow
from app_kernel.db.store import Store

__all__ = [
    "Database",
    "HistoryEntry",
    "ResultRow",
    "Store",
    "admin_db_connection",
    "connect",
    "create_database",
    "db_connection",
    "get_admin_db_connection",
    "get_db_connection",
]
