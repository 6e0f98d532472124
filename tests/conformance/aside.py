"""An event loop in a thread of its own, for what outlives a case: each case has another loop."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Aside:
    """Runs coroutines there, one after the other or many at once."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine gives, awaited from another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine gives; blocks."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
