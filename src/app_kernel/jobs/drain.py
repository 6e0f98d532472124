"""Running what is due, one job after another: for tests, and for scripts that want to see the end of it."""

from collections.abc import Mapping

from app_kernel.core.context import Context, in_context
from app_kernel.core.jobs import DEFAULT_QUEUE, JobView, Task
from app_kernel.core.kernel import Kernel
from app_kernel.core.transaction import enter_transaction, innermost_transaction
from app_kernel.jobs.execution import Executor
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.base import KernelQueue
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.runner import QueueWorker
from app_kernel.jobs.watchdog import Watchdog


async def drain(kernel: Kernel, backend: Backend, tasks: Mapping[str, Task]) -> list[JobView]:
    """Runs jobs of every queue until none is due; how each of them stood after its attempt, in their order."""
    settler, known = Settler(backend), dict(tasks)
    executor = Executor(kernel, backend, Watchdog())
    workers: dict[str, QueueWorker] = {}
    ran: list[JobView] = []

    def worker_of(name: str) -> QueueWorker:
        queue = KernelQueue(name, backend, settler, known, kernel.emit, waits=False)
        return QueueWorker(queue, executor, 1)

    outer = innermost_transaction()
    with in_context(Context(kernel=kernel)):
        enter_transaction(None)
        try:
            found = True
            while found:
                found = False
                # Each time, as a job may have enqueued one into another queue.
                for name in await _queues(backend, known):
                    worker = workers.get(name) or workers.setdefault(name, worker_of(name))
                    while (id := await _run_one(worker)) is not None:
                        found = True
                        if (row := await backend.get(id)) is not None:
                            ran.append(row.view(whole=True))
        finally:
            enter_transaction(outer)
            for worker in workers.values():
                worker.pool.shutdown(wait=False)
    return ran


async def _queues(backend: Backend, tasks: Mapping[str, Task]) -> list[str]:
    counts = (await backend.figures()).counts
    return sorted({queue for queue, _ in counts} | {task.queue for task in tasks.values()} | {DEFAULT_QUEUE})


async def _run_one(worker: QueueWorker) -> str | None:
    """The id of the job that ran; None where there was none."""
    job = await worker.kernel_queue.dequeue()
    if job is None:
        return None
    await worker.attempt(job)
    return job.key
