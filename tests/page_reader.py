"""Somebody who does what a page says: its blocks one after the other, as they are written.

Shell blocks run. What serves (`uvicorn ...`, `python -m app_kernel...`) goes on beside, as in a terminal of its own;
everything else runs in bash until its end, and the directory, the variables and the functions of a block are there for
the next one. Other blocks are saved where the text before them says so: "Save this as `main.py`:", or "Replace the end
of `main.py`, from `app =` on, by this:".
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.live_server import LiveServer, live_server
from tests.zygote import Forked, start

FENCE = re.compile(r"^```([a-z]+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVED = re.compile(r"\bas\s`([\w.]+)`[^`]*:\s*\Z|`([\w.]+)`, from `([^`]+)` on, by this:\s*\Z")
_SERVING = re.compile(r"^(?:uvicorn|python -m app_kernel\.(?:jobs\.worker|admin_worker)) (?:.*\\\n)*.*$", re.MULTILINE)
_BIN = Path(sys.executable).parent


def shell_blocks(text: str) -> list[str]:
    """The fenced shell blocks of a page, in their order."""
    return [block for language, block in FENCE.findall(text) if language == "sh"]


class Reader:
    """Reads on from block to block; what the page calls by an invented name is `replaced`."""

    def __init__(self, page: Path, folder: Path, replaced: Mapping[str, str], serving: ExitStack) -> None:
        self.environment = {"PATH": f"{_BIN}:/usr/bin:/bin", "HOME": str(folder)}
        self._text = page.read_text()
        self._rest = FENCE.finditer(self._text)
        self._folder = folder
        self._replaced = dict(replaced)
        self._serving = serving

    def __iter__(self) -> Iterator[list[str]]:
        """The lines that each further shell block prints; files before it are saved."""
        for found in self._rest:
            if found[1] == "sh":
                yield self._follow(found[2])
            else:
                self._save(self._text[: found.start()], found[2])

    def read(self) -> list[str]:
        """The lines that the next shell block prints."""
        return next(iter(self))

    def is_done(self) -> bool:
        """Whether the page says no more."""
        return next(iter(self), None) is None

    def _follow(self, block: str) -> list[str]:
        service = _SERVING.search(block)
        printed = self._run(_SERVING.sub("", block))
        if service is not None:
            self._serve(shlex.split(self._real(service[0].replace("\\\n", ""))))
        return printed

    def _save(self, before: str, block: str) -> None:
        if named := _SAVED.search(before):
            new, old, marker = named.groups()
            path = self._folder / (new or old)
            path.write_text(block if new else path.read_text().partition(marker)[0] + block)

    def stop(self) -> None:
        """Ends what serves, as Ctrl-C in its terminal would; raises AssertionError where it does not end well."""
        self._serving.close()

    def _moved_to(self, address: str) -> None:
        """The port of the page is another one at each start here, also in what was noted of it before."""
        old = self._replaced.get("127.0.0.1:8000", address)
        self.environment = {name: value.replace(old, address) for name, value in self.environment.items()}
        self._replaced["127.0.0.1:8000"] = self._replaced["localhost:8000"] = address

    def _real(self, text: str) -> str:
        for name, real in self._replaced.items():
            text = text.replace(name, real)
        return text

    def _run(self, commands: str) -> list[str]:
        if not commands.strip():
            return []
        with NamedTemporaryFile() as left:
            script = f"set -aeuo pipefail\n{self._real(commands)}\nenv -0 > {left.name}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=self._folder, env=self.environment, capture_output=True, text=True,
                timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
            entries = left.read().decode().split("\0")
        self.environment = dict(entry.split("=", 1) for entry in entries if entry)
        self._folder = Path(self.environment["PWD"])
        return [line for line in done.stdout.splitlines() if line]

    def _serve(self, words: list[str]) -> None:
        if words[0] == "uvicorn":
            assert words[1:] == ["main:app"]
            server = self._serving.enter_context(live_server(self._folder, forked=True, **self.environment))
            self._serving.callback(_stop_server, server)
            self._moved_to(f"127.0.0.1:{server.port}")
        else:
            output = os.open(self._folder / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            process = start(words[2], words[3:], cwd=self._folder, env=self.environment, stdout=output)
            os.close(output)
            self._serving.callback(_stop_worker, process, self._folder / "workers.log")


def _stop_server(server: LiveServer) -> None:
    assert server.stop() in (0, -signal.SIGTERM), "".join(server.printed)


def _stop_worker(process: Forked, log: Path) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    process.kill()
    # One that has hardly begun is ended by the signal itself.
    assert process.wait(30) in (0, -signal.SIGTERM), log.read_text()


@contextmanager
def reading(page: Path, folder: Path, replaced: Mapping[str, str] | None = None) -> Iterator[Reader]:
    """A reader of a page who works in a folder; in the end whatever serves is stopped."""
    with ExitStack() as serving:
        yield Reader(page, folder, replaced or {}, serving)
