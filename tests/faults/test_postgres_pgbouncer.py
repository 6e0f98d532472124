"""Behind pgbouncer in transaction mode all is as without it, but that nobody can listen."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from app_kernel.core.errors import TransactionTimeout, Unavailable
from app_kernel.db.database import connect
from app_kernel.db.drivers.postgres import PostgresDriver
from app_kernel.db.url import make_driver
from tests.db.postgres_tools import Place, database_with, place_on, run_behind_a_definition
from tests.db.server_tools import unit, until, with_options
from tests.faults.pgbouncer import SERVER_CONNECTIONS, PgBouncer, pgbouncer
from tests.faults.server_invariants import assert_sound
from tests.faults.server_load import COUNT, CREATE, INSERT, KINDS, Load


@pytest.fixture(scope="module")
def pooler(postgres_url: str) -> Iterator[PgBouncer]:
    with pgbouncer(postgres_url) as running:
        yield running


@pytest.fixture
async def place(postgres_url: str) -> AsyncIterator[Place]:
    async with place_on(postgres_url) as fresh:
        yield fresh


def url(pooler: PgBouncer, place: Place) -> str:
    return with_options(pooler.url, schema=place.schema, pgbouncer="true", pool_size=12, pool_timeout=60)


@pytest.fixture
async def driver(pooler: PgBouncer, place: Place) -> AsyncIterator[PostgresDriver]:
    opened = make_driver(url(pooler, place))
    assert isinstance(opened, PostgresDriver)
    await opened.open()
    await opened.execute(CREATE, ())
    yield opened
    await opened.close()


async def test_a_mixed_load_over_few_server_connections_is_right(place: Place, driver: PostgresDriver) -> None:
    load, pids = Load(driver), set()

    async def work(number: int) -> None:
        for turn in range(10):
            kind = KINDS[(number + turn) % len(KINDS)]
            await (load.read() if kind == "read" else load.write(kind))
            pids.add((await driver.fetch("SELECT pg_backend_pid()", ()))[0][0])

    await asyncio.gather(*(work(number) for number in range(24)))
    figures = await load.check(await place.look(COUNT))
    print(f"{figures} over the servers {pids}")
    assert not load.errors
    assert 1 < len(pids) <= SERVER_CONNECTIONS


async def test_the_same_without_a_schema_of_its_own_needs_no_transaction_around_a_statement(
    pooler: PgBouncer, place: Place
) -> None:
    driver = make_driver(with_options(pooler.url, pgbouncer="true", pool_size=12))
    assert isinstance(driver, PostgresDriver)
    await driver.open()
    assert not driver._runner._wraps
    answers = await asyncio.gather(*(driver.fetch("SELECT $1::bigint, pg_sleep(0.001)", (n,)) for n in range(200)))
    assert [rows[0][0] for rows in answers] == list(range(200))
    await driver.close()


async def test_settings_are_those_of_each_transaction_and_none_stays_behind(
    pooler: PgBouncer, place: Place, driver: PostgresDriver
) -> None:
    transaction = await driver.begin(3)
    assert await transaction.fetch("SELECT current_schema()::text", ()) == [(place.schema,)]
    assert await transaction.fetch("SHOW idle_in_transaction_session_timeout", ()) == [("4s",)]
    await transaction.rollback()
    other = make_driver(with_options(pooler.url, pgbouncer="true"))
    await other.open()
    settings = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout")
    for setting in settings:
        answers = await asyncio.gather(*(other.fetch(f"SHOW {setting}", ()) for _ in range(12)))
        assert {rows[0][0] for rows in answers} == {"0"}
    answers = await asyncio.gather(*(other.fetch("SELECT current_schema()::text", ()) for _ in range(12)))
    assert {rows[0][0] for rows in answers} == {"public"}
    await other.close()


async def test_transactions_leases_and_definitions_work(
    pooler: PgBouncer, place: Place, driver: PostgresDriver
) -> None:
    transaction = await driver.begin(5)
    await transaction.run(INSERT, ("a", 0))
    await transaction.begin_nested()
    await transaction.write(unit((INSERT, "b", 0)), driver.generation, "marks")
    await transaction.end_nested(keep=False)
    await transaction.commit()
    assert await place.look(COUNT) == [("a", 1)]
    short = await driver.begin(0.2)
    await short.run(INSERT, ("c", 0))
    await asyncio.sleep(0.3)
    with pytest.raises(TransactionTimeout):
        await short.commit()
    other = make_driver(url(pooler, place))
    await other.open()
    lease = await driver.acquire_lease("relay")
    assert lease is not None
    assert await other.acquire_lease("relay") is None
    assert await lease.renew()
    await lease.release()
    assert await other.acquire_lease("relay") is not None
    before = driver.generation
    await asyncio.gather(*(one.execute(f"CREATE TABLE t{n} (i int)", ()) for n, one in enumerate([driver, other] * 5)))
    assert max(driver.generation, other.generation) == before + 10
    await other.close()


async def test_a_cancelled_statement_ends_on_the_server_too(place: Place, driver: PostgresDriver) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await driver.fetch(f"SELECT pg_sleep(20), '{place.schema}'", ())

    async def none_runs() -> bool:
        running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()"
        return not await place.look(running, f"%pg_sleep(20), '{place.schema}%")

    await until(none_runs, 3)
    assert await driver.fetch("SELECT 1", ()) == [(1,)]


async def test_the_store_works_behind_it(pooler: PgBouncer, place: Place) -> None:
    async with connect(url(pooler, place)) as db:
        await db.save_entity("items", {"id": "hot", "mark": "first"})
        await asyncio.gather(
            *(db.save_entity("items", {"id": f"i{n % 10}", "mark": f"m{n}", f"f{n % 7}": n}) for n in range(150)),
            *(db.save_entity("items", {"id": "hot", "mark": f"h{n}"}) for n in range(50)),
            *(db.find_entities("items", "[mark] = ?", ("m1",)) for _ in range(50)),
        )
        assert (await db.get_entity("items", "hot"))["_version"] == 51
        assert await db.count_entities("items_history") == 201
    await assert_sound(place, "items")


async def test_without_the_option_the_error_names_it(pooler: PgBouncer, place: Place) -> None:
    with pytest.raises(Unavailable, match="pgbouncer=true"):
        await make_driver(pooler.url).open()


async def test_an_index_is_built_in_the_schema_of_the_url(pooler: PgBouncer, place: Place) -> None:
    async with connect(url(pooler, place)) as db:
        await db.save_entity("items", {"id": "a", "name": "x"})
        await db.ensure_index("items", ["name"], unique=True)
        # Not the view pg_indexes: it spells out those of every schema, and another test may drop its own meanwhile.
        found = await place.look(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND a.attname = 'name' AND i.indisunique",
            place.schema,
        )
        assert ("items",) in found


@pytest.mark.parametrize("has_schema", [True, False])
async def test_a_single_statement_that_waited_for_a_definition_sees_its_generation(
    postgres_url: str, pooler: PgBouncer, has_schema: bool
) -> None:
    async with (
        database_with(postgres_url, "default_transaction_isolation", "repeatable read") as database,
        place_on(database) as place,
    ):
        if not has_schema:
            await place.onlooker.execute("SET search_path = public")
        through = urlsplit(pooler.url)._replace(path=urlsplit(database).path).geturl()
        options = {"schema": place.schema} if has_schema else {}
        driver = make_driver(with_options(through, pgbouncer="true", **options))
        assert isinstance(driver, PostgresDriver)
        await driver.open()
        await driver.execute("CREATE TABLE notes (id text PRIMARY KEY)", ())
        assert await run_behind_a_definition(place, driver) == []
        # What may not run in a transaction still can, where no schema has to be named in one.
        if not has_schema:
            await driver.execute("VACUUM notes", ())
        await driver.close()
