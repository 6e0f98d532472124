"""SQL of other engines over tables of their own: portable text, in the open transaction where there is one."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app_kernel.core.ports import Lease, Statements
from app_kernel.core.transaction import joined_transaction
from app_kernel.db.drivers.base import ANY_GENERATION, Driver, Row, Session, Unit, Work
from app_kernel.db.outbox.rows import OutboxRows
from app_kernel.db.portable import compile_raw
from app_kernel.db.transactions import StoreTransaction

T = TypeVar("T")


class DriverStatements(Statements):
    """The statements of one database; made once, used while it is open."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def backend(self) -> str:
        return self._driver.dialect.name

    @property
    def in_transaction(self) -> bool:
        return joined_transaction(self._driver) is not None

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return await self._session().fetch(compile_raw(sql, self._driver.dialect), params)

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return await self._session().run(compile_raw(sql, self._driver.dialect), params)

    async def write(self, work: Unit[T]) -> T:
        dialect = self._driver.dialect

        def compiled() -> Work[T]:
            unit = work()
            try:
                sql, params = next(unit)
                while True:
                    rows = yield compile_raw(sql, dialect), params
                    sql, params = unit.send(rows)
            except StopIteration as done:
                result: T = done.value
                return result
            finally:
                unit.close()

        return await self._session().write(compiled, ANY_GENERATION, "kernel_meta")

    async def define(self, statements: Sequence[str]) -> None:
        dialect = self._driver.dialect

        def work() -> Work[None]:
            for sql in statements:
                yield compile_raw(sql, dialect), ()

        await self._driver.define(work)

    def after_commit(self, callback: Callable[[], object]) -> None:
        joined = joined_transaction(self._driver)
        if joined is None:
            callback()
        else:
            joined.after_commit(callback)

    def signal(self, channel: str) -> None:
        self._driver.signal(channel)

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        return self._driver.on_signal(channel, callback)

    async def acquire_lease(self, name: str) -> Lease | None:
        return await self._driver.acquire_lease(name)

    async def database_id(self) -> str:
        return (await OutboxRows(self._driver).epoch()).database_id

    def _session(self) -> Session:
        joined = joined_transaction(self._driver)
        return joined.scope.session if isinstance(joined, StoreTransaction) else self._driver
