"""A PostgreSQL server of a test's own, which it may stop, kill and start again, with settings as it likes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.own_server import OwnServer
from tools.debian import require_programs
from tools.services import Postgres, wait_for


class OwnPostgres(OwnServer, Postgres):
    """The server of tools.services with further settings."""

    in_order = signal.SIGINT
    as_a_crash = signal.SIGQUIT

    def command(self) -> list[str]:
        """As for everybody, and the settings."""
        given = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        return [*super().command(), *given]


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
