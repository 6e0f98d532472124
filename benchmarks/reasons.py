"""Why a goal is not met, as far as a profile has shown it; docs/benchmarks.md quotes it beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.kept import Kept
from benchmarks.report import Row

UNKNOWN = "No reason is known yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Holds for the missed figures of a group whose name begins so, beside peers whose name begins so."""

    group: str
    figures: tuple[str, ...]
    peer: str = ""
    text: str

    def explains(self, group: str, row: Row) -> bool:
        """Whether it is about this row."""
        return group == self.group and row.figure.startswith(self.figures) and row.peer.startswith(self.peer)


REASONS: tuple[Reason, ...] = (
    Reason(
        group="P1",
        figures=("in-process", "HTTP"),
        text="""Bare FastAPI makes such an answer in about 60 us, so the goal leaves 18 us for the rest: who calls,
        limits, request id, log line, figures, headers. They take 40 to 50 us, in many places and no large one (the
        table of layers below): 27 us are the outermost layer's, of which 9 us are the log line, 10 us telling
        metrics, statistics, metering and traces of the finished request, and 8 us id, context and headers; 6 to 10 us
        are the limiter's, 6 us the token's, and 6 to 13 us FastAPI's own price of a dependency. Lines that wait for
        each other would save the 5 us of their system call, and a killed process would lose its last ones. Over HTTP
        the server checks and writes eight more headers for each answer, and the ratio of requests cannot be better
        than that of CPU time.""",
    ),
    Reason(
        group="P2",
        figures=("create", "get", "list"),
        text="""In processor time a request, on a machine that does nothing else, a create takes the kernel 0.65x of
        what the service written by hand needs, a get 0.97x and a list 0.84x, and all of them a quarter of the ORM's.
        A get is the cheapest of them, so P1's layers weigh most there (limits, log line, figures, headers, some 50
        us), and the peer does not have them: what the store saves, they take. It cannot be faster until they cost
        less.""",
    ),
    Reason(
        group="P3",
        figures=("find 50",),
        text="""Within the noise of the goal. In processor time the kernel needs 160 us for the 50 rows and the raw
        driver 120: it makes dicts of them, and decodes the booleans and the document, which the raw side leaves.""",
    ),
    Reason(
        group="P3",
        figures=("save, 32 callers",),
        text="""With NORMAL nothing waits for the disk, and a save is Python against C: 73 us of processor time a call
        with history, version and the answer as a dict, where the raw statements take 40. The range of the rounds
        includes the goal.""",
    ),
    Reason(
        group="P4",
        figures=("save of a given id",),
        text="""One statement changes the row, keeps its past and asks whether the schema moved on. With 32 callers
        the client's process is short of processor time, of which a call takes 140 us, and 100 with the raw driver: 13
        fields are checked and encoded, and a dict comes back. On an idle machine one caller was at 0.9x and 32 at
        0.7x.""",
    ),
    Reason(
        group="P4",
        figures=("get",),
        peer="SQLAlchemy",
        text="""In processor time it is 46 us beside 479, which is the goal; in calls a second the server's own work,
        on the same two cores, is in both of them.""",
    ),
    Reason(
        group="P4",
        figures=("get",),
        text="""A call checks with its answer that the schema has not moved on, and makes a dict of the row. With one
        caller the kernel is ahead of the raw driver with a pool of as many connections. With 32 a get takes it 86 us of
        processor time on MariaDB and the raw driver 56; where these 30 us go was not profiled.""",
    ),
    Reason(
        group="P5",
        figures=("get", "find 50"),
        text="""The rows of a million do not fit the page cache of a connection (16 MB), so SQLite asks the system for
        pages it had at hand among ten thousand. The raw driver loses as much on the same files, 2.0x and 2.5x (the
        second table). Mapping the file into memory would help a little, and turn an error of the disk into the end of
        the process.""",
    ),
    Reason(
        group="P6",
        figures=("enqueue one by one",),
        text="""In processor time a call takes 126 us, and 98 with SAQ; where the 28 us go was not looked into yet. On
        an idle machine an earlier version was at 0.88x and 0.95x of SAQ and ahead of the others. In hundreds a job
        takes 16 us.""",
    ),
    Reason(
        group="P6",
        figures=("drain",),
        text="""In processor time a job takes the kernel's workers 170 us, SAQ's 401 and taskiq's 576; on an idle
        machine an earlier version drained 2.9x and 3.3x as many a second. Here two workers, Redis and what else ran
        shared two cores, in two rounds.""",
    ),
    Reason(
        group="P7",
        figures=("p50", "p99"),
        text="""On an idle machine an earlier version was 0.0 and 0.3 ms above SAQ, and had a p99 of 4.5 ms in one
        process and of 6.3 ms across two. Here a worker that wakes waits until others have had their turn, and a
        commit waits for their writes; the peers' p99 is as far from what it is on an idle machine.""",
    ),
    Reason(
        group="P8",
        figures=("create",),
        text="""A create that is audited is a fifth more work for the service (the rows of processor time): a message
        made in Python, 25 us, a row more for SQLite, 6 us, and the message on its way. In a closed loop at the
        service's limit the slowest answers grow by at least as much.""",
    ),
    Reason(
        group="P11",
        figures=("`import",),
        text="""In processor time, on a machine that does nothing else, the import is about 0.4 s above FastAPI's own
        0.3 s. A third of that is FastAPI's work on the kernel's 90 routes, 45 ms are pydantic's models, 40 ms
        dataclasses, 35 ms the console part of structlog, 35 ms `pydantic.v1`, which FastAPI imports with the first
        route of any application, 30 ms regular expressions, and the rest is the reading of 409 modules. Nothing
        optional is imported. Routes made only when a service is would move that third from the import to the start,
        where every service pays for it all the same.""",
    ),
    Reason(
        group="P11",
        figures=("process start",),
        text="""The import (see above), and less than a tenth of a second of processor time after it: two databases
        are opened, and their tables looked at or made.""",
    ),
)


def missed(kept: Sequence[Kept]) -> list[tuple[str, Row]]:
    """Every figure that misses its goal, with its group."""
    return [(group.id, row) for group in kept for row in group.rows if row.met is False]


def explained(
    kept: Sequence[Kept], reasons: Sequence[Reason] = REASONS
) -> list[tuple[str, str, list[tuple[str, Row]]]]:
    """Each group and reason with the missed figures that it is about; the first reason that fits a figure counts."""
    found: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for group, row in missed(kept):
        text = next((reason.text for reason in reasons if reason.explains(group, row)), UNKNOWN)
        text = " ".join(text.split())
        found.setdefault((group, text), []).append((group, row))
    return [(group, text, rows) for (group, text), rows in found.items()]
