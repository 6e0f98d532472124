"""A headless Chromium, steered through its DevTools pipe: two file descriptors and no library."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-proxy-server", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads its commands from descriptor 3 and writes to 4; neither may be overwritten before it was copied.
STARTER = """
import os, sys
copies = [os.dup(os.dup(os.dup(int(number)))) for number in sys.argv[1:3]]
for copy, place in zip(copies, (3, 4)):
    os.dup2(copy, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One browser with one open page."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None

    def open(self, url: str) -> None:
        target = self.call("Target.createTarget", url=url)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; None while the page is being replaced."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer.get("result", {}).get("value")

    def wait_for(self, script: str, seconds: float = 15) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, self.evaluate("document.documentElement.outerHTML")
            time.sleep(0.05)
        return value

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._answers, 65536)
            assert part, "Chromium ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))


@contextmanager
def running_chromium(program: str, folder: Path) -> Iterator[Chromium]:
    """Chromium with a profile of its own; its process and all its children are gone when the block ends."""
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()
    starter = [sys.executable, "-S", "-c", STARTER, str(to_read), str(to_write)]
    process = subprocess.Popen(
        [*starter, program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(to_read, to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Chromium(commands, answers)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        os.close(commands)
        os.close(answers)
