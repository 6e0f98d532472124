"""PostgreSQL by a Unix socket."""

import asyncio

import pytest

from app_kernel.db.url import make_driver
from tests.faults.postgres_server import own_postgres


async def test_a_unix_socket_is_a_host_too():
    with own_postgres(unix_socket_directories="/tmp", listen_addresses="") as server:
        login = f"kernel:{server.password}"
        driver = make_driver(f"postgres://{login}@/postgres?host=/tmp&port={server.port}&sslmode=prefer")
        await driver.open()
        assert await driver.fetch("SELECT inet_client_addr() IS NULL", ()) == [(True,)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await driver.fetch("SELECT pg_sleep(20)", ())
        assert await driver.fetch("SELECT 1", ()) == [(1,)]
        await driver.close()
