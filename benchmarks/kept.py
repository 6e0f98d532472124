"""The results that the documentation shows: one JSON file, in which a group is replaced by its newest measurement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.report import Goal, Group, Plain, Row

RESULTS = ROOT / "docs" / "benchmarks" / "results.json"
_DIGITS = 6
"""Significant ones that are kept; what is shown has three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One group as it was measured last: on what, when, in how many rounds."""

    id: str
    about: dict[str, Any]
    rounds: int
    parts: tuple[Group, ...]

    @property
    def rows(self) -> list[Row]:
        """The rows of all parts."""
        return [row for part in self.parts for row in part.rows]


def load(file: Path = RESULTS) -> list[Kept]:
    """The kept groups, in the order of their numbers; none where no run was kept yet."""
    if not file.exists():
        return []
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return [_from_json(id, found[id]) for id in sorted(found, key=_number)]


def merge(kept: Sequence[Kept], measured: Sequence[Kept]) -> list[Kept]:
    """What was kept, each group that was measured in the place of its older self."""
    newest = {group.id: group for group in [*kept, *measured]}
    return [newest[id] for id in sorted(newest, key=_number)]


def save(kept: Sequence[Kept], file: Path = RESULTS) -> None:
    """Writes the groups, without their raw samples."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {group.id: _to_json(group) for group in kept}
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _number(id: str) -> int:
    return int(id.removeprefix("P"))


def _to_json(group: Kept) -> dict[str, Any]:
    parts = [
        {
            "title": part.title,
            "seconds": round(part.seconds),
            "rows": [_rounded(asdict(row)) for row in part.rows],
            "plain": [asdict(plain) for plain in part.plain],
            "notes": part.notes,
        }
        for part in group.parts
    ]
    return {"about": group.about, "rounds": group.rounds, "parts": parts}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    figures = {name: _round(row[name]) for name in ("ours", "theirs")}
    return {**row, **figures, "ratios": [_round(ratio) for ratio in row["ratios"]]}


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _from_json(id: str, found: dict[str, Any]) -> Kept:
    parts = tuple(
        Group(
            id,
            part["title"],
            rows=[_row(row) for row in part["rows"]],
            plain=[_plain(plain) for plain in part["plain"]],
            notes=list(part["notes"]),
            seconds=part["seconds"],
        )
        for part in found["parts"]
    )
    return Kept(id=id, about=found["about"], rounds=found["rounds"], parts=parts)


def _row(found: dict[str, Any]) -> Row:
    goal = None if found["goal"] is None else Goal(**found["goal"])
    return Row(**{**found, "goal": goal, "ratios": tuple(found["ratios"])})


def _plain(found: dict[str, Any]) -> Plain:
    return Plain(found["title"], tuple(found["head"]), tuple(tuple(row) for row in found["rows"]))
