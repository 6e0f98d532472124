"""Audited services, admin workers as the contract starts them, and the ledger that the audit log must match."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import apsw
import asyncmy.errors
import asyncpg

from tests.faults.audit_service import NAME
from tests.faults.children import ROOT
from tests.faults.durable_redis import DurableRedis
from tests.faults.outbox_feature import look
from tests.faults.outbox_fleet import Fleet
from tests.zygote import Forked, start

ARRIVED = {"sqlite": "rowid", "postgres": "xmin::text::bigint, version", "mysql": "created_at, version"}
"""The order in which rows were written: workers take turns, so that transactions are numbered in their order, and the
instants at which they wrote are in it. Of one transaction a server does not tell; where there was room, a row stands in
it."""

DEAD = "SELECT id, reason FROM kernel_dead_letters"


class AuditFleet(Fleet):
    """Several services on one database and an admin database, with workers where there is Redis."""

    program = "audit_service"

    def __init__(
        self,
        folder: Path,
        redis: DurableRedis | None,
        *,
        services: int,
        changes: int,
        pace: float = 0.0,
        seconds: float = 120,
        urls: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(
            folder, redis, services=services, saves=changes, pace=pace, seconds=seconds, urls=urls,
        )  # fmt: skip
        self.addresses = (self.app, self.admin, redis.url if redis else "-")
        self._folder = folder
        self.worker_processes: list[Forked] = []

    def prepare(self) -> None:
        """Nothing: services and workers make what they need."""

    def __exit__(self, *raised: Any) -> None:
        for worker in self.worker_processes:
            worker.kill()
        super().__exit__(*raised)

    def acknowledge(self, line: dict[str, Any]) -> None:
        """Writes an acknowledged change down."""
        with self._lock:
            self._ledger.write(json.dumps(line) + "\n")
            self._ledger.flush()
            for id, version in line["ack"]:
                self.acked.setdefault(id, set()).add(version)
            self.acks += 1
            self.taken.append(line["seconds"])

    def work(self, *, program: str = "app_kernel.admin_worker", arguments: tuple[str, ...] = ()) -> Forked:
        """One more admin worker, as `python -m app_kernel.admin_worker --redis URL --db URL`."""
        assert self.redis is not None
        command = [*arguments, "--redis", self.redis.url, "--db", self.admin]
        self.worker_processes.append(run_worker(self._folder, command, program=program))
        return self.worker_processes[-1]

    def kill_worker(self, worker: Forked) -> None:
        """SIGKILL for a worker."""
        self.worker_processes.remove(worker)
        worker.kill()
        assert worker.wait(30) == -signal.SIGKILL, "it had ended before"

    def worker_errors(self) -> str:
        """What workers said."""
        return (self._folder / "workers.log").read_text()[-4000:]

    def is_settled(self) -> bool:
        """Whether everything has left the outbox and the streams."""
        unsent = look(self.app, "SELECT COUNT(*) FROM kernel_outbox WHERE batch IS NULL")[0][0]
        if unsent or self.redis is None:
            return not unsent
        with self.redis.client() as client:
            return not any(client.xlen(key) for key in client.scan_iter("admin:*", _type="stream"))

    def has_audited(self) -> bool:
        """Whether something has arrived."""
        try:
            return bool(look(self.admin, "SELECT 1 FROM audit_logs LIMIT 1"))
        except (apsw.SQLError, asyncpg.UndefinedTableError, asyncmy.errors.ProgrammingError):
            return False

    def assert_all_arrived_once(self, *, dead: bool = False) -> int:
        """Every change in the history is in the audit log once, in order, with what it was; and nothing else is.

        Nothing was given up, unless there may be dead letters.
        """
        saved: dict[str, list[tuple[int, str, str]]] = {}
        history = "SELECT id, _version, _action, _actor FROM items_history ORDER BY id, _version"
        for id, version, action, actor in look(self.app, history):
            saved.setdefault(str(id), []).append((int(version), str(action), str(actor)))
        arrived = read_audit(self.admin)
        assert arrived.keys() == saved.keys()
        for id, changes in saved.items():
            found = arrived[id]
            assert not set(changes) - set(found), f"{id}: lost {sorted(set(changes) - set(found))[:5]}"
            assert len(found) == len(set(found)), f"{id}: some are there twice"
            assert not set(found) - set(changes), (
                f"{id}: audited and not changed {sorted(set(found) - set(changes))[:5]}"
            )
            late = [pair for pair in zip(found, changes, strict=True) if pair[0] != pair[1]]
            assert not late, f"{id}: out of order {late[:5]}"
        versions = {id: {version for version, _, _ in changes} for id, changes in saved.items()}
        lost = {id: acked - versions.get(id, set()) for id, acked in self.acked.items()}
        assert not any(lost.values()), f"acknowledged and not saved: {lost}"
        letters = [letter for url in (self.app, self.admin) for letter in look(url, DEAD)]
        assert dead or not letters, f"given up: {letters[:5]}"
        return sum(map(len, arrived.values()))


def run_worker(folder: Path, command: list[str], *, program: str = "app_kernel.admin_worker") -> Forked:
    """An admin worker with nothing but its options."""
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with (folder / "workers.log").open("a") as log:
        return start(program, command, cwd=ROOT, env=environment, stdout=log.fileno())


def read_audit(url: str) -> dict[str, list[tuple[int, str, str]]]:
    """The changes of each entity in the audit log, as they arrived: version, action and user."""
    order = ARRIVED[url.partition(":")[0]]
    found: dict[str, list[tuple[int, str, str]]] = {}
    rows = look(
        url,
        "SELECT entity_id, version, action, user_id FROM audit_logs"
        f" WHERE app = '{NAME}' AND entity = 'items' ORDER BY {order}",
    )
    for id, version, action, user in rows:
        found.setdefault(str(id), []).append((int(version), str(action), str(user)))
    return found
