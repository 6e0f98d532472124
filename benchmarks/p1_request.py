"""P1: one authenticated endpoint that returns a small dict, the full kernel beside bare FastAPI."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import kernel_side
from benchmarks.harness import Server, child, paired_ratios, scratch, turns
from benchmarks.load import Result, Spec, build_request, measure
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

FORMS = ("plain", "typed")
CONNECTIONS = 16
SPELLED = {"plain": "un-annotated", "typed": "`-> dict`"}


def run(settings: Settings) -> Group:
    """The cost in process, the layers, and the same over HTTP."""
    group = Group("P1", "one authenticated endpoint, full kernel beside bare FastAPI")
    with scratch() as folder:
        _in_process(group, settings, folder)
        _over_http(group, settings, folder)
    group.notes.append(
        "Both sides run the same endpoint body; the kernel's is for signed-in users, the peer's for anybody, and both"
        " are sent an Authorization header. The kernel writes its access log, the peer none."
    )
    return group


def _in_process(group: Group, settings: Settings, folder: Path) -> None:
    spec = {"rounds": settings.rounds, "batches": settings.batches, "batch": settings.batch}
    inside = folder / "inside"
    spec["kernel"] = kernel_side.missing() is None
    result = child("benchmarks.p1_child", spec, inside, env=kernel_side.kernel_environment(inside), limit=150, core=1)
    samples: dict[str, list[float]] = result["samples"]
    group.raw["in process"] = result
    for form in FORMS:
        if f"kernel {form}" not in samples:
            continue
        ours, theirs = samples[f"kernel {form}"], samples[f"bare {form}"]
        ratios = tuple(paired_ratios(ours, theirs))
        for kind, pick in (("median", median), ("minimum", min)):
            group.rows.append(
                Row(
                    figure=f"in-process cost, {SPELLED[form]}, {kind}",
                    unit="us",
                    ours=float(pick(ours)),
                    peer="bare FastAPI",
                    theirs=float(pick(theirs)),
                    goal=Goal("<=", 1.3),
                    ratios=ratios if kind == "median" else (),
                )
            )
    if result["layers"]:
        group.plain.append(_layers(result))


def _layers(result: dict[str, Any]) -> Plain:
    """Each layer's cost: the stack with it less the stack without it, outermost first."""
    names: list[str] = result["layers"]
    figures = {name: (median(found), min(found)) for name, found in result["layer_samples"].items()}
    steps: list[tuple[str, str, str | None]] = [("FastAPI alone, `/open`", "0", None)]
    steps += [(f"+ {name}", str(depth), str(depth - 1)) for depth, name in enumerate(names, start=1)]
    steps.append(("the app as served, `/open`", "served", str(len(names))))
    steps.append(("+ Depends(get_current_user), `/plain`", "user", "served"))
    steps.append(("the app as served, less the metrics feature", "without metrics", "served"))
    rows = []
    for label, name, before in steps:
        (mid, low), (mid_before, low_before) = figures[name], figures[before or name]
        adds = ("", "") if before is None else (f"{mid - mid_before:+.1f}", f"{low - low_before:+.1f}")
        rows.append((label, f"{mid:.1f}", adds[0], f"{low:.1f}", adds[1]))
    line = result["log_line_us"]
    rows.append(("of request_log: the line, encoded and written", f"{median(line):.1f}", "", f"{min(line):.1f}", ""))
    head = ("layer, from the outside in", "median us", "adds", "minimum us", "adds")
    return Plain("What each layer costs, in process", head, tuple(rows))


def _over_http(group: Group, settings: Settings, folder: Path) -> None:
    servers = {"bare": Server("benchmarks.peers.small_fastapi:app", folder / "bare")}
    if kernel_side.missing() is None:
        env = kernel_side.kernel_environment(folder / "kernel")
        servers["kernel"] = Server("benchmarks.peers.small_kernel:app", folder / "kernel", env)
    with contextlib.ExitStack() as running:
        for server in servers.values():
            running.enter_context(server)
        token = kernel_side.sign_up(servers["kernel"].port, "http@example.com") if "kernel" in servers else "x" * 400
        results = _rounds(servers, token, settings, folder)
    group.raw["http"] = {name: [asdict(result) for result in found] for name, found in results.items()}
    if "kernel" in servers:
        for form in FORMS:
            group.rows += http_rows(
                f"HTTP, {SPELLED[form]}", results[f"kernel {form}"], "bare FastAPI", results[f"bare {form}"],
                Goal(">=", 0.8),
            )  # fmt: skip
    group.plain.append(latencies(results))


def _rounds(servers: dict[str, Server], token: str, settings: Settings, folder: Path) -> dict[str, list[Result]]:
    names = [f"{side} {form}" for form in FORMS for side in servers]
    results: dict[str, list[Result]] = {name: [] for name in names}
    for name in turns(names, settings.rounds):
        side, _, form = name.partition(" ")
        server = servers[side]
        spec = Spec(
            port=server.port,
            requests=[build_request("GET", f"/{form}", token=token)],
            connections=CONNECTIONS,
            seconds=settings.http_seconds,
            warm_up=settings.http_warm_up,
            watch_pid=server.pid,
        )
        results[name].append(measure(spec, folder / "load"))
    return results


def http_rows(figure: str, ours: list[Result], peer: str, theirs: list[Result], goal: Goal | None) -> list[Row]:
    """Requests per second, which the goal judges, and CPU time of the server a request, which repeats better."""
    speed = [result.per_second for result in ours], [result.per_second for result in theirs]
    cpu = [result.server_cpu_us or 0.0 for result in ours], [result.server_cpu_us or 0.0 for result in theirs]
    rows = []
    for what, unit, (mine, other), bound in ((figure, "/s", speed, goal), (f"{figure}, CPU", "us", cpu, None)):
        rows.append(
            Row(
                figure=what,
                unit=unit,
                ours=median(mine),
                peer=peer,
                theirs=median(other),
                goal=bound,
                ratios=tuple(paired_ratios(mine, other)),
            )
        )
    return rows


def latencies(results: dict[str, list[Result]]) -> Plain:
    """Medians over the rounds, with the client's own share of a core: near 100 % it would be what is measured."""
    rows = []
    for name, found in results.items():
        rows.append(
            (
                name,
                f"{median(result.per_second for result in found):,.0f}",
                f"{median(result.p50_ms for result in found):.2f}",
                f"{median(result.p99_ms for result in found):.2f}",
                f"{median(result.server_cpu_us or 0.0 for result in found):.0f}",
                f"{median(result.client_cpu_share for result in found):.0%}",
            )
        )
    head = ("over HTTP, 16 connections", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "client's CPU")
    return Plain("Latency and CPU", head, tuple(rows))
