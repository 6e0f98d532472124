"""What a place that keeps jobs must do. Every verb is one atomic step, so a process killed anywhere leaves it whole.

An attempt begins with a token. Whoever settles, beats or reports carries it, and what carries another one changes
nothing: so a worker that stood still while its job was given to another one cannot spoil what that one does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from app_kernel.core.jobs import JobFigures, Status
from app_kernel.jobs.records import Claims, Enqueued, JobFilter, JobRow, NewJob, Outcome

PRUNED_AT_ONCE = 500
NEEDS_REDIS = (
    "redis_url: missing; background jobs on MySQL need Redis: set it, or use PostgreSQL or SQLite, which keep jobs"
    " themselves"
)


def reason_of(exc: BaseException) -> str:
    """Why something failed, for a log line: in the words of what is underneath, where they are known."""
    cause = exc.__cause__ or exc
    told = f"{type(exc).__name__}: " if cause is not exc else ""
    return f"{told}{type(cause).__name__}: {cause}"


class Backend(ABC):
    """All queues of one service. Its verbs raise Unavailable while it is away."""

    @abstractmethod
    async def open(self) -> None:
        """Makes what is missing; returns when jobs can be enqueued."""

    @abstractmethod
    async def close(self) -> None:
        """Stops listening."""

    @abstractmethod
    def describe(self) -> str:
        """Where it is, without a secret: for a log line."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Adds jobs, all of them in one step, but those that are there already: by id, or unfinished by unique key."""

    @abstractmethod
    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        """Begins an attempt with up to `limit` due jobs, the first by rank, due time and order of arrival."""

    @abstractmethod
    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        """Ends attempts and adds what follows from them, in one step; the ids of those whose token was still right."""

    async def turn(self, outcomes: Sequence[Outcome], queue: str, limit: int, worker: str) -> tuple[set[str], Claims]:
        """`settle`, and `claim` for the places that this frees; in one step where that is quicker."""
        accepted = await self.settle(outcomes)
        return accepted, await self.claim(queue, limit, worker)

    @abstractmethod
    async def beat(self, held: Sequence[tuple[str, str]]) -> dict[str, bool]:
        """Shows that these (id, token) still run: by id, whether one is to be cancelled. One left out was lost."""

    @abstractmethod
    async def running(self) -> list[tuple[str, str, int]]:
        """Every running job as (id, token, beats so far)."""

    @abstractmethod
    async def report(self, id: str, token: str, progress: float, text: str | None) -> bool:
        """Keeps how far a running job is; False when it was lost."""

    @abstractmethod
    async def get(self, id: str) -> JobRow | None:
        """A job, or None."""

    @abstractmethod
    async def find(self, wanted: JobFilter) -> list[JobRow]:
        """Jobs, the latest enqueued first; their bodies may be left empty."""

    @abstractmethod
    async def cancel(self, id: str) -> Status | None:
        """Cancels one that waits, asks a running one to end; how it stands then, None when there is no such job."""

    @abstractmethod
    async def retry(self, id: str) -> Status | None:
        """Makes a dead or cancelled job queued, its attempts forgotten; None for any other.

        Raises JobConflict when another unfinished job has its unique key.
        """

    @abstractmethod
    async def pause(self, queue: str, paused: bool) -> None:
        """Lets nobody claim jobs of a queue, or everybody again."""

    @abstractmethod
    async def prune(self) -> int:
        """Forgets up to PRUNED_AT_ONCE finished jobs whose time is over; how many."""

    @abstractmethod
    async def figures(self) -> JobFigures:
        """How the queues stand."""

    @abstractmethod
    def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back when there may be something to claim; best effort. Returns what ends that."""

    @abstractmethod
    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back when a running job may be to end; best effort. Returns what ends that."""

    async def look(self) -> None:  # noqa: B027 - most backends have nothing to notice
        """Notices what may have happened to the place itself, such as that it was emptied; called every few seconds."""

    async def statuses(self, ids: Sequence[str]) -> Mapping[str, Status]:
        """How jobs stand; one that is unknown is left out."""
        rows = [row for id in ids if (row := await self.get(id)) is not None]
        return {row.id: row.status for row in rows}
