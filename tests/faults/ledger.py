"""What a writer tried and what was acknowledged to it, kept in a file by the process that is not killed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from app_kernel.db.store import Store
from app_kernel.db.table import HISTORY_FIELDS
from tests.faults.recorder import ENTITY, values

Row = dict[str, Any]


@dataclass
class Ledger:
    """Operations by their mark."""

    intents: dict[str, Row] = field(default_factory=dict)
    acks: dict[str, Row] = field(default_factory=dict)

    def add(self, line: Row) -> None:
        """One line of a writer."""
        if "intent" in line:
            self.intents[line["intent"]] = line
        elif "ack" in line:
            self.acks[line["ack"]] = line

    @property
    def acked_rows(self) -> dict[str, Row]:
        """The rows that acknowledged saves returned, by mark."""
        return {mark: ack["row"] for mark, ack in self.acks.items() if "row" in ack}

    @property
    def acked_marks(self) -> Iterator[tuple[str, str, int, str]]:
        """Acknowledged deletes, purges and restores: mark, id, version, action."""
        for mark, ack in self.acks.items():
            if "version" in ack:
                intent = self.intents[mark]
                yield mark, intent["id"], ack["version"], intent["verb"]


def read_ledger(path: Path) -> Ledger:
    """The ledger as the file has it."""
    ledger = Ledger()
    with path.open() as lines:
        for line in lines:
            ledger.add(json.loads(line))
    return ledger


def write_line(file: TextIOWrapper, line: Row) -> None:
    """Appends one line and hands it to the system."""
    file.write(json.dumps(line) + "\n")
    file.flush()


def record(path: Path, lines: Iterable[Row]) -> Ledger:
    """Appends all lines to the file; returns what they say."""
    ledger = Ledger()
    with path.open("a") as file:
        for line in lines:
            write_line(file, line)
            ledger.add(line)
    return ledger


async def assert_kept(db: Store, ledger: Ledger, run: str) -> int:
    """Every acknowledged write of a run, whose ledger this is, is in the history as acknowledged, and exactly once.

    What was tried and never acknowledged may be there, whole, or not. Returns how many acknowledged saves were found.
    """
    history = await db.find_entities(f"{ENTITY}_history", "[_comment] LIKE ?", (f"{run}:%",))
    by_mark = {row["_comment"]: row for row in history}
    assert len(by_mark) == len(history), "a save was done twice"
    strangers = by_mark.keys() - ledger.intents.keys()
    assert not strangers, f"history of saves that nobody tried: {sorted(strangers)[:5]}"
    mine = ledger.acked_rows
    for mark, acked in mine.items():
        assert mark in by_mark, f"the acknowledged save {mark} is lost"
        found = {name: value for name, value in values(by_mark[mark]).items() if name not in HISTORY_FIELDS}
        assert found == acked, f"the acknowledged save {mark} is not as acknowledged: {found}, {acked}"
    for mark in by_mark.keys() - mine.keys():
        tried = ledger.intents[mark]["fields"] | {"mark": mark}
        half = {name: value for name, value in tried.items() if by_mark[mark].get(name) != value}
        assert not half, f"the unacknowledged save {mark} happened in part: {half}"
    await _assert_marks_kept(db, ledger)
    return len(mine)


async def _assert_marks_kept(db: Store, ledger: Ledger) -> None:
    for mark, id, version, action in ledger.acked_marks:
        found = await db.find_entities(f"{ENTITY}_history", "[id] = ? AND [_version] = ?", (id, version))
        assert [row["_action"] for row in found] == [action], f"the acknowledged {action} {mark} of {id} is lost"
