"""A group as one picture: a bar for each of its figures, as SVG. The same results give the same file.

Rows that are held against the same peer in the same measure are one section with an axis of its own, which begins at
zero, so that the lengths of its bars may be compared.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.kept import Kept
from benchmarks.report import Row

WIDTH, MARGIN = 960, 20
LABEL, BARS = 310, 350
"""The columns of the names and of the bars; what is left is for the figures."""
LINE, BAR, GAP = 15, 11, 5
NAME_LETTERS, TITLE_LETTERS = 47, 110
"""How many letters fit into a line of the names, and of a title."""
MOST_TICKS = 6

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff; stroke: #d1d9e0 }
.title { font-size: 15px; font-weight: 600 }
.section { font-weight: 600 }
.muted { fill: #59636e; font-size: 11px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.grid { stroke: #d1d9e0 }
.zero { stroke: #59636e }
.peer { stroke: #59636e; stroke-dasharray: 3 3 }
.goal { stroke: #0550ae; stroke-width: 3 }
.range { stroke: #1f2328; stroke-width: 1.5 }
.met { fill: #2f7d4f }
.missed { fill: #d4551b }
.open { fill: #8b949e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117; stroke: #3d444d }
.muted { fill: #9198a1 }
.grid { stroke: #3d444d }
.zero, .peer { stroke: #9198a1 }
.goal { stroke: #79c0ff }
.range { stroke: #e6edf3 }
.met { fill: #2ea043 }
.missed { fill: #f0883e }
.open { fill: #6e7681 }
}
"""
LEGEND = (("met", "meets its goal"), ("missed", "misses it"), ("open", "no goal is set"))
_WORDS = {True: "met", False: "missed", None: "open"}


@dataclass(frozen=True, slots=True)
class Axis:
    """Values to the left edge, the right edge and what is between them."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """From zero, or below where a value is, to a round number that no value is above."""
        low, high = min(0.0, *values), max(0.0, *values)
        step = _round_step((high - low) / MOST_TICKS)
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step, step)

    def x(self, value: float) -> float:
        """Where a value lies in the picture."""
        return MARGIN + LABEL + BARS * (value - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[float]:
        """The values that are written below."""
        for number in range(round((self.high - self.low) / self.step) + 1):
            yield self.low + number * self.step


@dataclass(slots=True)
class _Canvas:
    """The elements so far, and how far down they reach."""

    y: float = MARGIN
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, said: str, kind: str = "") -> None:
        mark = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{mark}>{escape(said)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def lines(self, said: str, letters: int, kind: str) -> None:
        for part in textwrap.wrap(said, letters):
            self.y += LINE + 2
            self.text(MARGIN, self.y, part, kind)


def draw(group: Kept) -> str:
    """The group's picture, a whole SVG document."""
    canvas = _Canvas()
    first, *others = group.parts
    canvas.lines(f"{group.id}: {_plain(first.title)}", TITLE_LETTERS, "title")
    _draw_legend(canvas)
    for part in group.parts:
        if others and part is not first:
            canvas.y += LINE
            canvas.lines(f"{group.id}: {_plain(part.title)}", TITLE_LETTERS, "title")
        for _, rows in itertools.groupby(sorted_rows(part.rows), key=measure):
            _draw_section(canvas, list(rows))
    height = canvas.y + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
        f' height="{height:.0f}" role="img" aria-labelledby="title desc">'
    )
    name = escape(f"{group.id}: {_plain(first.title)}")
    told = escape("; ".join(spoken(row) for row in group.rows) + ".")
    paper = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="6" class="paper"/>'
    titles = [f'<title id="title">{name}</title>', f'<desc id="desc">{told}</desc>', f"<style>{_STYLE}</style>"]
    return "\n".join([head, *titles, paper, *canvas.parts, "</svg>"]) + "\n"


def measure(row: Row) -> tuple[str, str]:
    """Against whom and in what: rows of the same measure share an axis."""
    peer = row.peer.partition(" (")[0]
    if row.difference:
        return peer, f"kernel - peer, {row.unit}, {'less' if _less(row) else 'more'} is better"
    return peer, f"kernel / peer, {'less' if _less(row) else 'more'} is better"


def sorted_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of a measure together, else in their order."""
    order = {kind: number for number, kind in enumerate(dict.fromkeys(measure(row) for row in rows))}
    return sorted(rows, key=lambda row: order[measure(row)])


def compared(row: Row) -> str:
    """The ratio or the difference, with its range over the rounds, as the table has it."""
    return row.cells()[4]


def spoken(row: Row) -> str:
    """The figure in words, for who does not see its bar."""
    said = f"{_plain(row.figure)} beside {row.peer}: {compared(row)}"
    return said if row.goal is None else f"{said}, goal {row.goal}, {_WORDS[row.met]}"


def _less(row: Row) -> bool:
    return row.goal.sign == "<=" if row.goal is not None else row.unit != "/s"


def _plain(text: str) -> str:
    return text.replace("`", "")


def _round_step(least: float) -> float:
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _draw_legend(canvas: _Canvas) -> None:
    canvas.y += LINE + 4
    x = float(MARGIN)
    for kind, said in LEGEND:
        canvas.parts.append(f'<rect x="{x:.1f}" y="{canvas.y - 9:.1f}" width="10" height="10" class="{kind}"/>')
        canvas.text(x + 15, canvas.y, said, "muted")
        x += 120
    for kind, said in (("goal", "the goal"), ("peer", "as the peer"), ("range", "range over the rounds")):
        if kind == "range":
            canvas.line(x, canvas.y - 4, x + 14, canvas.y - 4, kind)
        else:
            canvas.line(x + 5, canvas.y - 10, x + 5, canvas.y + 1, kind)
        canvas.text(x + 18, canvas.y, said, "muted")
        x += 110


def _draw_section(canvas: _Canvas, rows: Sequence[Row]) -> None:
    peer, measured = measure(rows[0])
    differs = rows[0].difference
    goals = [row.goal.bound for row in rows if row.goal is not None]
    axis = Axis.over([*(row.compared for row in rows), *(max(row.ratios, default=0.0) for row in rows), *goals,
                      0.0 if differs else 1.0])  # fmt: skip
    canvas.y += LINE + 12
    canvas.text(MARGIN, canvas.y, f"beside {peer}", "section")
    canvas.text(MARGIN + LABEL, canvas.y, measured, "muted")
    canvas.y += GAP + 2
    heights = [LINE * len(_name(row)) + GAP for row in rows]
    top, bottom = canvas.y, canvas.y + sum(heights)
    for value in axis.ticks():
        kind = "zero" if abs(value) < axis.step / 2 else "grid"
        canvas.line(axis.x(value), top, axis.x(value), bottom, kind)
        canvas.text(axis.x(value), bottom + 13, f"{value:.4g}{'' if differs else 'x'}", "muted middle")
    if not differs:
        canvas.line(axis.x(1), top, axis.x(1), bottom, "peer")
    for row, height in zip(rows, heights, strict=True):
        _draw_row(canvas, row, axis, height)
    canvas.y = bottom + 16


def _name(row: Row) -> list[str]:
    return textwrap.wrap(_plain(row.figure), NAME_LETTERS)


def _draw_row(canvas: _Canvas, row: Row, axis: Axis, height: float) -> None:
    middle = canvas.y + height / 2
    for number, part in enumerate(lines := _name(row)):
        y = middle + 4 + LINE * (number - (len(lines) - 1) / 2)
        canvas.text(MARGIN + LABEL - 8, y, part, "end")
    start, end = sorted((axis.x(0), axis.x(row.compared)))
    canvas.parts.append(
        f'<rect x="{start:.2f}" y="{middle - BAR / 2:.1f}" width="{end - start:.2f}" height="{BAR}"'
        f' class="bar {_WORDS[row.met]}"><title>{escape(spoken(row))}</title></rect>'
    )
    if row.ratios:
        canvas.line(axis.x(min(row.ratios)), middle, axis.x(max(row.ratios)), middle, "range")
    if row.goal is not None:
        x = axis.x(row.goal.bound)
        canvas.line(x, canvas.y + 1, x, canvas.y + height - 1, "goal")
    goal = "" if row.goal is None else f", goal {row.goal}: {_WORDS[row.met]}"
    canvas.text(MARGIN + LABEL + BARS + 10, middle + 4, compared(row) + goal)
    canvas.y += height
