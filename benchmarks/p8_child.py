"""Fills a stream or an outbox with events as a service makes them, and carries an outbox by a relay alone."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from app_kernel.audit.recorder import ChangeRecorder
from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message
from app_kernel.db.database import create_database
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.rows import encode_body
from app_kernel.db.outbox.streams import GROUP
from app_kernel.features import FEATURES
from app_kernel.metering.counting import make_count, make_message
from app_kernel.redis_wire import create_redis
from benchmarks.harness import answer

AUDIT, METERING = "admin:audit_events", "admin:metering_events"
AT_ONCE = 1000
APP = "bench"


def messages(topic: str, count: int) -> Iterator[Message]:
    """What a service sends when widgets are created, or when usage of some users is counted by hand."""
    record, day = ChangeRecorder(APP), clock.timestamp()[:10]
    for number in range(count):
        if topic == METERING:
            where = {"workspace_id": f"w{number % 20}", "user_id": f"u{number % 50}"}
            yield make_message(APP, [make_count({"tokens": 1500, "calls": 1}, day=day, **where)])
            continue
        id, at = clock.new_id(), clock.timestamp()
        row = {"id": id, "name": "bolt M8", "color": "red", "created_at": at, "created_by": "maker", "_version": 1}
        change = EntityChanged(
            entity="widgets", id=id, version=1, action="create", before=None, after=row, at=at, actor_id="maker",
            comment=None, request_id=clock.new_id(), address="127.0.0.1", workspace_id=None,
        )  # fmt: skip
        yield from record(change)


async def fill_stream(url: str, topic: str, count: int) -> dict[str, float]:
    """Puts the events where the relay puts them."""
    redis = create_redis(url, "bench")
    await redis.xgroup_create(topic, GROUP, id="0", mkstream=True)
    pipeline = redis.pipeline(transaction=False)
    for message in messages(topic, count):
        fields = {"id": message.id, "key": message.key, "created_at": message.created_at}
        pipeline.xadd(topic, {**fields, "body": encode_body(message.body)})
        if len(pipeline) == AT_ONCE:
            await pipeline.execute()
    await pipeline.execute()
    await redis.aclose()
    return {}


async def carry(app: str, admin: str, topic: str, count: int) -> dict[str, float]:
    """Fills an outbox, then lets a relay empty it."""
    config = ServiceConfig(name=APP, auth_enabled=False)
    features = [made for made in (entry(config) for entry in FEATURES if callable(entry)) if made is not None]
    source, receiver = create_database(app), create_database(admin)
    await source.open()
    await receiver.open()
    await receiver.ensure_tables(table for feature in features for table in feature.admin_tables)
    sinks = {name: sink for feature in features for name, sink in feature.sinks.items() if name == topic}
    db = source.connection().privileged
    waiting = list(messages(topic, count))
    for start in range(0, count, AT_ONCE):
        await db.send_messages(waiting[start : start + AT_ONCE])
    relay = Relay(source, Receivers(sinks, admin=receiver.connection))
    begun, cpu = time.perf_counter(), time.process_time()
    relay.start()
    while (await relay.lag()).unsent:  # noqa: ASYNC110 - the relay tells nobody when it is done
        await asyncio.sleep(0.02)
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    await relay.stop()
    await source.close()
    await receiver.close()
    return {"per_second": count / seconds, "cpu_us": used / count * 1e6}


def main() -> None:
    """The child: read the spec from standard input, answer with the figures."""
    spec: dict[str, Any] = json.load(sys.stdin)
    if spec["what"] == "stream":
        answer(asyncio.run(fill_stream(spec["redis"], spec["topic"], spec["events"])))
    else:
        answer(asyncio.run(carry(spec["app"], spec["admin"], spec["topic"], spec["events"])))


if __name__ == "__main__":
    main()
