"""`python -m benchmarks [P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11] [--rounds N] [--quick]`: measure, print, keep in results/.

Only a whole run is kept as latest.md and latest.json: one with groups named is partial, a quick one quick. What a whole
run measured is written into docs/benchmarks.md too, with a picture of each group; `--merge` does so with the groups
of a partial run, which then replace their older selves there. `--render` measures nothing and writes that page anew.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import document, kept, kernel_side, machine, report
from benchmarks import settings as bounds
from benchmarks.harness import BenchError
from benchmarks.kept import Kept
from benchmarks.settings import Settings

GROUPS = {
    "P1": ("p1_request:run",),
    "P2": ("p2_crud:run_on_sqlite", "p2_crud:run_on_postgres"),
    "P3": ("p3_store:run",),
    "P4": ("p4_store:run", "p4_store:run_on_mariadb"),
    "P5": ("p5_growth:run_on_sqlite", "p5_growth:run_on_postgres"),
    "P6": ("p6_jobs:run",),
    "P7": ("p7_latency:run",),
    "P8": ("p8_audit:run",),
    "P9": ("p9_logins:run",),
    "P10": ("p10_small:run",),
    "P11": ("p11_start:run",),
}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the chosen groups; 1 when one could not be measured, 0 otherwise, goals missed or not."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when none is named")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="a few minutes; kept as quick.md")
    parser.add_argument("--merge", action="store_true", help="write the named groups into docs/benchmarks.md")
    parser.add_argument("--render", action="store_true", help="write docs/benchmarks.md anew, measure nothing")
    options = parser.parse_args()
    if options.render:
        document.write(kept.load())
        return 0
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}")
    if options.merge and options.quick:
        parser.error("quick figures are too coarse for the documentation")
    settings = bounds.quick(options.rounds) if options.quick else bounds.full(options.rounds)
    about = machine.about()
    about["kernel"] = kernel_side.missing() or "measured"
    measured: list[report.Group] = []
    failed = False
    for name in options.groups or GROUPS:
        found = _measure(name, settings)
        measured += found.parts
        whole = all(part.rows for part in found.parts)
        failed = failed or not whole
        if whole and (options.merge or not (options.groups or settings.quick)):
            # Group by group: a run takes long, and what ends it midway takes nothing back.
            document.keep([found])
    about["load average"] += f" before, {os.getloadavg()[0]:.1f} after"
    print(report.markdown(measured, about))
    kept_as = "quick" if settings.quick else "partial" if options.groups else "latest"
    report.write(measured, about, RESULTS, kept_as)
    return 1 if failed else 0


def _measure(name: str, settings: Settings) -> Kept:
    """The parts of one group, with what the machine was like meanwhile; one that cannot be measured has no rows."""
    about = machine.about()
    parts: list[report.Group] = []
    for part in GROUPS[name]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begun = time.perf_counter()
        try:
            group = _run(part)(settings)
        except BenchError as exc:
            group = report.Group(name, f"not measured ({part})", notes=[f"not measured: {exc}"])
        group.seconds = time.perf_counter() - begun
        parts.append(group)
    about["load average"] += f" before, {os.getloadavg()[0]:.1f} after"
    return Kept(id=name, about=about, rounds=settings.rounds, parts=tuple(parts))


def _run(part: str) -> Callable[[Settings], report.Group]:
    module, _, function = part.partition(":")
    found: Callable[[Settings], report.Group] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return found


if __name__ == "__main__":
    sys.exit(main())
