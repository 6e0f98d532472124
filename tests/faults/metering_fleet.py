"""Services that count usage, and the ledger that the counters must match to the unit."""

import json
from collections import Counter
from typing import Any

from tests.faults.audit_fleet import AuditFleet
from tests.faults.metering_service import NAME
from tests.faults.outbox_feature import look

Key = tuple[str, str | None, str | None, str, str]
"""scope, workspace, user, period, metric."""


class MeteringFleet(AuditFleet):
    """Several services that count."""

    program = "metering_service"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.expected: Counter[Key] = Counter()
        self.increments = 0

    def acknowledge(self, line: dict[str, Any]) -> None:
        """Writes acknowledged calls down."""
        with self._lock:
            self._ledger.write(json.dumps(line) + "\n")
            self._ledger.flush()
            for call in line["ack"]:
                self.increments += len(call["metrics"])
                self._expect(call["workspace"], call["user"], call["day"], call["metrics"])
            self.acks += 1

    def _expect(self, workspace: str | None, user: str | None, day: str, metrics: dict[str, int]) -> None:
        scopes: list[tuple[str, str | None, str | None]] = [("app", None, None)]
        scopes += [("workspace", workspace, None)] if workspace else []
        scopes += [("user", None, user)] if user else []
        scopes += [("member", workspace, user)] if workspace and user else []
        for metric, amount in metrics.items():
            for scope in scopes:
                for period in (day, day[:7], day[:4]):
                    self.expected[(*scope, period, metric)] += amount

    def assert_counted_exactly(self) -> str:
        """Every counter is what was acknowledged, to the unit, in one row; and the parts add up to the wholes."""
        fields = "scope, workspace_id, user_id, period, metric, amount"
        where = f"app = '{NAME}' AND metric <> 'requests'"
        rows = [
            (tuple(row[:5]), int(row[5]))
            for row in look(self.admin, f"SELECT {fields} FROM usage_summary WHERE {where}")
        ]
        found = dict(rows)
        assert len(found) == len(rows), "one counter has two rows"
        wrong = {key: (amount, found.get(key)) for key, amount in self.expected.items() if found.get(key) != amount}
        assert not wrong, f"acknowledged and counted differ: {str(wrong)[:1000]}"
        assert found.keys() == self.expected.keys()
        for url in (self.app, self.admin):
            dead = look(url, "SELECT id, reason FROM kernel_dead_letters")
            assert not dead, f"given up: {dead[:5]}"
        return f"{self.increments} increments in {len(found)} counters, exact"


def counted_of_users(url: str, app: str, metric: str, value: int) -> list[tuple[Any, ...]]:
    """The users of whom so much was counted, on the day, in the month and in the year alike."""
    where = f"app = '{app}' AND scope = 'user' AND metric = '{metric}'"
    rows = look(url, f"SELECT user_id, period, amount FROM usage_summary WHERE {where}")
    grains: dict[str, dict[int, int]] = {}
    for user, period, amount in rows:
        assert grains.setdefault(str(user), {}).setdefault(len(period), int(amount)) == amount
    exact = {10: value, 7: value, 4: value}
    wrong = {user: counted for user, counted in grains.items() if counted != exact}
    assert not wrong, f"counted otherwise: {str(wrong)[:1000]}"
    return [(user,) for user in grains]
