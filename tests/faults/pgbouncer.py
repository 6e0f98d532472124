"""pgbouncer in transaction mode in front of a server: each transaction may get another connection of few."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tools.debian import program, require_programs
from tools.services import HOST, Server, exchange, wait_for

SERVER_CONNECTIONS = 3


class PgBouncer(Server):
    """Started by `pgbouncer`."""

    name = "pgbouncer"
    variable = "TEST_PGBOUNCER_URL"
    package = "pgbouncer"
    programs = ("pgbouncer",)

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = urlsplit(target)

    @property
    def url(self) -> str:
        """The address, with the option that our driver needs."""
        parts = self._target
        return f"postgres://{parts.username}:{parts.password}@{HOST}:{self.port}{parts.path}"

    def command(self) -> list[str]:
        """Few server connections for many clients, so that transactions do change servers."""
        parts = self._target
        users = self._write("users", f'"{parts.username}" "{parts.password}"\n')
        config = self._write(
            "pgbouncer.ini",
            f"[databases]\n* = host={parts.hostname} port={parts.port}"
            f" user={parts.username} password={parts.password}\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
            f"default_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 500\nserver_round_robin = 1\n",
        )
        return [program("pgbouncer"), str(config)]

    def is_ready(self) -> bool:
        """Whether it answers a request for TLS, with a no."""
        with suppress(OSError):
            return exchange(self.port, b"\x00\x00\x00\x08\x04\xd2\x16\x2f") == b"N"
        return False


@contextmanager
def pgbouncer(target: str) -> Iterator[PgBouncer]:
    """A running pooler in front of the server at this URL, gone at the end."""
    require_programs({PgBouncer.package: PgBouncer.programs}, ["nothing"])
    server = PgBouncer(target)
    try:
        wait_for({"pgbouncer": server.starting()})
        yield server
    finally:
        server.stop()
