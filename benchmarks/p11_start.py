"""P11: what importing, starting and idling cost above bare FastAPI."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import kernel_side
from benchmarks.harness import BenchError, Server, cpu_seconds, environment, request, resident_mib, scratch, turns
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

IDLE_SECONDS = 0.5
LIMIT = 60
Samples = dict[str, list[float]]


def run(settings: Settings) -> Group:
    """Fresh processes only, in turns."""
    group = Group("P11", "start: import, first answer, idle memory")
    with_kernel = kernel_side.missing() is None
    with scratch() as folder:
        imports, import_cpu = _imports(["fastapi", "app_kernel"] if with_kernel else ["fastapi"], settings, folder)
        starts, start_cpu, memory = _starts(["bare", "kernel"] if with_kernel else ["bare"], settings, folder)
    group.raw = {"import": imports, "import, CPU": import_cpu, "start": starts, "start, CPU": start_cpu}
    group.raw["memory"] = memory
    if with_kernel:
        group.rows += [
            _row("`import app_kernel` above `import fastapi`", "s", imports, ("app_kernel", "fastapi"), 0.5),
            _row("the same, CPU time", "s", import_cpu, ("app_kernel", "fastapi")),
            _row("process start to first answered /healthz", "s", starts, ("kernel", "bare"), 1.5),
            _row("the same, CPU time of the process", "s", start_cpu, ("kernel", "bare")),
            _row("resident memory, idle", "MiB", memory, ("kernel", "bare"), 60),
        ]
    figures = [(what, name, f"{median(found):.3g}", f"{min(found):.3g}", f"{max(found):.3g}")
               for what, samples in (("import, s", imports), ("import, CPU s", import_cpu), ("start, s", starts),
                                     ("start, CPU s", start_cpu), ("memory, MiB", memory))
               for name, found in samples.items()]  # fmt: skip
    group.plain.append(Plain("All figures", ("what", "of", "median", "least", "most"), tuple(figures)))
    group.notes += [
        "The kernel opens a new SQLite database in a new folder; bytecode is cached on both sides.",
        "Seconds of a clock grow with what else the machine does, those of processor time hardly do.",
    ]
    return group


def _row(figure: str, unit: str, samples: Samples, names: tuple[str, str], bound: float | None = None) -> Row:
    ours, theirs = (median(samples[name]) for name in names)
    goal = None if bound is None else Goal("<=", bound, unit)
    return Row(figure=figure, unit=unit, ours=ours, peer=names[1], theirs=theirs, goal=goal, difference=True)


def _imports(modules: list[str], settings: Settings, folder: Path) -> tuple[Samples, Samples]:
    samples: Samples = {module: [] for module in ["sys", *modules]}
    cpu: Samples = {module: [] for module in samples}
    for module in modules:
        _import(module, folder)  # writes the bytecode that the measured ones read
    for module in turns(list(samples), settings.starts):
        took, used = _import(module, folder)
        samples[module].append(took)
        cpu[module].append(used)
    return samples, cpu


def _import(module: str, folder: Path) -> tuple[float, float]:
    """How long it took, and the processor time of it."""
    before, begun = _children_cpu(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"import {module}: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - begun, _children_cpu() - before


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _starts(names: list[str], settings: Settings, folder: Path) -> tuple[Samples, Samples, Samples]:
    starts: Samples = {name: [] for name in names}
    cpu: Samples = {name: [] for name in names}
    memory: Samples = {name: [] for name in names}
    for number, name in enumerate(turns(names, settings.starts)):
        home = folder / f"{name}-{number}"
        env = kernel_side.kernel_environment(home) if name == "kernel" else {}
        app = "benchmarks.peers.small_kernel:app" if name == "kernel" else "benchmarks.peers.small_fastapi:app"
        with Server(app, home, env, pinned=False) as server:
            starts[name].append(server.started_after)
            cpu[name].append(cpu_seconds(server.pid))
            request(server.port, "GET", "/healthz")
            time.sleep(IDLE_SECONDS)
            memory[name].append(resident_mib(server.pid))
    return starts, cpu, memory
