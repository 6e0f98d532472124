"""The admin worker by the contract's command, with nothing else set: its end, others beside it, poison, wrong use."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app_kernel.audit.tables import TOPIC as AUDIT
from app_kernel.cli import app
from app_kernel.metering.counting import TOPIC as METERING
from tests.faults.audit_entries import audit_messages, fill_stream
from tests.faults.audit_fleet import AuditFleet, run_worker
from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.faults.figures import figure
from tests.faults.outbox_feature import look
from tests.faults.outbox_places import outbox_urls
from tests.zygote import run

EVENTS = figure(short=4000, long=40_000)
CHANGES = figure(short=80, long=4000)
HASTE = figure(short=0.02, long=1.0)


def wait_until(what: str, condition: Any, seconds: float = 60) -> None:
    """Returns when it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def end_in_the_middle(redis: DurableRedis, admin: str, folder: Path) -> int:
    """Starts two workers on a full stream and ends both while they work, then one that does the rest: what that was."""
    log = folder / "workers.log"
    options = ["--redis", redis.url, "--db", admin]
    workers = [run_worker(folder, options) for _ in range(2)]
    with redis.client() as client:
        try:
            wait_until("their start", lambda: log.read_text().count("admin_worker_started") == 2)
            for each in workers:
                each.send_signal(signal.SIGSTOP)
            fill_stream(client, audit_messages("app", EVENTS))
            for each in workers:
                each.send_signal(signal.SIGCONT)
            wait_until("the first batch", lambda: client.xlen(AUDIT) < EVENTS)
            for each in workers:
                each.terminate()
            assert [each.wait(30) for each in workers] == [0, 0], log.read_text()
            assert log.read_text().count("admin_worker_ended") == 2
            left = int(client.xlen(AUDIT))
            waiting = client.xpending(AUDIT, "admin_worker")["pending"]
            assert not waiting, f"{waiting} entries are left in the name of who is gone: {log.read_text()}"
            workers.append(run_worker(folder, options))
            wait_until("the end of the stream", lambda: not client.xlen(AUDIT))
            workers[-1].terminate()
            assert workers[-1].wait(30) == 0
        finally:
            for each in workers:
                each.kill()
    return left


@pytest.mark.slow
@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_sigterm_ends_workers_after_the_batch_under_way_and_others_do_the_rest(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_url") if backend == "postgres" else None

    def run_it() -> tuple[int, list[tuple[Any, ...]]]:
        with durable_redis(tmp_path / "redis") as redis, outbox_urls(server) as urls:
            admin = urls[1] if urls else f"sqlite:///{tmp_path / 'admin.db'}"
            left = end_in_the_middle(redis, admin, tmp_path)
            return left, look(admin, "SELECT entity_id FROM audit_logs")

    left, rows = await asyncio.to_thread(run_it)
    assert 0 < left < EVENTS, "they were not in the middle"
    assert sorted(str(row[0]) for row in rows) == sorted(f"item-{number}" for number in range(EVENTS))


WRONG = [
    (["--redis", "redis://127.0.0.1:1"], "--db"),
    (["--db", "sqlite:///admin.db"], "--redis"),
    (["--redis", "redis://127.0.0.1:1", "--db", "nonsense"], "--db"),
    (["--redis", "nonsense", "--db", "sqlite:///admin.db"], "--redis"),
    (["--redis", "redis://127.0.0.1:1", "--db", "sqlite:///admin.db", "--log-level", "LOUD"], "--log-level"),
]


@pytest.mark.parametrize(("options", "named"), WRONG)
def test_wrong_use_of_the_worker_is_2_and_says_what_is_wrong(options: list[str], named: str, tmp_path: Path) -> None:
    done = run("app_kernel.admin_worker", options, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 2
    assert named in done.stderr + done.stdout


POISON: dict[str, list[dict[str, str]]] = {
    AUDIT: [
        {"what": "no message at all"},
        {"id": "audit-list", "body": "[1, 2]"},
        {"id": "audit-poison", "key": "audited:items:hot-0", "body": json.dumps({"app": 7})},
    ],
    METERING: [
        {"id": "metering-text", "body": "not even JSON \0"},
        {"id": "metering-poison", "body": json.dumps({"app": "audited", "counts": [{"day": "never"}]})},
    ],
}
"""Entries that somebody pushed by hand; the last of each is a message that its sink refuses."""


def poison(client: Any) -> None:
    """Pushes it into both streams."""
    for topic, entries in POISON.items():
        for fields in entries:
            client.xadd(topic, fields)


@pytest.mark.slow
@pytest.mark.acceptance("EV11")
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_poison_in_the_streams_is_kept_apart_after_some_tries_and_the_rest_flows(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """EV11: also what comes behind it for the same entity."""
    server = request.getfixturevalue("postgres_url") if backend == "postgres" else None

    def run_it() -> tuple[int, dict[str, str], str]:
        with (
            durable_redis(tmp_path / "redis") as redis,
            outbox_urls(server) as urls,
            AuditFleet(tmp_path, redis, services=1, changes=CHANGES, urls=urls) as fleet,
            redis.client() as client,
        ):
            poison(client)
            fleet.services[0].start()
            fleet.work(program="tests.faults.hasty_worker", arguments=(str(HASTE),))
            fleet.wait_for("the end of the changes", lambda: fleet.services[0].finished)
            poison(client)
            fleet.wait_for("the end of the deliveries", fleet.is_settled)
            count = fleet.assert_all_arrived_once(dead=True)
            fleet.services[0].stop()
            letters = look(fleet.admin, "SELECT id, reason, attempts FROM kernel_dead_letters")
            shown = CliRunner().invoke(app, ["outbox", "dead", "--database-url", fleet.admin])
            return count, {str(id): f"{attempts} {reason}" for id, reason, attempts in letters}, shown.output

    count, letters, shown = await asyncio.to_thread(run_it)
    assert count > CHANGES
    assert letters["audit-poison"].startswith("5 InvalidAuditEvent"), letters
    assert letters["metering-poison"].startswith("5 ValueError"), letters
    no_messages = {id: reason for id, reason in letters.items() if "is no message" in reason}
    # Named after their places in the streams, and so each time.
    assert len(no_messages) == 2 * 3
    assert len(letters) == len(no_messages) + 2
    assert all(id in shown for id in letters)
