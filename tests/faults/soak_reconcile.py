"""What the databases, the receiver of webhooks and the meters hold, against what clients were told."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.audit_fleet import DEAD
from tests.faults.durable_redis import DurableRedis
from tests.faults.outbox_feature import look
from tests.faults.soak_clients import Ledger
from tests.faults.soak_service import METRIC, NAME

ENTITIES = ("notes", "orders", "settlements")
Change = tuple[str, int, str, str]
"""Id, version, action, who."""


@dataclass(frozen=True)
class Place:
    """Where everything is, as seen from beside the faults."""

    app: str
    admin: str
    redis: DurableRedis | None
    received: Path

    def what_waits(self) -> dict[str, Any]:
        """What is still on its way; empty when everything has come to its end."""
        waits: dict[str, Any] = {
            "outbox": _count(self.app, "kernel_outbox WHERE batch IS NULL"),
            "deliveries": _count(self.app, "kernel_webhook_deliveries WHERE status = 'pending'"),
        }
        orders = _count(self.app, "orders")
        waits["settlements"] = orders - _count(self.app, "settlements")
        waits["webhooks"] = orders - _count(self.app, "kernel_webhook_deliveries")
        if self.redis is not None:
            with self.redis.client() as client:
                waits["streams"] = sum(client.xlen(key) for key in client.scan_iter("admin:*", _type="stream"))
        return {name: count for name, count in waits.items() if count}


async def settled(place: Place, seconds: float) -> float:
    """Returns when nothing is on its way any more, with the seconds that this took."""
    began = time.monotonic()
    while waits := await asyncio.to_thread(place.what_waits):
        assert time.monotonic() - began < seconds, f"still on its way: {waits}"
        await asyncio.sleep(0.25)
    return time.monotonic() - began


def _count(url: str, rows: str) -> int:
    return int(look(url, f"SELECT COUNT(*) FROM {rows}")[0][0])


def reconcile(place: Place, ledger: Ledger) -> str:
    """Fails where anything acknowledged is not there as acknowledged, or anything is there twice or by half."""
    history = {entity: _history(place.app, entity) for entity in ENTITIES}
    saves = _check_notes(place.app, ledger, history["notes"])
    events = sum(_check_audit(place.admin, entity, changes) for entity, changes in history.items())
    orders = _check_orders(place, ledger)
    sessions = _count(place.app, "kernel_sessions")
    assert sessions >= ledger.sign_ins > 0, f"{ledger.sign_ins} sign-ins were acknowledged, and {sessions} are kept"
    letters = [letter for url in (place.app, place.admin) for letter in look(url, DEAD)]
    assert not letters, f"given up: {letters[:5]}"
    return (
        f"{saves} saves, {len(ledger.deleted)} deletes and {ledger.sign_ins} sign-ins acknowledged and kept; {orders}"
        f" orders, each with its job, webhook and usage; {len(ledger.refused)} refused, nothing of them left;"
        f" {events} audit events, each once"
    )


def _history(url: str, entity: str) -> list[Change]:
    rows = look(url, f"SELECT id, _version, _action, _actor FROM {entity}_history ORDER BY id, _version")
    changes = [(str(id), int(version), str(action), str(actor)) for id, version, action, actor in rows]
    versions: dict[str, list[int]] = {}
    for id, version, _, _ in changes:
        versions.setdefault(id, []).append(version)
    gaps = {id: found for id, found in versions.items() if found != list(range(1, len(found) + 1))}
    assert not gaps, f"{entity}: versions with gaps: {dict(list(gaps.items())[:3])}"
    rows = look(url, f"SELECT id, _version FROM {entity}")
    now = {str(id): int(version) for id, version in rows}
    late = {id: (now.get(id), found[-1]) for id, found in versions.items() if now.get(id) != found[-1]}
    assert not late, f"{entity}: rows that are not what their history says: {dict(list(late.items())[:3])}"
    assert now.keys() == versions.keys()
    return changes


def _check_notes(url: str, ledger: Ledger, changes: list[Change]) -> int:
    """Acknowledged saves; what was not acknowledged may be there, whole, or not."""
    rows = look(url, "SELECT mark, id, _version, text FROM notes_history WHERE _action IN ('create', 'update')")
    found = {str(mark): (str(id), int(version), str(text)) for mark, id, version, text in rows}
    assert len(found) == len(rows), "a save was done twice"
    assert not found.keys() - ledger.saves.keys()
    for mark, (id, version, text) in found.items():
        assert ledger.saves[mark] == (id, text), f"{mark} happened in part"
        assert ledger.kept.get(mark, (id, version)) == (id, version), f"{mark} is not as acknowledged"
    lost = ledger.kept.keys() - found.keys()
    assert not lost, f"{len(lost)} acknowledged saves are lost: {sorted(lost)[:5]}"
    last = {id: action for id, _, action, _ in changes}
    kept = [id for id in ledger.deleted if last.get(id) != "delete"]
    assert not kept, f"{len(kept)} acknowledged deletes are lost: {kept[:5]}"
    return len(ledger.kept)


def _check_audit(url: str, entity: str, changes: list[Change]) -> int:
    """Every change is audited once, and nothing else is."""
    rows = look(
        url,
        f"SELECT entity_id, version, action, user_id FROM audit_logs WHERE app = '{NAME}' AND entity = '{entity}'",
    )
    found = Counter((str(id), int(version), str(action), str(user)) for id, version, action, user in rows)
    wanted = Counter(changes)
    assert not wanted - found, f"{entity}: changes that are not audited: {list(wanted - found)[:3]}"
    assert not found - wanted, f"{entity}: audited twice, or never changed: {list(found - wanted)[:3]}"
    return len(rows)


def _check_orders(place: Place, ledger: Ledger) -> int:
    """A row, the effect of its job, its webhook and its usage: all of them or none."""
    orders = {str(id): int(units) for id, units in look(place.app, "SELECT id, units FROM orders")}
    lost = ledger.placed - orders.keys()
    assert not lost, f"{len(lost)} acknowledged orders are lost: {sorted(lost)[:5]}"
    assert not ledger.refused & orders.keys(), "a refused order was kept"
    assert {id: ledger.orders[id] for id in orders} == orders, "an order is not as it was given"
    settled = {str(id) for (id,) in look(place.app, "SELECT id FROM settlements")}
    assert settled == orders.keys(), f"orders and the effects of their jobs differ: {settled ^ orders.keys()}"
    _check_webhooks(place, set(orders))
    for scope in ("app", "workspace", "user"):
        where = f"app = '{NAME}' AND metric = '{METRIC}' AND scope = '{scope}' AND LENGTH(period) = 4"
        counted = sum(int(amount) for (amount,) in look(place.admin, f"SELECT amount FROM usage_summary WHERE {where}"))
        assert counted == sum(orders.values()), f"{scope}: {counted} units were counted of {sum(orders.values())}"
    return len(orders)


def _check_webhooks(place: Place, orders: set[str]) -> None:
    """Each order's event was taken by the receiver, always under the same id."""
    ids: dict[str, set[str]] = {}
    for line in map(json.loads, place.received.read_text().splitlines()):
        ids.setdefault(line["n"], set()).add(line["id"])
    assert ids.keys() == orders, f"orders and the webhooks that came differ: {sorted(ids.keys() ^ orders)[:5]}"
    several = {order: found for order, found in ids.items() if len(found) > 1}
    assert not several, f"one event came under several ids: {several}"
    rows = look(place.app, "SELECT event_id, status FROM kernel_webhook_deliveries")
    wrong = [row for row in rows if row[1] != "delivered"]
    assert not wrong, f"deliveries that are not delivered: {wrong[:5]}"
    assert {str(row[0]) for row in rows} == {id for found in ids.values() for id in found}
