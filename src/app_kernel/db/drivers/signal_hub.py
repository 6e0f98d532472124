"""Signals of one open database, merged and sent by a task of their own, apart from how other processes hear of them."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.errors import StoreError

MERGE_SECONDS = 0.02
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class SignalHub(ABC):
    """Wakes listeners of this process at once, and those of others by what a database has for it."""

    reaches_others = True
    """Whether other processes can be reached at all."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[], object]]] = {}
        self._called: set[str] = set()
        """Channels whose listeners here will be called soon, so that a burst of signals is one call."""
        self._unsent: set[str] = set()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._is_open = False

    @abstractmethod
    async def _send(self, channels: list[str]) -> None:
        """Tells other processes of signals on these channels; raises StoreError."""

    @abstractmethod
    async def _listen(self) -> None:
        """Wakes the listeners here after signals of other processes, until it is cancelled."""

    def open(self) -> None:
        """Begins, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True

    async def close(self) -> None:
        """Sends what is unsent and stops listening."""
        self._is_open = False
        self._callbacks.clear()
        if self._listener is not None:
            await cancel_tasks([self._listener])
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def signal(self, channel: str) -> None:
        """Wakes whoever listens to `channel`, here and in other processes; never blocks or raises."""
        # RuntimeError: the loop is closed, so nobody listens there any more.
        with suppress(RuntimeError):
            if not self._is_open:
                return
            self._wake(channel)
            if self.reaches_others and _PLAIN.fullmatch(channel):
                self._unsent.add(channel)
                if self._sender is None or self._sender.done():
                    self._sender = self._loop.create_task(self._send_all())

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back after a signal; returns what ends that."""
        self._callbacks.setdefault(channel, []).append(callback)
        if self._listener is None and self.reaches_others:
            self._listener = self._loop.create_task(self._listen())

        def end() -> None:
            listening = self._callbacks.get(channel, [])
            if callback in listening:
                listening.remove(callback)
            if not listening:
                self._callbacks.pop(channel, None)

        return end

    def _wake(self, channel: str) -> None:
        if channel in self._callbacks and channel not in self._called:
            self._called.add(channel)
            self._loop.call_soon(self._call, channel)

    def _call(self, channel: str) -> None:
        # First, so that a signal which comes during the calls leads to others.
        self._called.discard(channel)
        for callback in tuple(self._callbacks.get(channel, ())):
            callback()

    async def _send_all(self) -> None:
        while self._unsent:
            channels, self._unsent = sorted(self._unsent), set()
            # Best effort: who does not hear of it finds out when it next looks.
            with suppress(StoreError):
                await self._send(channels)
            if self._is_open:
                await asyncio.sleep(MERGE_SECONDS)
