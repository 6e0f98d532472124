"""Running what is due, one job after another: for tests, and for scripts that want to see the end of it."""

from collections.abc import Mapping

from app_kernel.core.context import Context, in_context
from app_kernel.core.jobs import JobView, Task
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
    figures = await backend.figures()
    names = sorted({queue for queue, _ in figures.counts} | {task.queue for task in tasks.values()} | {"default"})
    ran: list[str] = []

    def worker_of(name: str) -> QueueWorker:
        queue = KernelQueue(name, backend, settler, known, kernel.emit, waits=False)
        return QueueWorker(queue, executor, 1)

    workers = [worker_of(name) for name in names]
    outer = innermost_transaction()
    with in_context(Context(kernel=kernel)):
        enter_transaction(None)
        try:
            found = True
            while found:
                found = False
                for worker in workers:
                    while (id := await _run_one(worker)) is not None:
                        ran.append(id)
                        found = True
        finally:
            enter_transaction(outer)
            for worker in workers:
                worker.pool.shutdown(wait=False)
    rows = [await backend.get(id) for id in ran]
    return [row.view(whole=True) for row in rows if row is not None]


async def _run_one(worker: QueueWorker) -> str | None:
    """The id of the job that ran; None where there was none."""
    job = await worker.kernel_queue.dequeue()
    if job is None:
        return None
    await worker.attempt(job)
    return job.key
