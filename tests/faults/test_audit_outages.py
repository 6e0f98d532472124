"""Saves do not notice that nobody takes their audit events, and all of them arrive when somebody does again."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT

import pytest
from typer.testing import CliRunner

from app_kernel.cli import app
from tests.faults.audit_fleet import AuditFleet
from tests.faults.children import Child
from tests.faults.durable_redis import durable_redis
from tests.faults.figures import figure
from tests.faults.outbox_places import outbox_urls
from tests.faults.postgres_server import own_postgres

UP_SECONDS, DOWN_SECONDS = figure(short=(0.5, 1.2), long=(30.0, 60.0))
PACE = figure(short=0.02, long=0.06)
CHANGES_WHILE_DOWN = figure(short=50, long=5000)
"""The least number of acknowledged changes."""
NO_END = 1_000_000
SECONDS = figure(short=60.0, long=600.0)
TOPIC = "admin:audit_events"

OUTAGES = ["redis", "locked", "full", "down"]


@dataclass(frozen=True)
class Outage:
    """Services, and what is taken from them."""

    fleet: AuditFleet
    begin: Callable[[], object]
    end: Callable[[], object]
    waits_in_redis: bool = False
    """Whether events wait in the stream, and not in the outbox."""


@contextmanager
def redis_away(folder: Path) -> Iterator[Outage]:
    """Redis is killed."""
    with durable_redis(folder / "redis", "always") as redis, fleet_on(folder, redis) as fleet:
        fleet.work()
        yield Outage(fleet, redis.kill, redis.start)


@contextmanager
def admin_locked(folder: Path) -> Iterator[Outage]:
    """Somebody else writes to the admin database all the time; a service without Redis."""
    with ExitStack() as stack, fleet_on(folder, None) as fleet:

        def begin() -> None:
            path = fleet.admin.removeprefix("sqlite:///")
            holders.append(stack.enter_context(Child("lock_holder", path, "BEGIN IMMEDIATE", "audit_logs")))
            holders[0].expect("held")

        def end() -> None:
            holders[0].tell("release")
            holders[0].expect("released")

        holders: list[Child] = []
        yield Outage(fleet, begin, end)


@contextmanager
def admin_full(folder: Path) -> Iterator[Outage]:
    """The admin worker's disk is full."""
    is_full = folder / "is-full"
    with durable_redis(folder / "redis") as redis, fleet_on(folder, redis) as fleet:
        fleet.work(program="tests.faults.full_disk_worker", arguments=(str(is_full),))
        yield Outage(fleet, is_full.touch, is_full.unlink, waits_in_redis=True)


@contextmanager
def admin_down(folder: Path, server: str) -> Iterator[Outage]:
    """The server of the admin database crashes; a service without Redis, on another server."""
    with (
        own_postgres() as own,
        outbox_urls(server) as urls,
        fleet_on(folder, None, (urls[0], f"{own.url}?pool_size=3&schema=kernel_admin")) as fleet,  # type: ignore[index]  # there is a server
    ):
        yield Outage(fleet, lambda: own.end(SIGQUIT), own.start_again)


@contextmanager
def fleet_on(folder: Path, redis: object, urls: tuple[str, str] | None = None) -> Iterator[AuditFleet]:
    """Two services that change entities at a steady pace."""
    with AuditFleet(folder, redis, services=2, changes=NO_END, pace=PACE, seconds=SECONDS, urls=urls) as fleet:  # type: ignore[arg-type]
        for service in fleet.services:
            service.start()
        yield fleet


def p95(seconds: list[float]) -> float:
    """The 95th percentile."""
    return sorted(seconds)[int(len(seconds) * 0.95)]


def status(fleet: AuditFleet) -> dict[str, int]:
    """What `app-kernel outbox status` shows, by topic."""
    done = CliRunner().invoke(app, ["outbox", "status", "--database-url", fleet.app])
    assert done.exit_code == 0, done.output
    return {line.split()[0]: int(line.split()[1]) for line in done.output.splitlines() if line.startswith("admin:")}


def assert_backlog_shows(outage: Outage, changed: int) -> str:
    """The events that wait are seen in the metrics and, where they wait in the outbox, in the command."""
    figures = outage.fleet.services[0].ask("metrics")
    if outage.waits_in_redis:
        waiting = figures[f'app_kernel_outbox_stream_length{{topic="{TOPIC}"}}']
        assert figures["app_kernel_outbox_unsent"] < changed, "it waits in Redis"
    else:
        waiting = figures["app_kernel_outbox_unsent"]
        assert status(outage.fleet)[TOPIC] >= changed * 0.9
        assert figures["app_kernel_outbox_oldest_seconds"] >= DOWN_SECONDS * 0.5
    assert waiting >= changed * 0.9
    return f"{waiting:.0f} waiting"


def live_through(outage: Outage) -> str:
    """Up, down, up again; what it was like."""
    fleet = outage.fleet
    fleet.wait_for("the first changes", lambda: fleet.acks > 30, SECONDS)
    fleet.wait_for("the first audited change", fleet.has_audited, SECONDS)
    before = fleet.acks
    time.sleep(UP_SECONDS)
    down = fleet.acks
    outage.begin()
    time.sleep(DOWN_SECONDS)
    assert fleet.acks > down + CHANGES_WHILE_DOWN // 5, "saves waited"
    fleet.wait_for("enough changes", lambda: fleet.acks > down + CHANGES_WHILE_DOWN, SECONDS)
    up = fleet.acks
    shown = assert_backlog_shows(outage, up - down)
    outage.end()
    time.sleep(UP_SECONDS)
    for service in fleet.services:
        service.child.tell("enough")
    fleet.wait_for("the end of the changes", lambda: all(each.finished for each in fleet.services), SECONDS)
    ended = time.monotonic()
    fleet.wait_for("the end of the deliveries", fleet.is_settled, 60)
    settled = time.monotonic() - ended
    count = fleet.assert_all_arrived_once()
    for service in fleet.services:
        service.stop()
        assert not service.refused
    with_it, without = p95(fleet.taken[before:down]), p95(fleet.taken[down:up])
    # A stall would be seconds; the ratio is for a machine that does nothing else.
    assert without < 3 * with_it + 0.05
    return (
        f"{up - down} changes meanwhile, p95 {with_it * 1000:.1f} ms before and {without * 1000:.1f} ms during"
        f" (x{without / with_it:.2f}), {shown}, {count} audited once, settled {settled:.1f} s after the last change"
    )


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV2")
@pytest.mark.parametrize("outage", OUTAGES)
async def test_saves_succeed_while_nobody_takes_audit_events_and_all_of_them_arrive_later(
    outage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """EV2: away for 1.5 s, in the long run for 60 s."""
    server = request.getfixturevalue("postgres_url") if outage == "down" else ""
    places = {
        "redis": lambda: redis_away(tmp_path),
        "locked": lambda: admin_locked(tmp_path),
        "full": lambda: admin_full(tmp_path),
        "down": lambda: admin_down(tmp_path, server),
    }

    def run_it() -> str:
        with places[outage]() as chosen:
            return live_through(chosen)

    told = await asyncio.to_thread(run_it)
    print(f"{outage}: {told}")
    assert told
