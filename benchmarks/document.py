"""The page docs/benchmarks.md and a picture for each group, rendered from the kept results and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import chart, kept
from benchmarks.harness import ROOT
from benchmarks.kept import Kept
from benchmarks.reasons import explained
from benchmarks.report import Group, Row, table

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = "benchmarks"
"""The pictures' folder, seen from the page."""
HEAD = ("figure", "kernel", "peer", "peer's figure", "ratio (range over rounds)", "goal", "met")

BUSY = 1.5
"""Processes a core that want to run, from which on a machine counts as busy."""
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ON_A_BUSY_MACHINE = """\
*Measured on a busy machine: {groups}.* More processes wanted to run than it has cores. Whatever waits for its turn of
the processor or of the disk is late there, and a server of one busy thread gets a smaller share of a core than one with
threads that take turns. Of these groups the rows of processor time say more than those of requests, seconds and
milliseconds."""

_INTRODUCTION = """\
# Benchmarks

What the kernel costs, beside what one would use without it: the bare framework, the raw driver, the queue that the jobs
are built on, a service written by hand. `make bench` measures all of it and writes this page and its pictures;
`python -m benchmarks P4 --merge` measures one group again and puts it in the place of its older figures, and
`python -m benchmarks --render` writes the page again from [the kept results](benchmarks/results.json).

## How it is measured

- Both sides run in the same minutes on the same machine, in turns (A B, B A, A B, ...), and each ratio is the median of
  the ratios of the single rounds. A figure of one side alone says more about the machine than about the code: read the
  ratio, and the range of it.
- What the kernel does by default is on: sign-in, request id, access log, request figures, rate limit (with a limit that
  nobody reaches), history, audit, metering. No mode exists only to be measured.
- Both sides promise the same: the same pragmas and the same `synchronous` on SQLite, the server's own durability
  elsewhere, as many connections.
- Server and client have a core each over HTTP. Beside requests a second stands the CPU time of the server's process for
  each request, and *in process* means the ASGI application called without server or socket: both repeat better.
- The load average stands beside each group because other work ran on the machine meanwhile. It makes both sides slower
  and their ratio less sure, and what is held against a fixed figure (milliseconds, logins a second) worse than it is.
"""


def render(groups: Sequence[Kept], pictures: str = PICTURES) -> str:
    """The page."""
    machines = _machines(groups)
    parts = [_INTRODUCTION, "## Where and when", ""]
    for name, about in machines.items():
        libraries = ", ".join(f"{library} {version}" for library, version in about["libraries"].items())
        place = f"{about['processor']}, {about['memory']}, {about['system']}, Python {about['python']}"
        parts.append(f"- {name}{place}; {libraries}.")
    parts += ["", table(("group", "what", "goals met", "measured", "rounds", "load average", "fsync of 4 KiB"),
                        [_summary(group, machines) for group in groups]), ""]  # fmt: skip
    parts += ["## What misses its goal, and why", "", *_misses(groups)]
    for group in groups:
        parts += _section(group, pictures)
    return "\n".join(parts).rstrip("\n") + "\n"


def files(groups: Sequence[Kept], page: Path = PAGE) -> dict[Path, str]:
    """The page and the pictures, by where they are."""
    pictures = {page.parent / PICTURES / f"{group.id.lower()}.svg": chart.draw(group) for group in groups}
    return {page: render(groups), **pictures}


def write(groups: Sequence[Kept]) -> None:
    """Writes the page and the pictures."""
    for file, text in files(groups).items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def keep(measured: Sequence[Kept]) -> None:
    """Puts measured groups in the place of their older selves, in the results and in what is rendered from them."""
    groups = kept.merge(kept.load(), measured)
    kept.save(groups)
    # As loaded, so that what is written now and what is rendered later come from the same digits.
    write(kept.load())


def _machines(groups: Sequence[Kept]) -> dict[str, dict[str, Any]]:
    """What was measured on, by a name that is empty where all groups were measured on the same."""
    found: list[dict[str, Any]] = []
    for group in groups:
        if all(_place(group.about) != _place(about) for about in found):
            found.append(group.about)
    return {"" if len(found) == 1 else f"Machine {number}: ": about for number, about in enumerate(found, start=1)}


def _place(about: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(about[name] for name in ("processor", "memory", "system", "python", "libraries"))


def _summary(group: Kept, machines: dict[str, dict[str, Any]]) -> list[str]:
    name = next(name for name, about in machines.items() if _place(about) == _place(group.about))
    judged = [row.met for row in group.rows if row.met is not None]
    title = group.parts[0].title
    on = f"{group.about['date']}, {name.partition(':')[0].lower()}" if name else group.about["date"]
    return [
        f"[{group.id}](#{_anchor(group)})", title, f"{judged.count(True)} of {len(judged)}", on, str(group.rounds),
        group.about["load average"], group.about["fsync of 4 KiB"],
    ]  # fmt: skip


def _anchor(group: Kept) -> str:
    return group.id.lower()


def is_busy(about: dict[str, Any]) -> bool:
    """Whether more wanted to run than there are cores, before or after: the benchmark itself keeps one and a half."""
    loads = [float(load) for load in _NUMBER.findall(about["load average"])]
    return max(loads) > BUSY * int(about["cores"])


def _misses(groups: Sequence[Kept]) -> list[str]:
    busy = ", ".join(group.id for group in groups if is_busy(group.about))
    parts = [_ON_A_BUSY_MACHINE.format(groups=busy), ""] if busy else []
    for id, text, rows in explained(groups):
        parts += [f"**{id}.** {text}", "", *(f"- {_told(row)}" for _, row in rows), ""]
    return parts if any(row.met is False for group in groups for row in group.rows) else ["Nothing does.", ""]


def _told(row: Row) -> str:
    return f"{row.figure}, beside {row.peer}: {chart.compared(row)}, goal {row.goal}"


def _section(group: Kept, pictures: str) -> list[str]:
    name = f"{pictures}/{group.id.lower()}.svg"
    parts = [f"## {group.id}", "", f"![{group.id}, one bar for each figure of the table below]({name})", ""]
    for part in group.parts:
        parts += [f"### {group.id}: {part.title}", "", *_tables(part)]
    return parts


def _tables(part: Group) -> list[str]:
    lines = [table(HEAD, [row.cells() for row in part.rows]), ""] if part.rows else []
    for extra in part.plain:
        lines += ["<details>", f"<summary>{extra.title}</summary>", "", table(extra.head, extra.rows), "", "</details>"]
        lines += [""]
    lines += [*(f"- {note}" for note in part.notes), f"- Measured in {part.seconds:.0f} s.", ""]
    return lines
