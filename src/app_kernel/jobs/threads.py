"""Plain handlers run in threads of their own, which one that never ends cannot take away from the others."""

import asyncio
import ctypes
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

INTERRUPT_SECONDS = 0.8
"""How long a thread may take to end after it was interrupted, before it is left alone."""

_log = logging.getLogger("app_kernel.jobs")


class JobInterrupted(BaseException):
    """Raised inside a plain handler that took too long or was cancelled. No Exception, so that a handler's own
    `except Exception` lets it through."""


class HandlerThread:
    """One call of a plain handler."""

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Any] = self._loop.create_future()
        self._context = copy_context()
        # A daemon, because one that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"job-{name}", daemon=True)
        self._is_over = False
        self.was_interrupted = False
        """Whether the result came although it was interrupted."""

    async def result(self) -> Any:
        """What the handler returns or raises. When the task is cancelled, the handler is interrupted."""
        self._thread.start()
        try:
            return await asyncio.shield(self._done)
        except asyncio.CancelledError:
            self.interrupt()
            await asyncio.wait([self._done], timeout=INTERRUPT_SECONDS)
            if self._done.done():
                if self._done.exception() is None:
                    # It came to its end before it noticed.
                    self.was_interrupted = True
                    return self._done.result()
            else:
                self._done.add_done_callback(_look)
                _log.error("job_thread_left", extra={"thread_name": self._thread.name, "reason": "it does not end"})
            raise

    def interrupt(self) -> None:
        """Raises JobInterrupted in the handler's Python code; what waits in C code notices it when it comes back."""
        if self._is_over or self._thread.ident is None:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(JobInterrupted))

    def _run(self) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._context.run(self._call)
        except BaseException as exc:  # noqa: BLE001 - the waiting task gets whatever it was
            error = exc
        finally:
            self._is_over = True
        # The loop is closed: nobody waits there any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, result, error)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(result)
        else:
            self._done.set_exception(HandlerRaised(error))


class HandlerRaised(Exception):
    """Carries what a plain handler raised: some of that, such as StopIteration, no future can hold."""

    def __init__(self, error: BaseException) -> None:
        # Not its text, which may be one that cannot be made.
        super().__init__(type(error).__name__)
        self.error = error


def _look(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()
