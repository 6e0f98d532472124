"""What the compose file starts works together: a letter is written, posted by the worker and audited by the other.

There is no engine here, so its services run as plain processes, on their commands, variables and probes. What stays
untried is the engine's own part: the images, the isolation, the networks.
"""

from pathlib import Path

import httpx2
import pytest

from app_kernel.db import connect
from tests.packaging.composed import Composed, arrived, empty_database


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
async def test_what_the_compose_file_starts_works_together_and_ends_within_its_grace(
    postgres_url: str, tmp_path: Path
) -> None:
    async with empty_database(postgres_url) as database:
        composed = Composed(tmp_path, database)
        with (
            composed.redis(),
            composed.web() as server,
            composed.worker("worker"),
            composed.worker("admin_worker"),
        ):
            await write_a_letter(server.url)
            await be_audited(database)
            assert composed.is_well("redis")
            assert composed.is_well("worker", composed.health_port)
        assert composed.written() == set()
        assert not composed.is_well("redis")


async def write_a_letter(url: str) -> None:
    """Signs up, writes, and waits until it is posted."""
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        person = {"email": "ada@example.com", "password": "plum tree over water"}
        signed_up = await client.post("/auth/register", json=person)
        assert signed_up.status_code == 201, signed_up.text
        client.headers["authorization"] = f"Bearer {signed_up.json()['access_token']}"
        assert (await client.post("/letters", json={"recipient": "Charles", "text": "Dear Sir"})).status_code == 201

        async def is_posted() -> bool:
            (letter,) = (await client.get("/letters")).json()
            return bool(letter["status"] == "posted")

        await arrived(is_posted)
        metrics = await client.get("/metrics")
        assert metrics.status_code == 403, "metrics are for who has the token"


async def be_audited(database: dict[str, str]) -> None:
    """Waits until the admin worker has written down what happened."""
    place = "{DATABASE_USER}:{DATABASE_PASSWORD}@{DATABASE_HOST}:{DATABASE_PORT}/{DATABASE_NAME}".format(**database)
    async with connect(f"postgres://{place}?schema=kernel_admin") as db:

        async def is_there() -> bool:
            return await db.count_entities("audit_logs", "[entity] = ?", ("letters",)) >= 2

        await arrived(is_there)
