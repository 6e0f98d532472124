"""Other processes with a handle of their own."""

import asyncio
import os
from typing import Self

from tests.zygote import ROOT, start


class Process:
    """One process that runs a program of this folder; it reads lines, and says lines."""

    async def start(self, program: str, url: str) -> Self:
        """Starts it on a database."""
        (stdin, self._write), (read, stdout) = os.pipe(), os.pipe()
        try:
            self._process = start(
                f"tests.conformance.{program}", [url], cwd=ROOT, env=os.environ, stdin=stdin, stdout=stdout, stderr=2
            )
        finally:
            os.close(stdin)
            os.close(stdout)
        self._lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        self._output, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines), os.fdopen(read, "rb", 0)
        )
        return self

    def tell(self, line: bytes) -> None:
        """Sends it one line."""
        os.write(self._write, line)

    async def said(self) -> bytes:
        """Its next line."""
        async with asyncio.timeout(60):
            return await self._lines.readline()

    async def stop(self) -> int:
        """Ends its input; how it ended."""
        os.close(self._write)
        try:
            return await asyncio.to_thread(self._process.wait, 60)
        finally:
            self._process.kill()
            self._output.close()
