"""P8: what audit and metering cost a create, and how fast their events are drained into the admin database."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import kernel_side, p8_drain
from benchmarks.harness import Server, paired_ratios, scratch, turns
from benchmarks.load import Result, Spec, build_request, measure
from benchmarks.p1_request import CONNECTIONS
from benchmarks.p2_crud import BODY, KERNEL
from benchmarks.postgres import postgres
from benchmarks.redis_servers import DurableRedis, redis_servers
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

OFF = {"AUDIT_ENABLED": "false", "METERING_ENABLED": "false"}
SIDES = ("off", "on", "off, Redis", "on, Redis")
"""With Redis the events leave the service for the streams, and an admin worker is to write them."""
WINDOWS = 2
"""A window of this many times the usual length, as its 95th percentile is asked for."""
P95 = Goal("<=", 1.10)


def run(settings: Settings) -> Group:
    """Creates with both on and off in turns, then the drains."""
    group = Group("P8", f"audit and metering: a create on SQLite (FULL), {CONNECTIONS} connections; draining events")
    with scratch() as folder, redis_servers() as redis:
        results = _creates(folder, redis["everysec"], settings)
        _report(group, results)
        with postgres(folder) as database:
            p8_drain.add_drains(group, folder / "drain", redis["everysec"], database, settings)
            group.notes.append(database.about())
    return group


def _creates(folder: Path, redis: DurableRedis, settings: Settings) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {name: [] for name in SIDES}
    with contextlib.ExitStack() as running:
        specs: dict[str, Spec] = {}
        for number, name in enumerate(SIDES):
            inside = folder / f"side{number}"
            env = {**kernel_side.kernel_environment(inside), **(OFF if name.startswith("off") else {})}
            if name.endswith("Redis"):
                env["REDIS_URL"] = redis.database(number)
            server = running.enter_context(Server(KERNEL, inside, env))
            token = kernel_side.sign_up(server.port, "maker@example.com")
            specs[name] = Spec(
                port=server.port,
                requests=[build_request("POST", "/widgets", token=token, body=BODY)],
                connections=CONNECTIONS,
                seconds=settings.http_seconds * WINDOWS,
                warm_up=settings.http_warm_up,
                watch_pid=server.pid,
            )
        for name in turns(SIDES, settings.rounds):
            results[name].append(measure(specs[name], folder / "load"))
    return results


def _report(group: Group, results: dict[str, list[Result]]) -> None:
    group.raw["creates"] = {name: [asdict(result) for result in found] for name, found in results.items()}
    figures = (("p95_ms", "ms", P95), ("p50_ms", "ms", None), ("server_cpu_us", "us", None), ("per_second", "/s", None))
    spelled = {"p95_ms": "p95", "p50_ms": "p50", "server_cpu_us": "CPU of the service", "per_second": "requests"}
    for suffix in ("", ", Redis"):
        on, off = results[f"on{suffix}"], results[f"off{suffix}"]
        for field, unit, goal in figures:
            ours, theirs = ([float(getattr(result, field)) for result in found] for found in (on, off))
            group.rows.append(
                Row(
                    figure=f"create{suffix}, {spelled[field]}",
                    unit=unit,
                    ours=median(ours),
                    peer="both off",
                    theirs=median(theirs),
                    goal=goal,
                    ratios=tuple(paired_ratios(ours, theirs)),
                )
            )
    group.plain.append(_table(results))
    group.notes += [
        "Closed loop: the service is at its limit, so whatever its relay does beside the requests shows in them.",
        "Without Redis the service writes its events into the admin database itself, in the same process.",
        "With Redis no admin worker runs meanwhile: it would take the client's processor.",
    ]


def _table(results: dict[str, list[Result]]) -> Plain:
    lines = [
        (
            name,
            f"{median(result.per_second for result in found):,.0f}",
            *(f"{median(getattr(result, field) for result in found):.2f}" for field in ("p50_ms", "p95_ms", "p99_ms")),
            f"{median(result.server_cpu_us or 0.0 for result in found):,.0f}",
        )
        for name, found in results.items()
    ]
    return Plain("Creates", ("side", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU us a request"), tuple(lines))
