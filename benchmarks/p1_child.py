"""The in-process half of P1, in a process of its own because both apps are imported into it."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from fastapi import FastAPI

from benchmarks.harness import answer, turns
from benchmarks.inprocess import App, Caller, started
from benchmarks.kernel_side import PASSWORD, access_token

SIGN_UP = {"email": "inprocess@example.com", "password": PASSWORD}


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Both apps' endpoints in turns, then the kernel's layers one by one."""
    bare: App = importlib.import_module("benchmarks.peers.small_fastapi").app
    callers = {f"bare {form}": Caller(bare, f"/{form}", state={}, token="x" * 400) for form in ("plain", "typed")}
    if not spec["kernel"]:
        return {"samples": await measure(callers, spec), "layers": [], "layer_samples": {}}
    app: Any = importlib.import_module("benchmarks.peers.small_kernel").app
    async with started(app) as state:
        signed_up = await Caller(app, "/auth/register", state=state, method="POST", body=SIGN_UP).once()
        token = access_token(200, json.loads(signed_up))
        for form in ("plain", "typed"):
            callers[f"kernel {form}"] = Caller(app, f"/{form}", state=state, token=token)
        samples = await measure(callers, spec)
        names, stacks = peeled(app)
        layers = {str(depth): Caller(stack, "/open", state=state, token=token) for depth, stack in enumerate(stacks)}
        layers["served"] = Caller(app, "/open", state=state, token=token)
        layers["user"] = Caller(app, "/plain", state=state, token=token)
        async with without_metrics(token) as rest:
            layers["without metrics"] = rest
            layer_samples = await measure(layers, spec)
        return {
            "samples": samples,
            "layers": names,
            "layer_samples": layer_samples,
            "log_line_us": [log_line_us() for _ in range(spec["rounds"])],
        }


async def measure(callers: dict[str, Caller], spec: dict[str, Any]) -> dict[str, list[float]]:
    """Microseconds a request: one figure a batch, batches of all callers in turns."""
    samples: dict[str, list[float]] = {name: [] for name in callers}
    for caller in callers.values():
        await caller.batch(spec["batch"])
    for name in turns(list(callers), spec["rounds"] * spec["batches"]):
        samples[name].append(await callers[name].batch(spec["batch"]))
    return samples


def peeled(app: Any) -> tuple[list[str], list[App]]:
    """FastAPI's own stack alone, inside the outermost layer, inside the two outermost ...: names and stacks.

    From the outside in, because an inner layer may rely on what an outer one has set.
    """
    kernel = app.state.kernel
    layers = [(feature.name, layer) for feature in kernel.features for layer in feature.middleware]
    stacks: list[App] = []
    for depth in range(len(layers) + 1):
        stack = FastAPI.build_middleware_stack(app)
        for _, layer in reversed(layers[:depth]):
            stack = layer(stack, kernel)
        stacks.append(_with_app(app, stack, begins=depth == 0))
    return [name for name, _ in layers], stacks


def _with_app(app: Any, stack: App, *, begins: bool) -> App:
    """As the server calls it; a stack without the outermost layer is given what that one would have begun."""
    begin_exchange = importlib.import_module("app_kernel.core.exchange").begin_exchange

    async def call(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = app
        if begins:
            begin_exchange(scope, "bench", {})
        await stack(scope, receive, send)

    return call


@asynccontextmanager
async def without_metrics(token: str) -> AsyncIterator[Caller]:
    """The kernel less its request figures, which no layer of their own takes: they listen to the outermost one."""
    module = importlib.import_module("benchmarks.peers.small_kernel")
    features = importlib.import_module("app_kernel.features").FEATURES
    app: App = module.build([feature for feature in features if not feature.__module__.endswith(".metrics")])
    async with started(app) as state:
        yield Caller(app, "/open", state=state, token=token)


def log_line_us(times: int = 2000) -> float:
    """One access log line, encoded and written: what of the outermost layer's cost is the line."""
    logs = importlib.import_module("app_kernel.logs")
    clock = importlib.import_module("app_kernel.core.clock")
    line = {
        "timestamp": clock.now(),
        "level": "info",
        "event": "request",
        "logger": "app_kernel.request",
        "request_id": clock.new_id(),
        "method": "GET",
        "path": "/open",
        "route": "/open",
        "status": 200,
        "duration_ms": 0.123,
        "bytes": 67,
        "address": "127.0.0.1",
        "user_id": clock.new_id(),
    }
    begun = time.perf_counter()
    for _ in range(times):
        logs.write_event(line)
    return (time.perf_counter() - begun) / times * 1e6


if __name__ == "__main__":
    begun = time.perf_counter()
    result = uvloop.run(asyncio.wait_for(run(json.load(sys.stdin)), 120))
    answer({**result, "seconds": time.perf_counter() - begun})
