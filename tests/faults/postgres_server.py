"""A PostgreSQL server of a test's own, which it may stop, kill and start again, with settings as it likes."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tools.debian import require_programs
from tools.services import Postgres, wait_for


class OwnPostgres(Postgres):
    """The server of tools.services with further settings, and with an end that is not the last one."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self._settings = settings

    def command(self) -> list[str]:
        """As for everybody, and the settings."""
        return [
            *super().command(),
            *(part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")),
        ]

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends the server but keeps its data: SIGINT closes connections in order, SIGQUIT does not, as a crash does."""
        assert self.process is not None
        self.process.send_signal(number)
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


@contextmanager
def own_postgres(**settings: object) -> Iterator[OwnPostgres]:
    """A running server, gone at the end."""
    require_programs({Postgres.package: Postgres.programs}, ["nothing"])
    server = OwnPostgres(**settings)
    try:
        wait_for({"postgres": server.starting()})
        yield server
    finally:
        server.stop()
