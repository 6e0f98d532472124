"""Programs of this folder run as processes of their own: started, told to go, killed, and always gone at the end.

They are forked from a process that has everything imported already, see `tests.zygote`.
"""

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.zygote import start

ROOT = Path(__file__).parents[2]


class Child:
    """One process that runs `tests.faults.<program>`; it writes one JSON value a line to its standard output.

    Whatever happens, it is dead when the block ends, and after `seconds` at the latest.
    """

    def __init__(self, program: str, *args: object, seconds: float = 120) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        (stdin, write), (read, stdout) = os.pipe(), os.pipe()
        self._stdin, self._stdout = open(write, "wb"), open(read, "rb")  # noqa: PTH123, SIM115 - closed in __exit__
        try:
            self._process = start(
                f"tests.faults.{program}", [*map(str, args)], cwd=ROOT, env=os.environ, stdin=stdin, stdout=stdout,
                stderr=self._stderr.fileno(),
            )  # fmt: skip
        finally:
            os.close(stdin)
            os.close(stdout)
        self._watchdog = threading.Timer(seconds, self.end)
        self._watchdog.daemon = True
        self._watchdog.start()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        self.end()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            # A pipe whose reader is dead has nothing left to lose.
            with suppress(BrokenPipeError):
                stream.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it says, line by line, until it ends; the last line of a killed one may be torn and is left out."""
        for line in self._stdout:
            if line.endswith(b"\n"):
                yield json.loads(line)

    def expect(self, word: str) -> dict[str, Any]:
        """The first line that has this key; fails with the process's last words if it ends before."""
        for line in self.lines():
            if word in line:
                return line
        raise AssertionError(f"The process ended ({self.wait()}) without saying {word!r}: {self.errors()}")

    def tell(self, word: str) -> None:
        """Sends one line to its standard input."""
        self._stdin.write(f"{word}\n".encode())
        self._stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, now."""
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """SIGKILL, if it still runs."""
        self._process.kill()

    def wait(self) -> int:
        """Its return code, minus the signal's number where a signal ended it."""
        return self._process.wait(timeout=60)

    def errors(self) -> str:
        """What it wrote to its standard error so far."""
        self._stderr.seek(0)
        return self._stderr.read()[-4000:]


@contextmanager
def children(
    program: str, argument_lists: Iterable[Sequence[object]], *, seconds: float = 120
) -> Iterator[list[Child]]:
    """Several processes of one program, all dead at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(Child(program, *args, seconds=seconds)) for args in argument_lists]


def emit(**value: object) -> None:
    """Says one line to the parent at once: once written, it outlives a SIGKILL of this process."""
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def wait_for_go() -> None:
    """In a child: says that it is ready and waits for the parent's line."""
    emit(ready=True)
    sys.stdin.readline()
