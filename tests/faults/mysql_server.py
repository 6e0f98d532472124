"""A MariaDB server of a test's own, which it may stop, kill and start again, with settings as it likes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.own_server import OwnServer
from tools.debian import require_programs
from tools.services import MariaDB, wait_for


class OwnMariaDB(OwnServer, MariaDB):
    """The server of tools.services with further settings, small by itself."""

    in_order = signal.SIGTERM
    as_a_crash = signal.SIGKILL

    def command(self) -> list[str]:
        """As for everybody, and the settings."""
        small = {"innodb_buffer_pool_size": "32M", "innodb_log_file_size": "16M"}
        given = small | self.settings
        return [*super().command(), *(f"--{name.replace('_', '-')}={value}" for name, value in given.items())]


@contextmanager
def own_mariadb(**settings: object) -> Iterator[OwnMariaDB]:
    """A running server, gone at the end."""
    require_programs({MariaDB.package: MariaDB.programs}, ["nothing"])
    server = OwnMariaDB(**settings)
    try:
        wait_for({"mysql": server.starting()})
        yield server
    finally:
        server.stop()
