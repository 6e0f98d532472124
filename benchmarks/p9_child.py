"""The client of P9: logins one after the other on some connections, and requests at a steady pace on others."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.harness import BenchError, answer, percentile
from benchmarks.load import answer_length, build_request

PACED_CONNECTIONS = 8
HASHES = 12


class Wire:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, text: bytes) -> float:
        """The seconds that an answer took; raises BenchError for one that is no success."""
        begun = time.perf_counter()
        self._writer.write(text)
        data = b""
        while True:
            data += await self._reader.read(65536)
            end = answer_length(data)
            if end is not None and len(data) >= end:
                break
        if not data[9:12].startswith(b"2"):
            raise BenchError(data[:300].decode("latin-1"))
        return time.perf_counter() - begun

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()


async def run(spec: dict[str, Any]) -> dict[str, float]:
    """One window of logins beside other requests."""
    until = time.perf_counter() + spec["seconds"]
    bodies = [{"email": email, "password": spec["password"]} for email in spec["emails"]]
    logins = [build_request("POST", "/auth/login", body=body).encode() for body in bodies]
    other = build_request("GET", "/plain", token=spec["token"]).encode()
    async with asyncio.TaskGroup() as group:
        counts = [group.create_task(_sign_in(spec["port"], text, until)) for text in logins]
        pace = PACED_CONNECTIONS / spec["per_second"]
        waits = [
            group.create_task(_at_a_pace(spec["port"], other, pace, number / spec["per_second"], until))
            for number in range(PACED_CONNECTIONS)
        ]
    seen = [wait for task in waits for wait in task.result()]
    return {
        "logins_per_second": sum(task.result() for task in counts) / spec["seconds"],
        "others_p99_ms": percentile(seen, 0.99) * 1000,
        "others_p50_ms": percentile(seen, 0.5) * 1000,
        "others": float(len(seen)),
        "hashes_per_second": _hashes_per_second(),
    }


async def _sign_in(port: int, text: bytes, until: float) -> int:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    done = 0
    while time.perf_counter() < until:
        await wire.ask(text)
        done += 1
    wire.close()
    return done


async def _at_a_pace(port: int, text: bytes, every: float, first: float, until: float) -> list[float]:
    """Requests at fixed times, so that a slow answer does not hide how long the next one would have waited."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    due, waits = time.perf_counter() + first, []
    while due < until:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        late = max(time.perf_counter() - due, 0)
        waits.append(late + await wire.ask(text))
        due += every
    wire.close()
    return waits


def _hashes_per_second() -> float:
    from app_kernel.auth import hash_password, verify_password

    stored = hash_password("a password of the bench")
    begun = time.perf_counter()
    for _ in range(HASHES):
        verify_password("a password of the bench", stored)
    return HASHES / (time.perf_counter() - begun)


def main() -> None:
    """The child: read the spec from standard input, answer with the figures."""
    answer(uvloop.run(run(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
