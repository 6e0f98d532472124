"""What runs on a connection of any server: units of the store's own, and what single statements answer."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.db.drivers.base import Row, Unanswered, Unit, Work
from app_kernel.db.drivers.wire import Wire

T = TypeVar("T")
Answer: TypeAlias = tuple[tuple[str, ...], list[Row]]
Fetch: TypeAlias = Callable[..., Awaitable[Any]]
"""SQL, then the parameters; the rows."""


class Rows(list[Row]):
    """Rows of a driver whose rows do not know the names of their columns; `columns` has the name of each first."""

    def __init__(self, columns: Sequence[Sequence[Any]] | None, rows: Iterable[Row]) -> None:
        super().__init__(rows)
        self.columns = columns

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column[0] for column in self.columns or ())


def check_text(sql: str) -> None:
    """Raises InvalidQuery for a statement that cannot be sent; the attempt would cost the connection."""
    if "\0" in sql:
        raise InvalidQuery("The statement has a NUL in it.")
    if not sql.isascii():
        try:
            sql.encode()
        except UnicodeEncodeError as exc:
            raise InvalidQuery("The statement is no Unicode: it has half of a surrogate pair in it.") from exc


def answer(rows: list[Any]) -> Answer:
    """The names of the columns, where there are rows to have them, and the rows."""
    if isinstance(rows, Rows):
        return rows.names, list(rows)
    return (tuple(rows[0].keys()) if rows else ()), [tuple(row) for row in rows]


def one_statement(sql: str, params: Sequence[Any] = ()) -> Unit[list[Row]]:
    """A unit of one statement."""

    def work() -> Work[list[Row]]:
        return (yield (sql, params))

    return work


async def run_unit(unit: Unit[T], fetch: Fetch, check: Callable[[str], None], *, send: Fetch | None = None) -> T:
    """Sends a unit the rows of each statement that it yields, until it returns; `check` sees each before it is sent.

    What is Unanswered goes to `send`, where it is given.
    """
    work = unit()
    try:
        statement = next(work)
        while True:
            sql, params = statement
            check(sql)
            call = send if send is not None and type(statement) is Unanswered else fetch
            statement = work.send(await call(sql, *params))
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        work.close()


@contextmanager
def writing_values(wire: Wire) -> Iterator[None]:
    """Says of a value which a column does not take that it is the value, and not the query, that is no good."""
    try:
        yield
    except InvalidQuery as exc:
        if exc.__cause__ is not None and wire.is_about_values(exc.__cause__):
            raise UnsupportedValue(exc.message) from exc.__cause__
        raise
