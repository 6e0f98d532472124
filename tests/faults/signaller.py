"""A program that signals when told to, and says when it hears a signal: PATH DIRECTORY."""

import asyncio
import sys
import tempfile

from app_kernel.db.drivers.local_signals import LocalSignals
from tests.faults.children import emit, wait_for_go


async def main(path: str, directory: str) -> None:
    """Listens, waits for the word, signals."""
    tempfile.tempdir = directory
    signals = LocalSignals(path)
    signals.on_signal("outbox", lambda: emit(heard=True))
    await asyncio.to_thread(wait_for_go)
    signals.signal("outbox")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
