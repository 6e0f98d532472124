"""The backends that must pass the suite: a new one is a line here and its words for tables of an application's."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from app_kernel.db import Database, Store, create_database


@dataclass
class Place:
    """One fresh database, which may be opened several times: as by a restart, or by another process."""

    backend: str
    url: str
    words: Mapping[str, str]
    """What an application writes on this backend, by the placeholder of the cases; `objects` lists all there is."""
    file: Path | None = None
    """The database file, where there is one."""
    _open: list[Database] = field(default_factory=list)

    async def open(self) -> Store:
        """A handle of its own, with what it knows of the schema and nothing shared with the others."""
        database = create_database(self.url)
        await database.open()
        self._open.append(database)
        return database.connection()

    async def close(self) -> None:
        """Closes every handle."""
        while self._open:
            await self._open.pop().close()


SQLITE_WORDS = {
    "key": "TEXT PRIMARY KEY",
    "serial": "INTEGER PRIMARY KEY",
    "text": "TEXT",
    "int": "INTEGER",
    "float": "REAL",
    "bool": "INTEGER",
    "decimal": "TEXT",
    "json": "TEXT",
    "datetime": "TEXT",
    "bytes": "BLOB",
    "objects": "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2, 3",
}


@asynccontextmanager
async def sqlite() -> AsyncIterator[Place]:
    """A file in a directory of its own."""
    with TemporaryDirectory(prefix="conformance-") as directory:
        file = Path(directory) / "app.db"
        # What is shown here does not depend on the disk; power cuts have their own tests.
        place = Place("sqlite", f"sqlite:///{file}?synchronous=NORMAL", SQLITE_WORDS, file)
        try:
            yield place
        finally:
            await place.close()


BACKENDS: dict[str, Callable[[], AbstractAsyncContextManager[Place]]] = {
    "sqlite": sqlite,
}
