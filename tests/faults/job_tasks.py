"""Tasks of the workers that are killed here: each writes into a ledger what it does, as it does it."""

import asyncio
import json
import os
import signal
import time
from functools import cache
from typing import Any

from app_kernel import JobContext, JobRegistry

registry = JobRegistry()


@cache
def _file(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def write_down(payload: dict[str, Any], ctx: JobContext, at: str) -> None:
    """One line with one write, so that it is whole whatever happens to the process afterwards."""
    line = {"job": ctx.job_id, "attempt": ctx.attempt, "at": at, "pid": os.getpid(), "time": time.time()}
    os.write(_file(payload["ledger"]), json.dumps(line).encode() + b"\n")


def seconds_of(payload: dict[str, Any], ctx: JobContext) -> float:
    """How long this attempt is to take: a number, or a list of them by attempt, of which the last one stays."""
    given = payload.get("seconds", 0)
    return float(given[min(ctx.attempt, len(given)) - 1] if isinstance(given, list) else given)


@registry.task("work", timeout=3600, max_attempts=20)
async def work(payload: dict[str, Any], ctx: JobContext) -> dict[str, int]:
    """Takes its time."""
    write_down(payload, ctx, "start")
    try:
        await asyncio.sleep(seconds_of(payload, ctx))
    except asyncio.CancelledError:
        write_down(payload, ctx, "cancelled")
        raise
    write_down(payload, ctx, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@registry.task("reports", timeout=3600)
async def reports(payload: dict[str, Any], ctx: JobContext) -> None:
    """Says all the time how far it is."""
    write_down(payload, ctx, "start")
    until = time.monotonic() + seconds_of(payload, ctx)
    while time.monotonic() < until:
        await ctx.progress(0.5, "under way")
        await asyncio.sleep(0.1)
    write_down(payload, ctx, "end")


@registry.task("poison", timeout=3600, max_attempts=3)
async def poison(payload: dict[str, Any], ctx: JobContext) -> None:
    """Takes its worker along."""
    write_down(payload, ctx, "start")
    os.kill(os.getpid(), signal.SIGKILL)


@registry.task("fail", max_attempts=5, retry_delay=30 * 86400, max_retry_delay=30 * 86400)
async def fail(payload: dict[str, Any], ctx: JobContext) -> None:
    """Fails, and has long to wait for its next attempt: a random time, which is hardly ever short."""
    write_down(payload, ctx, "start")
    raise RuntimeError("as asked")


@registry.task("quick", result_ttl=1)
async def quick(payload: dict[str, Any]) -> int:
    """Next to nothing, and soon forgotten."""
    return len(payload)
