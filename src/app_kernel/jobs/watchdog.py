"""Ends async handlers that hold the event loop past their time: no timer of the loop's own could.

A thread watches whether the loop turns. Where it stands still while an attempt is overdue, the main thread is told by a
signal, whose handler raises inside the code that holds it, if that is the overdue job's.
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

LOOK_SECONDS = 0.5
STILL_SECONDS = 1.0
"""How long the loop stands still before anybody is interrupted."""

WARN_SECONDS = 4.0

_log = logging.getLogger("app_kernel.jobs")


class HandlerTimeout(BaseException):
    """Raised inside an async handler that held the event loop longer than its timeout."""


class Watchdog:
    """For the worker of a process whose event loop runs in the main thread; elsewhere it does nothing."""

    SIGNAL = signal.SIGALRM if hasattr(signal, "SIGALRM") else None

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._turned = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._has_warned = False

    def start(self) -> None:
        """Begins to watch the running loop."""
        free = self.SIGNAL is not None and threading.current_thread() is threading.main_thread()
        if not free or signal.getsignal(self.SIGNAL) is not signal.SIG_DFL:  # type: ignore[arg-type]  # it is there
            return
        self._loop = asyncio.get_running_loop()
        signal.signal(self.SIGNAL, self._interrupt)  # type: ignore[arg-type]  # as above
        self._turn()
        self._thread = threading.Thread(target=self._watch, name="jobs-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        if self._handle is not None:
            self._handle.cancel()
        signal.signal(self.SIGNAL, signal.SIG_DFL)  # type: ignore[arg-type]  # it is there

    def watch(self, task: "asyncio.Task[Any]", seconds: float) -> Callable[[], None]:
        """The task may hold the loop for so long; returns what ends that."""
        self._deadlines[task] = time.monotonic() + seconds

        def end() -> None:
            self._deadlines.pop(task, None)

        return end

    def _turn(self) -> None:
        self._turned = time.monotonic()
        self._handle = self._loop.call_later(LOOK_SECONDS / 2, self._turn)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            now = time.monotonic()
            self._warn(now - self._turned)
            if signal.getsignal(signal.SIGALRM) != self._interrupt:
                # A handler of the application's has taken the signal, which would end the process now.
                continue
            if now - self._turned > STILL_SECONDS and any(now > each for each in tuple(self._deadlines.values())):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _warn(self, still: float) -> None:
        """Says once when the loop stands still for long: then no job of this process shows that it lives."""
        if still < WARN_SECONDS:
            self._has_warned = False
        elif not self._has_warned:
            self._has_warned = True
            names = sorted({task.get_name().removeprefix("job-") for task in tuple(self._deadlines)})
            reason = (
                "a handler holds the event loop; after some 10 seconds other workers take the jobs of this one over"
            )
            _log.warning("job_holds_loop", extra={"running": names, "seconds": round(still, 1), "reason": reason})

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, between two steps of whatever holds it."""
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:
            return
        deadline = self._deadlines.get(task) if task is not None else None
        if deadline is not None and time.monotonic() > deadline:
            raise HandlerTimeout
