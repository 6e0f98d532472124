"""Opening a database, and what is open."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from app_kernel.core.database_figures import DatabaseFigures, PoolFigures
from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Recorder
from app_kernel.core.tables import Table
from app_kernel.db.drivers.base import Driver
from app_kernel.db.statements import DriverStatements
from app_kernel.db.store import Store
from app_kernel.db.transfer.marks import refuse_transfer
from app_kernel.db.url import make_driver

PING_SECONDS = 2.0
"""How long a database may take to answer before it counts as down."""


class Database:
    """One database: it is opened once, in the event loop that uses it, and closed once."""

    def __init__(self, driver: Driver, recorders: Sequence[Recorder] = ()) -> None:
        self._driver = driver
        self._store = Store(driver, list(recorders))
        self._statements = DriverStatements(driver)

    @property
    def driver(self) -> Driver:
        """What runs its statements; for the outbox, which is part of the store."""
        return self._driver

    @property
    def figures(self) -> DatabaseFigures:
        """What it did, as counters that go on."""
        return self._driver.figures

    def pool(self) -> PoolFigures:
        """How its connections stand."""
        return self._driver.pool()

    @property
    def statements(self) -> DriverStatements:
        """Statements over tables that are no entities; for engines."""
        return self._statements

    def connection(self) -> Store:
        """The handle that application code works with; it holds no connection, so it is always the same one."""
        return self._store

    async def open(self) -> None:
        """Connects; creates a SQLite file and its directory where they are missing. Raises Unavailable.

        TransferUnderWay is one of its kinds: the database is half filled by a copy or a restore.
        """
        await self._driver.open()
        try:
            await refuse_transfer(self._driver)
        except BaseException:
            await self._driver.close()
            raise

    async def close(self) -> None:
        """Finishes the work under way and disconnects."""
        await self._driver.close()

    async def ping(self) -> None:
        """Returns when the database can be read; raises Unavailable after PING_SECONDS."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._driver.fetch("SELECT 1", ())
        except TimeoutError as exc:
            raise Unavailable("The database does not answer.") from exc

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates the tables, columns and indexes that are missing; does nothing where all is there."""
        await self._store.privileged.ensure_tables(tables)


def create_database(url: str, *, synchronous: str = "FULL", recorders: Sequence[Recorder] = ()) -> Database:
    """A database that is not open yet. `url` as for `connect`; raises InvalidDatabaseUrl for one that is no good.

    `recorders` see every change of an entity inside its transaction; what they answer leaves with the commit.
    """
    return Database(make_driver(url, synchronous=synchronous), recorders)


@asynccontextmanager
async def connect(url: str, *, synchronous: str = "FULL") -> AsyncIterator[Store]:
    """The entity store without a service: `async with connect("sqlite:///app.db") as db`.

    `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://:memory:` for a private one that vanishes at the
    end. `synchronous` is FULL, where an acknowledged write survives a power cut, or NORMAL, where it survives a crash
    of the process only. Raises InvalidDatabaseUrl for a malformed URL and Unavailable when it cannot be opened.
    """
    database = create_database(url, synchronous=synchronous)
    await database.open()
    try:
        yield database.connection()
    finally:
        await database.close()
