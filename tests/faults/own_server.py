"""A server of a test's own, which it may stop, kill and start again, with settings as it likes."""

import signal
import time
from typing import Any, ClassVar

from tools.services import Server


class OwnServer(Server):
    """Beside one of the servers of tools.services: its settings, and an end that is not the last one."""

    in_order: ClassVar[signal.Signals]
    """Closes connections and ends."""
    as_a_crash: ClassVar[signal.Signals]
    """Ends at once and says goodbye to nobody."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings: dict[str, Any] = settings

    def end(self, number: signal.Signals | None = None) -> None:
        """Ends the server, in order where nothing else is said, but keeps its data."""
        assert self.process is not None
        self.process.send_signal(number or self.in_order)
        self.process.wait(30)

    def start_again(self, seconds: float = 30) -> None:
        """Starts it again on the same port; returns when it lets sessions in."""
        self._spawn(self.command())
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            assert self.process is not None
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)
