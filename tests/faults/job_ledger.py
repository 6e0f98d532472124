"""What handlers wrote down and what was acknowledged to enqueuers, in files that outlive whoever is killed."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """What a run came to."""

    jobs: int
    repeats: int
    """Starts of handlers beyond the first of each job."""
    finished_again: int
    """Handlers that had come to their end in a worker that was killed before that was kept."""


class JobLedger:
    """The lines so far; `read` takes in those that are new."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"
        self._acks = (folder / "acks.txt").open("a")
        self._read = 0
        self.acked: set[str] = set()
        self.starts: dict[str, list[Line]] = defaultdict(list)
        self.ends: dict[str, list[Line]] = defaultdict(list)
        self.others: list[Line] = []

    def close(self) -> None:
        """Ends the file of acknowledgements."""
        self._acks.close()

    def acknowledge(self, id: str) -> None:
        """A job of which its enqueuer was told that it is kept."""
        self._acks.write(f"{id}\n")
        self._acks.flush()
        self.acked.add(id)

    def read(self) -> "JobLedger":
        """Takes in what was written since."""
        if not self.path.exists():
            return self
        with self.path.open("rb") as file:
            file.seek(self._read)
            while (raw := file.readline()).endswith(b"\n"):
                self._read += len(raw)
                line = json.loads(raw)
                if line["at"] in ("start", "end"):
                    (self.starts if line["at"] == "start" else self.ends)[line["job"]].append(line)
                else:
                    self.others.append(line)
        return self

    def count(self, at: str, job: str) -> int:
        """Lines of one kind about a job."""
        if at in ("start", "end"):
            return len((self.starts if at == "start" else self.ends).get(job, ()))
        return sum(line["job"] == job and line["at"] == at for line in self.others)

    def last_end(self, pid: int) -> float:
        """When the last handler of a process came to its end; 0 where none did."""
        return max((each["time"] for lines in self.ends.values() for each in lines if each["pid"] == pid), default=0.0)

    def assert_all_ran(self, killed: Collection[int] = ()) -> Counts:
        """Every acknowledged job ran to its end, and again only where its worker was killed meanwhile."""
        self.read()
        lost = self.acked - self.ends.keys()
        assert not lost, f"{len(lost)} acknowledged jobs never ran to their end: {sorted(lost)[:5]}"
        for job, starts in self.starts.items():
            attempts = [line["attempt"] for line in starts]
            assert len(set(attempts)) == len(attempts), f"{job} began one attempt twice: {starts}"
            ordered = sorted(starts, key=lambda line: line["attempt"])
            stray = [line for line in ordered[:-1] if line["pid"] not in killed]
            assert not stray, f"{job} ran again although its worker was not killed: {ordered}, {self.ends[job]}"
            assert all(line["attempt"] > 1 for line in ordered[1:])
        ended = Counter({job: len(lines) for job, lines in self.ends.items()})
        repeats = sum(len(starts) - 1 for starts in self.starts.values())
        return Counts(len(self.ends), repeats, sum(ended.values()) - len(ended))
