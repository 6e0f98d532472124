"""Connections of the relay are ended and the server is restarted, while messages flow: everything arrives once."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.outbox_fleet import Fleet
from tests.faults.outbox_places import execute, outbox_urls
from tests.faults.postgres_server import OwnPostgres, own_postgres

SAVES = 1200
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)


def disturb(server: OwnPostgres, how: str) -> None:
    """Ends every connection, or the whole server for a moment."""
    if how == "terminate":
        asyncio.run(execute(server.url, TERMINATE))
    else:
        server.end()
        server.start_again()


@pytest.mark.slow
@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("how", ["terminate", "restart"])
async def test_every_change_arrives_once_when_the_server_ends_what_the_relay_uses(how: str, tmp_path: Path) -> None:
    def run() -> None:
        with (
            own_postgres() as server,
            outbox_urls(server.url) as urls,
            Fleet(tmp_path, None, services=2, saves=SAVES, pace=0.03, urls=urls) as fleet,
        ):
            for service in fleet.services:
                service.start()
            for part in (1, 2):
                fleet.wait_for("some saves", lambda part=part: fleet.acks >= SAVES * part // 3)
                disturb(server, how)
            fleet.wait_for("the end of the saves", lambda: all(each.finished for each in fleet.services), 60)
            fleet.wait_for("the end of the deliveries", fleet.is_settled, 30)
            assert fleet.assert_all_arrived_once() >= fleet.acks > SAVES * 0.8
            for service in fleet.services:
                service.stop()

    await asyncio.to_thread(run)
