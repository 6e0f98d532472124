"""Rows with a figure, a peer's figure, a ratio and a goal; printed as Markdown, kept as JSON."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a ratio (`unit` "x") or on a difference (any other unit)."""

    sign: str
    bound: float
    unit: str = "x"

    def __str__(self) -> str:
        joint = "" if self.unit == "x" else " "
        return f"{self.sign} {self.bound:g}{joint}{self.unit}"

    def is_met(self, value: float) -> bool:
        """True when the value lies on the right side of the bound."""
        return _COMPARE[self.sign](value, self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison; `compared` is what the goal judges: ours / peer, or ours - peer for differences.

    Where `ratios` of the single rounds are given, it is their median: both sides of a round ran next to each other in
    time, so what else the machine did meanwhile cancels out better than in the ratio of two medians.
    """

    figure: str
    unit: str
    ours: float
    peer: str
    theirs: float
    goal: Goal | None = None
    difference: bool = False
    ratios: tuple[float, ...] = ()

    @property
    def compared(self) -> float:
        """The ratio, or the difference where the goal is one."""
        if self.ratios:
            return median(self.ratios)
        return self.ours - self.theirs if self.difference else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """None where no goal was set."""
        return None if self.goal is None else self.goal.is_met(self.compared)

    def cells(self) -> list[str]:
        """The row as Markdown cells."""
        compared = f"{self.compared:+.2f} {self.unit}" if self.difference else f"{self.compared:.2f}x"
        if self.ratios:
            compared += f" ({min(self.ratios):.2f}-{max(self.ratios):.2f})"
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        goal = "" if self.goal is None else str(self.goal)
        ours, theirs = number(self.ours, self.unit), number(self.theirs, self.unit)
        return [self.figure, ours, self.peer, theirs, compared, goal, met]


@dataclass(frozen=True, slots=True)
class Plain:
    """A table that compares nothing: latencies, layers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Group:
    """What one group measured."""

    id: str
    title: str
    rows: list[Row] = field(default_factory=list)
    plain: list[Plain] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def number(value: float, unit: str) -> str:
    """Three significant digits below a hundred, whole numbers above."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown(groups: Sequence[Group], about: dict[str, Any]) -> str:
    """The whole report."""
    parts = [
        "# Benchmarks",
        "",
        "; ".join(f"{key} {value}" for key, value in about.items() if key not in {"libraries", "cores"}),
    ]
    parts += ["", ", ".join(f"{name} {version}" for name, version in about.get("libraries", {}).items())]
    for group in groups:
        parts += ["", f"## {group.id}: {group.title}", ""]
        if group.rows:
            head = ("figure", "kernel", "peer", "peer's figure", "ratio (range over rounds)", "goal", "met")
            parts.append(table(head, [row.cells() for row in group.rows]))
        for extra in group.plain:
            parts += ["", f"### {extra.title}", "", table(extra.head, extra.rows)]
        if group.notes:
            parts += ["", *(f"- {note}" for note in group.notes)]
        parts += ["", f"({group.seconds:.0f} s)"]
    return "\n".join(parts) + "\n"


def as_json(groups: Sequence[Group], about: dict[str, Any]) -> dict[str, Any]:
    """The report as data, raw samples included."""
    listed = []
    for group in groups:
        rows = [
            {**asdict(row), "goal": row.goal and str(row.goal), "compared": row.compared, "met": row.met}
            for row in group.rows
        ]
        listed.append({**asdict(group), "rows": rows})
    return {"about": about, "groups": listed}


def write(groups: Sequence[Group], about: dict[str, Any], folder: Path, name: str) -> None:
    """Write `<name>.md` and `<name>.json` into the folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(markdown(groups, about), encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(as_json(groups, about), indent=1) + "\n", encoding="utf-8")
