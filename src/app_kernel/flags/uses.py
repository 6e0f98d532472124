"""When flags are evaluated is written in batches beside the requests, at most once a minute by each process.

An evaluation only notes the name in memory. What cannot be written, as on a read-only database, is dropped and never
fails a request; a process that is killed loses the notes of its last minute.
"""

import logging

from app_kernel.core.beside import COLLECT, Beside
from app_kernel.core.kernel import Kernel
from app_kernel.flags import store

_log = logging.getLogger("app_kernel.flags")


class Uses:
    """The flags that one service has evaluated and not written so yet."""

    def __init__(self, kernel: Kernel) -> None:
        self.names: set[str] = set()
        self._kernel = kernel
        every = store.WRITE_EVERY.total_seconds()
        self._beside = Beside(kernel, self._write, "flag_uses_not_written", log=_log, collect=COLLECT, every=every)
        self.written = self._beside.written
        self.flush = self._beside.flush

    def note(self, *names: str) -> None:
        """Notes that flags were evaluated just now."""
        self.names.update(names)
        if names:
            self._beside.call()

    async def _write(self) -> None:
        names, self.names = self.names, set()
        if names:
            await store.write_uses(self._kernel.db.connection(), names)
