"""What a thread does for a task, and how the task hears what became of it."""

import asyncio
from typing import Any


class Outcome:
    """Made in the task's event loop, filled in by the thread, delivered in the loop again."""

    __slots__ = ("error", "future", "loop", "result")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Tells the waiting task; runs in the event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
