"""What a copy and a restore do alike around the rows: indexes, views, numbers, identity, jobs that leave, the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.outbox import Message
from app_kernel.db.drivers.base import Driver, Row, Snapshot, Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.outbox.rows import encode_body
from app_kernel.db.transfer.definitions import left_out_of
from app_kernel.db.transfer.filling import Report, Step
from app_kernel.db.transfer.inventory import read_as
from app_kernel.db.transfer.reading import TableReader
from app_kernel.db.transfer.shapes import Inventory, LeftOut
from app_kernel.db.transfer.target import Target

Leave = Callable[[Mapping[str, Any]], Message | None]
_MESSAGES_AT_ONCE = 500
_DEFINED = ("view", "trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a transfer is asked to do otherwise than usual."""

    skip: tuple[str, ...] = ()
    """Tables of the application's that are left out."""
    new_identity: bool = False
    """Whether the copy is another database to Redis, to be used beside its source."""
    jobs_leave: bool = False
    """Whether jobs become messages of the outbox, for a service that keeps its jobs in Redis."""
    start_over: bool = False
    """Whether what an unfinished transfer left is removed first."""

    def __str__(self) -> str:
        told = [f"skip {name}" for name in sorted(self.skip)]
        told += ["new identity"] if self.new_identity else []
        return ", ".join([*told, "jobs leave"] if self.jobs_leave else told)


class Live(Snapshot):
    """A database that nobody else writes to, read as it is."""

    def __init__(self, driver: Driver) -> None:
        self.dialect = driver.dialect
        self._driver = driver

    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        return await self._driver.fetch(sql, params)


class Filler:
    """A target, and what is done to it beside copying rows."""

    def __init__(self, driver: Driver, engines: Sequence[EngineTables], options: Options, report: Report) -> None:
        self.target = Target(driver, engines)
        self._options = options
        self._report = report
        self._live = Live(driver)
        self.leaving: dict[str, Leave] = {
            name: leave
            for engine in engines
            if options.jobs_leave or driver.dialect.name not in engine.backends
            for name, leave in engine.leaves.items()
        }
        """Tables that the target has no place for, and what becomes of their rows."""

    async def reader(self, name: str) -> TableReader:
        """Reads a table of the target, as it is."""
        return TableReader(self._live, await read_as(self._live, self.target.shapes[name]))

    async def make_indexes(self, inventory: Inventory) -> list[LeftOut]:
        """Makes the indexes of all tables; what could not be made, and what else is not."""
        left_out = left_out_of(inventory, self.target.dialect.name)
        for shape in inventory.tables:
            if shape.indexes:
                self._report(Step("index", shape.name, 0))
            for index in await self.target.make_indexes(shape, inventory.backend):
                left_out.append(LeftOut("index", index.name, shape.name))
        return left_out

    async def send(self, messages: Sequence[Message]) -> None:
        """Puts messages into the outbox of the target."""
        dialect = self.target.dialect
        for at in range(0, len(messages), _MESSAGES_AT_ONCE):
            part = messages[at : at + _MESSAGES_AT_ONCE]
            values = [
                value
                for each in part
                for value in (each.id, each.topic, each.key, encode_body(each.body), each.created_at)
            ]
            await self.target.write([(dialect.insert_messages(len(part)), values)])

    async def finish(self, inventory: Inventory) -> None:
        """Makes what only a database of the same kind understands, and ends the transfer."""
        dialect = self.target.dialect
        if inventory.backend == dialect.name == "sqlite":
            made = [each.definition for each in inventory.others if each.what in _DEFINED and each.definition]
            have = {str(row[1]) for row in await self._live.fetch(*self.target.words.list_others())}
            named = {each.definition: each.name for each in inventory.others}
            await self.target.run_definitions([sql for sql in made if named[sql] not in have])
        await self.target.finish(self._identity(inventory))

    def _identity(self, inventory: Inventory) -> list[Statement]:
        """Who the target is to Redis."""
        dialect = self.target.dialect
        relay, quote = dialect.table("kernel_relay"), dialect.quote
        forget: Statement = (f"DELETE FROM {relay} WHERE {quote('name')} IN ('database_id', 'batch')", ())
        if self._options.new_identity or inventory.database_id is None or inventory.mark is None:
            # What was sent was sent by another database.
            sent = f"DELETE FROM {dialect.table('kernel_outbox')} WHERE {quote('batch')} IS NOT NULL"
            return [forget, (sent, ())] if self._options.new_identity else [forget]
        marks = [dialect.placeholder(at, Kind.STR) for at in (1, 2, 3, 4)]
        names = dialect.column_list(("name", "value"))
        values = f"({marks[0]}, {marks[1]}), ({marks[2]}, {marks[3]})"
        known = ("database_id", inventory.database_id, "batch", inventory.mark)
        return [forget, (f"INSERT INTO {relay} ({names}) VALUES {values}", known)]
