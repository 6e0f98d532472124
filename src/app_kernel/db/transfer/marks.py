"""What a database that is being filled remembers of it: whose transfer it is, and how far each table has come.

While `kernel_meta` has the key `transfer`, no service opens the database. The table `kernel_transfer` has the rest, and
is written in the commits of the rows it tells of.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from app_kernel.core.errors import TransferUnderWay
from app_kernel.db.catalog import Reads
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.transfer.shapes import TableShape, table_from_json
from app_kernel.db.transfer.wire import pack, unpack

_IS_UNDER_WAY = "SELECT value FROM kernel_meta WHERE \"key\" = 'transfer'"
TRANSFER_TABLE = "kernel_transfer"
_MARK = "mark"
_SHAPE, _PROGRESS = "shape ", "rows "


@dataclass(frozen=True, slots=True)
class Mark:
    """Which transfer fills a database; another one does not go on with it."""

    what: str
    """`copy` or `restore`."""
    source: str
    """Which database or file it comes from, in a form that tells no secret."""
    options: str = ""
    """What it was asked to do otherwise."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a table has come."""

    last: tuple[Any, ...] | None = None
    """The key of the last row that is there; None before the first."""
    pages: int = 0
    rows: int = 0
    sum: int = 0
    """That of the digest of the rows."""
    done: bool = False


async def refuse_transfer(session: Reads) -> None:
    """Raises TransferUnderWay for a database that is half filled."""
    if await session.fetch(_IS_UNDER_WAY, ()):
        raise TransferUnderWay(
            "This database is being filled by `app-kernel db copy` or `app-kernel db restore`, which has not come to"
            " its end. Run the same command again: it goes on where it stopped."
        )


async def is_under_way(session: Reads) -> bool:
    """Whether the database is half filled."""
    return bool(await session.fetch(_IS_UNDER_WAY, ()))


class Marks:
    """The statements over `kernel_transfer`."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._table = dialect.table(TRANSFER_TABLE)

    def create(self, mark: Mark) -> list[Statement]:
        """The table, empty but for the mark; and that a transfer is under way."""
        text, id_type = self._dialect.types[Kind.STR], self._dialect.id_type
        name, value = self._dialect.quote("name"), self._dialect.quote("value")
        return [
            (f"CREATE TABLE IF NOT EXISTS {self._table} ({name} {id_type} NOT NULL PRIMARY KEY, {value} {text})", ()),
            (f"DELETE FROM {self._table}", ()),
            self._insert(_MARK, orjson.dumps(asdict(mark)).decode()),
            ("INSERT INTO kernel_meta (\"key\", value) VALUES ('transfer', 1)", ()),
        ]

    def end(self) -> list[Statement]:
        """That the transfer has come to its end."""
        return [("DELETE FROM kernel_meta WHERE \"key\" = 'transfer'", ()), (f"DELETE FROM {self._table}", ())]

    def add_table(self, shape: TableShape) -> list[Statement]:
        """A table that is there now, empty."""
        shown = orjson.dumps(asdict(shape)).decode()
        return [
            *self.forget_table(shape.name),
            self._insert(_SHAPE + shape.name, shown),
            self._insert(_PROGRESS + shape.name, _progress_text(Progress())),
        ]

    def forget_table(self, name: str) -> list[Statement]:
        """A table that is not there any more, or about to be made anew."""
        mark = self._dialect.placeholder(1, Kind.STR)
        sql = f"DELETE FROM {self._table} WHERE {self._dialect.quote('name')} = {mark}"
        return [(sql, (_SHAPE + name,)), (sql, (_PROGRESS + name,))]

    def set_shape(self, shape: TableShape) -> Statement:
        """Another shape of a table that is there."""
        return self._update(_SHAPE + shape.name, orjson.dumps(asdict(shape)).decode())

    def set_progress(self, name: str, progress: Progress) -> Statement:
        """How far a table has come."""
        return self._update(_PROGRESS + name, _progress_text(progress))

    async def read(self, session: Reads) -> tuple[Mark | None, dict[str, TableShape], dict[str, Progress]]:
        """The mark, the shapes and the progress of the tables."""
        name, value = self._dialect.quote("name"), self._dialect.quote("value")
        rows = await session.fetch(f"SELECT {name}, {value} FROM {self._table}", ())
        mark: Mark | None = None
        shapes: dict[str, TableShape] = {}
        progress: dict[str, Progress] = {}
        for row in rows:
            told, text = str(row[0]), str(row[1])
            if told == _MARK:
                mark = Mark(**orjson.loads(text))
            elif told.startswith(_SHAPE):
                shapes[told.removeprefix(_SHAPE)] = table_from_json(orjson.loads(text))
            else:
                progress[told.removeprefix(_PROGRESS)] = _read_progress(text)
        return mark, shapes, progress

    def _insert(self, name: str, value: str) -> Statement:
        marks = ", ".join(self._dialect.placeholder(at, Kind.STR) for at in (1, 2))
        names = self._dialect.column_list(("name", "value"))
        return f"INSERT INTO {self._table} ({names}) VALUES ({marks})", (name, value)

    def _update(self, name: str, value: str) -> Statement:
        first, second = (self._dialect.placeholder(at, Kind.STR) for at in (1, 2))
        quote = self._dialect.quote
        sql = f"UPDATE {self._table} SET {quote('value')} = {first} WHERE {quote('name')} = {second}"
        return sql, (value, name)


def _progress_text(progress: Progress) -> str:
    last = None if progress.last is None else pack([list(progress.last)]).decode()
    return orjson.dumps([last, progress.pages, progress.rows, format(progress.sum, "x"), progress.done]).decode()


def _read_progress(text: str) -> Progress:
    values: Sequence[Any] = orjson.loads(text)
    last, pages, rows, total, done = values
    key = None if last is None else tuple(unpack(last.encode())[0])
    return Progress(key, int(pages), int(rows), int(total, 16), bool(done))
