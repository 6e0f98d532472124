"""Real PostgreSQL, MariaDB and Redis for the tests: on private ports of 127.0.0.1, in temporary directories.

    python -m tools.services -- pytest

runs the command with TEST_POSTGRES_URL, TEST_MYSQL_URL and TEST_REDIS_URL set, and stops the servers when it ends.
A variable that is set already is used as it is, and nothing is started for it. Nothing is ever skipped: a server that
cannot be started ends the run with the reason. A Chromium for the test that needs one is installed in the same way.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import ClassVar

from tools import server_folder
from tools.debian import ServiceUnavailable, program, provide_browser, require_programs
from tools.server_folder import unprivileged_user

HOST = "127.0.0.1"
# What the pages of the documentation call, which the tests do as they say.
SHELL_PROGRAMS = {"curl": ["curl"], "jq": ["jq"]}
START_SECONDS = 90.0
STOP_SECONDS = 10.0

# Holds the read end of a pipe whose write end is ours alone: when we die without a word (SIGKILL), the read ends, and
# the last process group that it was told of goes too, with the directory.
GUARD = """
while read -r line; do [ "$line" = done ] && exit 0; group=$line; done
[ -n "$group" ] && { kill -s "$1" -- "-$group"; sleep 2; kill -s KILL -- "-$group"; } 2>/dev/null
rm -rf -- "$2"
"""


class Server:
    """One server process over a directory of its own. Use `services` or `serving` rather than this class."""

    name: ClassVar[str]
    variable: ClassVar[str]
    package: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.port = 0
        self.password = secrets.token_hex(8)
        self._user = unprivileged_user()
        self.directory = server_folder.make(f"kernel-{self.name}-", self._user)
        self.process: subprocess.Popen[bytes] | None = None
        # Whatever prepares the directory has nothing to put in order, and children that would go on writing.
        self._end_signal = signal.SIGKILL
        guard = ["/bin/sh", "-c", GUARD, "guard", self.stop_signal.name.removeprefix("SIG"), str(self.directory)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, process_group=0)

    @property
    def url(self) -> str:
        """The address that tests connect to, password included."""
        raise NotImplementedError

    def prepare(self) -> list[str] | None:
        """The command that fills the directory before the first start; None if there is nothing to do."""
        return None

    def command(self) -> list[str]:
        """The server's own command line, staying in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether a client that connects now is served."""
        raise NotImplementedError

    def starting(self) -> Iterator[None]:
        """Start step by step, yielding while there is something to wait for, so that several start at once."""
        preparation = self.prepare()
        if preparation:
            process = self._spawn(preparation)
            while process.poll() is None:
                yield
            if process.returncode:
                raise self._failure("could not prepare its directory")
        self._end_signal = self.stop_signal
        # Between choosing a free port and binding it another process may take it.
        for _ in range(3):
            self.port = free_port()
            process = self._spawn(self.command())
            while process.poll() is None:
                if self.is_ready():
                    return
                yield
        raise self._failure("ended while it was starting")

    def stop(self) -> None:
        """End the process and remove the directory; harmless when repeated."""
        process, self.process = self.process, None
        if process and process.poll() is None:
            signal_group(process, self._end_signal)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                signal_group(process, signal.SIGKILL)
                process.wait()
        self._tell_guard("done")
        self._guard.communicate()
        # A process killed just now may still complete the creation of one file.
        for _ in range(20):
            shutil.rmtree(self.directory, ignore_errors=True)
            if not self.directory.exists():
                break
            time.sleep(0.05)

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        return path

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        user = self._user
        with self._log.open("ab") as log:
            # A group of its own keeps the terminal's Ctrl-C from reaching servers that the tests still need.
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(self.directory)},
                process_group=0,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self._tell_guard(str(self.process.pid))
        return self.process

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _tell_guard(self, line: str) -> None:
        if self._guard.stdin and not self._guard.stdin.closed:
            with suppress(BrokenPipeError):
                self._guard.stdin.write(f"{line}\n".encode())
                self._guard.stdin.flush()

    def _failure(self, what: str) -> ServiceUnavailable:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return ServiceUnavailable(f"{self.name} {what}; the end of its log:\n{tail}")


class Postgres(Server):
    """PostgreSQL as shipped, fsync on: what a test finds durable here is durable.

    Only its login costs less than usual: the password is kept with one round of hashing instead of 4096, which every
    client goes through on each connection.
    """

    name = "postgres"
    variable = "TEST_POSTGRES_URL"
    package = "postgresql"
    programs = ("initdb", "postgres")
    stop_signal = signal.SIGQUIT  # immediate: nothing is kept, but its shared memory is given back

    @property
    def url(self) -> str:
        return f"postgres://kernel:{self.password}@{HOST}:{self.port}/postgres"

    def prepare(self) -> list[str]:
        secret = self._write("password", self.password)
        options = ["--username=kernel", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        return [program("initdb"), f"--pgdata={self.directory / 'data'}", "--no-sync", *options]

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        return [
            program("postgres"),
            "-D",
            str(self.directory / "data"),
            *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
        ]

    def is_ready(self) -> bool:
        # The port answers before recovery is over; only this line says that sessions are let in.
        with suppress(OSError):
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False


class MariaDB(Server):
    """MariaDB with the character set that Debian gives it."""

    name = "mysql"
    variable = "TEST_MYSQL_URL"
    package = "mariadb-server"
    programs = ("mariadb-install-db", "mariadbd")

    @property
    def url(self) -> str:
        return f"mysql://kernel:{self.password}@{HOST}:{self.port}/kernel_test"

    def prepare(self) -> list[str]:
        return [
            program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
            "--innodb-use-native-aio=0",
        ]

    def command(self) -> list[str]:
        first = self._write(
            "first.sql",
            "CREATE DATABASE IF NOT EXISTS kernel_test;\n"
            f"CREATE USER IF NOT EXISTS 'kernel'@'%' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO 'kernel'@'%' WITH GRANT OPTION;\n",
        )
        # Some containers refuse asynchronous I/O of the kernel's own, hence native-aio off.
        return [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={first}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-use-native-aio=0",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--max-connections=200",
            # Tests make and drop thousands of tables. What is written survives a crash of the server all the same.
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--innodb-stats-persistent=0",
            "--sync-frm=0",
        ]

    def is_ready(self) -> bool:
        return b"mysql_native_password" in exchange(self.port, b"")


class Redis(Server):
    """Redis that keeps nothing on disk."""

    name = "redis"
    variable = "TEST_REDIS_URL"
    package = "redis-server"
    programs = ("redis-server",)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        options = ["--bind", HOST, "--port", str(self.port), "--requirepass", self.password, "--save", ""]
        return [program("redis-server"), *options, "--appendonly", "no", "--dir", str(self.directory)]

    def is_ready(self) -> bool:
        return exchange(self.port, f"AUTH {self.password}\r\nPING\r\n".encode()).endswith(b"+PONG\r\n")


SERVERS: Mapping[str, type[Server]] = {kind.name: kind for kind in (Postgres, MariaDB, Redis)}


@contextmanager
def serving(*names: str) -> Iterator[dict[str, Server]]:
    """Start the named servers (all of them by default) side by side; they are gone when the block ends."""
    kinds = [SERVERS[name] for name in names or SERVERS]
    require_programs({kind.package: kind.programs for kind in kinds}, [kind.variable for kind in kinds])
    with ExitStack() as stack:
        servers = {}
        for kind in kinds:
            servers[kind.name] = server = kind()
            stack.callback(server.stop)
        wait_for({name: server.starting() for name, server in servers.items()})
        yield servers


@contextmanager
def services(*names: str) -> Iterator[dict[str, str]]:
    """The addresses by variable name (TEST_REDIS_URL ...), taken from the environment or of servers started here."""
    variables = {name: SERVERS[name].variable for name in names or SERVERS}
    given = {variable: os.environ[variable] for variable in variables.values() if os.environ.get(variable)}
    missing = [name for name, variable in variables.items() if variable not in given]
    if not missing:
        yield given
        return
    with serving(*missing) as servers:
        yield given | {server.variable: server.url for server in servers.values()}


def wait_for(starts: dict[str, Iterator[None]], seconds: float = START_SECONDS) -> None:
    """Drive every start to its end; raises ServiceUnavailable when the time is up."""
    deadline = time.monotonic() + seconds
    while starts:
        for name, steps in list(starts.items()):
            if next(steps, StopIteration) is StopIteration:
                del starts[name]
        if starts and time.monotonic() > deadline:
            raise ServiceUnavailable(f"{', '.join(starts)} did not start within {seconds:.0f} seconds.")
        time.sleep(0.02)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def exchange(port: int, message: bytes) -> bytes:
    """What a server answers to one message within a second; empty if it does not listen yet."""
    answer = b""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(message)
        connection.settimeout(0.2)
        while part := connection.recv(4096):
            answer += part
    return answer


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a process started here and its children; one that has just ended is left alone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def run(command: Sequence[str]) -> int:
    """Run a command beside the services and give back its exit status, 128 + n if signal n ended it."""
    urls: dict[str, str] | None = None
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        if urls is None:
            raise SystemExit(128 + number)
        if child is None:
            # Raised now, the exception would lose a process that is just being made.
            early.append(number)
        elif number == signal.SIGTERM or not sys.stdin.isatty():
            # At a terminal Ctrl-C has reached the command already; a second one would break its own clean-up.
            child.send_signal(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        provide_browser()
        require_programs(SHELL_PROGRAMS)
        # The command's own servers go where ours are.
        os.environ[server_folder.VARIABLE] = server_folder.choose() or ""
        with services() as urls:
            child = subprocess.Popen(command, env={**os.environ, **urls})
            for number in early:
                child.send_signal(number)
            status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def main(arguments: Sequence[str]) -> int:
    """The command line: everything after `--` is the command to run."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        print("usage: python -m tools.services -- COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    try:
        return run(arguments)
    except (ServiceUnavailable, FileNotFoundError) as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
